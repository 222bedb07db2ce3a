"""Which format a path is in, and the reader and writer for each.

Every one is imported when its format is met, so that a NIfTI scan is read without loading pydicom or an
image library.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from numpy.typing import NDArray

from medseg.errors import InputRefused, NotFound, UsageError
from medseg.geometry import Geometry
from medseg.io.files import EXTENSIONS, extension, is_dicom_file
from medseg.io.raster import Raster, to_geometry
from medseg.io.refusals import readable, refused
from medseg.labels import LabelSet

Format = Literal["nifti", "mgh", "nrrd", "metaimage", "png", "jpeg", "tiff", "dicom"]

_BY_EXTENSION: dict[str, Format] = {
    ".nii": "nifti", ".nii.gz": "nifti", ".hdr": "nifti", ".img": "nifti", ".hdr.gz": "nifti",
    ".img.gz": "nifti", ".mgh": "mgh", ".mgz": "mgh", ".nrrd": "nrrd", ".seg.nrrd": "nrrd", ".nhdr": "nrrd",
    ".mha": "metaimage", ".mhd": "metaimage", ".png": "png", ".jpg": "jpeg", ".jpeg": "jpeg",
    ".tif": "tiff", ".tiff": "tiff", ".dcm": "dicom", ".ima": "dicom", ".zip": "dicom",
}  # fmt: skip
_MARKS: tuple[tuple[bytes, Format], ...] = (
    (b"NRRD000", "nrrd"), (b"\x89PNG\r\n\x1a\n", "png"), (b"\xff\xd8\xff", "jpeg"),
    (b"II*\0", "tiff"), (b"MM\0*", "tiff"), (b"II+\0", "tiff"), (b"MM\0+", "tiff"),
    (b"\x5c\x01\0\0", "nifti"), (b"\0\0\x01\x5c", "nifti"),
    (b"\x1c\x02\0\0", "nifti"), (b"\0\0\x02\x1c", "nifti"),
    (b"PK\x03\x04", "dicom"), (b"PK\x05\x06", "dicom"),
)  # fmt: skip


def format_of_name(path: Path) -> Format | None:
    """The format that a name asks for."""
    return _BY_EXTENSION.get(extension(path))


def locate(path: Path) -> Format:
    """The format of what is at a path: by its content, and by its name where the content bears no mark.

    Raises
    ------
    NotFound
        There is nothing.
    InputRefused
        ``unknown-format``.
    """
    if path.is_dir():
        return "dicom"
    if not path.is_file():
        raise NotFound(f"{path}: no such file or folder")
    with readable(path), path.open("rb") as file:
        start = file.read(4096)
    if start[:2] == b"\x1f\x8b":
        start = _inflated(start)
    if start[128:132] == b"DICM":
        return "dicom"
    if _is_half_of_a_pair(path):
        return "nifti"  # what it begins with are voxels, which may look like anything
    marked = next((kind for mark, kind in _MARKS if start.startswith(mark)), None)
    if marked is not None:
        return marked
    kind = format_of_name(path)
    if (kind is None or extension(path) == ".img") and is_dicom_file(path):
        return "dicom"
    if kind is None:
        raise refused(
            path, "unknown-format", f"unknown format; expected DICOM or one of {', '.join(EXTENSIONS)}"
        )
    return kind


def load(
    kind: Format, path: Path, series: str | int | None = None, allow: frozenset[str] = frozenset()
) -> Raster:
    """Read a path with the reader of a format; nothing is judged yet but the file itself.

    ``allow`` matters here where slices have to be filled in or resampled to make one grid (DICOM).

    Raises
    ------
    InputRefused
        By the name that the format's reader gives; ``unreadable`` where the system does not let the file
        be read, ``too-large`` where there is no memory for it.
    """
    with readable(path):
        if kind == "dicom":
            from medseg.io import dicom

            return dicom.read(path, series=series, allow=allow)
        return _load_file(kind, path, None if series is None else _number(series, path))


def _load_file(kind: Format, path: Path, number: int | None) -> Raster:
    if kind == "nifti":
        from medseg.io import nifti

        return nifti.read(path, series=number)
    if kind == "mgh":
        from medseg.io import mgh

        return mgh.read(path, series=number)
    if kind in ("png", "jpeg", "tiff"):
        from medseg.io import images

        return images.read(path, series=number)
    if kind == "nrrd":
        from medseg.io import nrrd

        return nrrd.read(path, series=number)
    from medseg.io import metaimage

    return metaimage.read(path, series=number)


def is_label_file(path: Path) -> bool:
    """Whether a file is a segmentation by its kind: ``.seg.nrrd``, DICOM segmentation or structure set."""
    if not path.exists() or extension(path) == ".seg.nrrd":
        return extension(path) == ".seg.nrrd"
    if path.is_dir() or locate(path) != "dicom":
        return False
    from medseg.io.dicom import label_objects

    return label_objects.find(path) is not None


def load_labels(
    kind: Format,
    path: Path,
    series: str | int | None = None,
    allow: frozenset[str] = frozenset(),
    scan: Path | None = None,
) -> Raster:
    """Read a segmentation with the reader of its format, on the grid of ``scan`` where one is given.

    ``series`` is then that of the scan.
    """
    if kind == "dicom":
        from medseg.io.dicom import label_objects

        found = label_objects.find(path)
        if found is not None:
            return label_objects.read(found, scan=scan, series=series, allow=allow)
    # Between two labels there is nothing to interpolate.
    chosen = series if scan is None else None
    raster = load(kind, path, chosen, allow - {"missing-slices", "uneven-spacing"})
    if scan is not None:
        check_same_grid(raster, scan, series, allow)
    return raster


def check_same_grid(raster: Raster, scan: Path, series: str | int | None, allow: frozenset[str]) -> None:
    """Refuse a segmentation that is not on the grid of ``series`` of a scan (code ``grid-differs``)."""
    own, its = to_geometry(raster, allow), to_geometry(_grid_alone(scan, series, allow), allow)
    if own.same_grid(its):
        return
    if own.shape != its.shape:
        text = f"{' x '.join(map(str, own.shape))} voxels, its scan has {' x '.join(map(str, its.shape))}"
    else:
        text = f"its grid lies up to {own.grid_distance_mm(its):.3g} mm beside that of its scan"
    raise InputRefused(
        f"{raster.path.name}: {text} ({scan.name}); give the scan it was drawn on, or resample it",
        code="grid-differs",
        path=raster.path,
    )


def _grid_alone(scan: Path, series: str | int | None, allow: frozenset[str]) -> Raster:
    """A scan of which the grid is wanted: of DICOM, whose pixels may take long to decode, the headers."""
    kind = locate(scan)
    if kind != "dicom":
        return load(kind, scan, series, allow)
    from medseg.io import dicom

    with readable(scan):
        listing = dicom.find(scan)
        return dicom.survey(scan, dicom.choose(scan, listing, series), allow, listing)


def check_can_hold(kind: Format, path: Path, data: NDArray[Any], geometry: Geometry) -> None:
    """Refuse what a format cannot keep, before anything is written; `FormatCannotHold` names ``path``."""
    if kind in ("png", "tiff"):
        from medseg.io import image_writer

        image_writer.check_can_hold(path, data, geometry)


def save(
    kind: Format,
    path: Path,
    data: NDArray[Any],
    geometry: Geometry,
    facts: Mapping[str, Any],
    labels: Sequence[LabelSet] = (),
) -> None:
    """Write voxels (C, I, J, K) in a format; neither atomic nor verified.

    ``facts`` is `Source.header` of what the grid came from. ``labels`` is empty for a scan, one for a label
    map; several make the channels layers of one file, which NRRD alone can hold.
    """
    if kind == "nifti":
        from medseg.io import nifti_writer

        nifti_writer.write(path, data, geometry, facts=facts, labels=labels[0] if labels else None)
    elif kind == "nrrd":
        from medseg.io import nrrd_writer

        nrrd_writer.write(path, data, geometry, facts=facts, labels=labels)
    elif kind == "metaimage":
        from medseg.io import metaimage

        metaimage.write(path, data, geometry, facts=facts)
    elif kind in ("png", "tiff"):
        from medseg.io import image_writer

        image_writer.write(path, data, geometry)
    else:
        raise UsageError(f"{path.name}: DICOM cannot be written")


def _is_half_of_a_pair(path: Path) -> bool:
    ending = extension(path)
    if ending not in (".img", ".img.gz"):
        return False
    base = path.name[: len(path.name) - len(ending)]
    header = ".HDR" if path.name[len(base) :].startswith(".IMG") else ".hdr"
    return any((path.parent / f"{base}{header}{packed}").is_file() for packed in ("", ".gz"))


def _number(series: str | int, path: Path) -> int:
    try:
        return int(series)
    except ValueError:
        raise UsageError(f"{path.name}: series={series!r}, expected a number from 1") from None


def _inflated(start: bytes) -> bytes:
    try:
        return zlib.decompressobj(wbits=31).decompress(start, 512)
    except zlib.error:
        return b""  # the reader that the name asks for will say what is wrong
