"""Files to `Volume` and `LabelMap` and back: the verbs read, read_labels, read_label_layers, write, inspect.

The formats are in modules of their own; `raster` judges what they found.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from medseg.errors import FormatCannotHold, UsageError, WriteFailed
from medseg.geometry import Geometry
from medseg.io.files import atomic_output, extension
from medseg.io.raster import (
    Raster,
    check_allow,
    smallest_unsigned,
    to_label_layers,
    to_label_map,
    to_volume,
)
from medseg.io.readers import check_can_hold, format_of_name, load, load_labels, locate, save
from medseg.io.refusals import readable
from medseg.io.streams import own_writing
from medseg.labels import LabelSet
from medseg.volume import LabelMap, Volume

if TYPE_CHECKING:
    from medseg.io.inspection import Inspection

__all__ = ["inspect", "read", "read_label_layers", "read_labels", "write"]

_WRITABLE = (".nii.gz", ".nii", ".nrrd", ".seg.nrrd", ".mha", ".png", ".tif", ".tiff")
_CORNER_TOLERANCE_MM = 1e-4


def read(path: str | Path, *, series: str | int | None = None, allow: Sequence[str] = ()) -> Volume:
    """Read a scan: a file, or a folder with a DICOM series.

    Parameters
    ----------
    path
        NIfTI, Analyze, MGH, NRRD, MetaImage, PNG, TIFF, JPEG; a DICOM folder with its subfolders, a zip
        archive of one, a DICOMDIR, or one file of a series, which means the whole series among its siblings.
    series
        Which one, where there are several: an identifier or a number counted from 1, as `inspect` lists
        them. In a file with a fourth dimension, the volume's number.
    allow
        Repairs to permit, of ``missing-slices`` (filled in by linear interpolation), ``uneven-spacing``
        (resampled linearly along the stack), ``tilt`` and ``shear`` (kept in the affine, exactly),
        ``non-finite`` (set to 0).

    Returns
    -------
    Volume
        ``data`` (C, I, J, K) in the file's own type where it is not scaled, else float32; the
        geometry; the source; and a verdict ``ok``, ``repaired`` or ``warning``.

    Raises
    ------
    InputRefused
        Whatever is not plainly right; ``code`` names it.
    NotFound
        There is nothing at ``path``.
    """
    allowed = check_allow(allow)
    return to_volume(load(locate(Path(path)), Path(path), series, allowed), allowed)


def read_labels(
    path: str | Path,
    *,
    labels: LabelSet | None = None,
    series: str | int | None = None,
    allow: Sequence[str] = (),
    scan: str | Path | None = None,
    layer: int | None = None,
) -> LabelMap:
    """Read a segmentation; ids stay as they are.

    Parameters
    ----------
    path
        Any format that `read` reads, with whole numbers from 0 to 65535; a DICOM segmentation (ids are the
        segments' numbers) or structure set (ids are the structures' numbers).
    labels
        What the ids mean. Without it: the names in the file itself, else those in ``<stem>.json``
        beside it, else ``label 1``, ``label 2``, ...
    series, allow
        As in `read`; of ``scan``, where that is given.
    scan
        The scan on whose grid the segmentation lies. A structure set has no grid of its own: without
        ``scan`` its series is looked for in the folder of the file. A DICOM segmentation may leave out empty
        slices; without ``scan`` its grid is the smallest that holds the slices it has. Any other
        segmentation has to be on the scan's grid.
    layer
        Which label map, from 1, where structures overlap and so take several.

    Raises
    ------
    InputRefused
        As `read`, and ``not-labels`` for fractions, negative or too large numbers, ``unknown-labels``
        for ids that ``labels`` does not know, ``overlapping-labels`` where ``layer`` has to choose,
        ``grid-differs`` where ``scan`` has another grid, and what `medseg.io.dicom.seg` and
        `medseg.io.dicom.rtstruct` name.
    """
    allowed = check_allow(allow)
    return to_label_map(_load_labels(Path(path), labels, series, allowed, scan), labels, allowed, layer)


def read_label_layers(
    path: str | Path,
    *,
    labels: LabelSet | None = None,
    series: str | int | None = None,
    allow: Sequence[str] = (),
    scan: str | Path | None = None,
) -> tuple[LabelMap, ...]:
    """Read a segmentation whose structures may overlap: as few label maps as hold them, all on one grid.

    Each has a label set of its own structures. A segmentation without overlap is one label map. Parameters
    and errors are those of `read_labels`.
    """
    allowed = check_allow(allow)
    return to_label_layers(_load_labels(Path(path), labels, series, allowed, scan), labels, allowed)


def _load_labels(
    path: Path,
    labels: LabelSet | None,
    series: str | int | None,
    allow: frozenset[str],
    scan: str | Path | None,
) -> Raster:
    with readable(path):
        raster = load_labels(locate(path), path, series, allow, None if scan is None else Path(scan))
    if labels is not None or raster.labels is not None or raster.layers:
        return raster
    from medseg.io.sidecar import with_sidecar_names

    return with_sidecar_names(raster)


def write(item: Volume | LabelMap | Sequence[LabelMap], path: str | Path, *, overwrite: bool = False) -> Path:
    """Write a scan or a segmentation; the name's extension chooses the format.

    The file is written under a temporary name, read back and compared, and only then takes its name.
    A grid that came from the same format is written bit for bit as it was; across formats corners
    agree within 1e-4 mm. Label maps take the smallest unsigned type that holds their ids. Several label maps
    on one grid, as `read_label_layers` gives them, become the layers of one ``.seg.nrrd``.

    Raises
    ------
    UsageError
        An unknown extension, or the file exists and ``overwrite`` is not set.
    FormatCannotHold
        The format cannot keep the item's grid or type, or several label maps.
    WriteFailed
        The file did not read back as it was written.
    """
    path = Path(path)
    kind = format_of_name(path)
    if extension(path) not in _WRITABLE or kind is None:
        raise UsageError(f"{path.name}: no format to write; use one of {', '.join(_WRITABLE)}")
    if path.exists() and not overwrite:
        raise UsageError(f"{path}: exists already; overwrite=True replaces it")
    data, labels, first = _voxels(item, path)
    check_can_hold(kind, path, data, first.geometry)
    with atomic_output(path) as temporary:
        save(kind, temporary, data, first.geometry, first.source.header, labels)
        with own_writing():
            found = load(kind, temporary)
        _verify(path, found, data, first.geometry)
    return path


def _voxels(
    item: Volume | LabelMap | Sequence[LabelMap], path: Path
) -> tuple[NDArray[Any], tuple[LabelSet, ...], Volume | LabelMap]:
    """What is written: voxels (C, I, J, K), a label set for each layer, and the item that has the grid."""
    if isinstance(item, Volume):
        return item.data, (), item
    if isinstance(item, LabelMap):
        return smallest_unsigned(item.data)[None], (item.labels,), item
    layers = tuple(item)
    if len(layers) == 1:
        return _voxels(layers[0], path)
    if not layers or not all(layer.geometry.same_grid(layers[0].geometry) for layer in layers):
        raise UsageError(f"{path.name}: {len(layers)} label maps, expected at least one, all on one grid")
    if extension(path) != ".seg.nrrd":
        raise FormatCannotHold(
            f"{path.name}: {len(layers)} label maps that overlap; only .seg.nrrd holds several, "
            "write them one by one"
        )
    stacked = smallest_unsigned(np.stack([layer.data for layer in layers]))
    return stacked, tuple(layer.labels for layer in layers), layers[0]


def inspect(path: str | Path, *, allow: Sequence[str] = (), pixels: bool | None = None) -> Inspection:
    """The preflight: which series are there, their geometry, and what `read` would say about each.

    Parameters
    ----------
    path, allow
        As in `read`.
    pixels
        Of DICOM: True decodes all pixels, which alone finds damage in compressed ones; False judges by
        headers and sizes; None decodes where all series together have at most 128 MB of voxels. Other
        formats are always read whole.
    """
    from medseg.io.inspection import inspect_path

    return inspect_path(Path(path), check_allow(allow), pixels)


def _verify(path: Path, found: Raster, data: Any, geometry: Geometry) -> None:
    if not np.array_equal(found.data, data):
        raise WriteFailed(f"{path}: the voxels did not read back as they were written; nothing was kept")
    if found.format == "image":
        return  # a picture holds no grid; its writer has refused all but the plain one
    stored = Geometry(geometry.shape, found.affine)
    distance = stored.grid_distance_mm(geometry)
    if distance > _CORNER_TOLERANCE_MM:
        raise WriteFailed(f"{path}: the grid reads back {distance:.2g} mm off; nothing was kept")
