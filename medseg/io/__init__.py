"""Files to `Volume` and `LabelMap` and back: the four verbs read, read_labels, write, inspect.

The formats are in modules of their own; `raster` judges what they found.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from medseg.errors import UsageError, WriteFailed
from medseg.geometry import Geometry
from medseg.io.files import atomic_output, extension
from medseg.io.raster import Raster, check_allow, smallest_unsigned, to_label_map, to_volume
from medseg.io.readers import check_can_hold, format_of_name, load, locate, save
from medseg.labels import LabelSet
from medseg.volume import LabelMap, Volume

if TYPE_CHECKING:
    from medseg.io.inspection import Inspection

__all__ = ["inspect", "read", "read_labels", "write"]

_WRITABLE = (".nii.gz", ".nii", ".nrrd", ".seg.nrrd", ".mha", ".png", ".tif", ".tiff")
_CORNER_TOLERANCE_MM = 1e-4


def read(path: str | Path, *, series: str | int | None = None, allow: Sequence[str] = ()) -> Volume:
    """Read a scan: a file, or a folder with a DICOM series.

    Parameters
    ----------
    path
        NIfTI, NRRD, MetaImage, PNG, TIFF; a DICOM folder, or one file of a series, which means the
        whole series among its siblings.
    series
        Which one, where there are several: a SeriesInstanceUID or a number counted from 1, as
        `inspect` lists them. In a file with a fourth dimension, the volume's number.
    allow
        Repairs to permit, of ``missing-slices``, ``uneven-spacing``, ``tilt``, ``shear``, ``non-finite``.

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
) -> LabelMap:
    """Read a segmentation; ids stay as they are.

    Parameters
    ----------
    path
        Any format that `read` reads, with whole numbers from 0 to 65535.
    labels
        What the ids mean. Without it: the names in the file itself, else those in ``<stem>.json``
        beside it, else ``label 1``, ``label 2``, ...
    series, allow
        As in `read`.

    Raises
    ------
    InputRefused
        As `read`, and ``not-labels`` for fractions, negative or too large numbers, ``unknown-labels``
        for ids that ``labels`` does not know.
    """
    allowed = check_allow(allow)
    raster = load(locate(Path(path)), Path(path), series, allowed)
    if labels is None and raster.labels is None:
        from medseg.io.sidecar import with_sidecar_names

        raster = with_sidecar_names(raster)
    return to_label_map(raster, labels, allowed)


def write(item: Volume | LabelMap, path: str | Path, *, overwrite: bool = False) -> Path:
    """Write a scan or a segmentation; the name's extension chooses the format.

    The file is written under a temporary name, read back and compared, and only then takes its name.
    A grid that came from the same format is written bit for bit as it was; across formats corners
    agree within 1e-4 mm. Label maps take the smallest unsigned type that holds their ids.

    Raises
    ------
    UsageError
        An unknown extension, or the file exists and ``overwrite`` is not set.
    FormatCannotHold
        The format cannot keep the item's grid or type.
    WriteFailed
        The file did not read back as it was written.
    """
    path = Path(path)
    kind = format_of_name(path)
    if extension(path) not in _WRITABLE or kind is None:
        raise UsageError(f"{path.name}: no format to write; use one of {', '.join(_WRITABLE)}")
    if path.exists() and not overwrite:
        raise UsageError(f"{path}: exists already; overwrite=True (--overwrite) replaces it")
    labels = item.labels if isinstance(item, LabelMap) else None
    data = smallest_unsigned(item.data)[None] if isinstance(item, LabelMap) else item.data
    check_can_hold(kind, path, data, item.geometry)
    with atomic_output(path) as temporary:
        save(kind, temporary, data, item.geometry, item.source.header, labels)
        _verify(path, load(kind, temporary), data, item.geometry)
    return path


def inspect(path: str | Path, *, allow: Sequence[str] = ()) -> Inspection:
    """The preflight: which series are there, their geometry, and what `read` would say about each."""
    from medseg.io.inspection import inspect_path

    return inspect_path(Path(path), check_allow(allow))


def _verify(path: Path, found: Raster, data: Any, geometry: Geometry) -> None:
    if not np.array_equal(found.data, data):
        raise WriteFailed(f"{path}: the voxels did not read back as they were written; nothing was kept")
    if found.format == "image":
        return  # a picture holds no grid; its writer has refused all but the plain one
    stored = Geometry(geometry.shape, found.affine)
    distance = stored.grid_distance_mm(geometry)
    if distance > _CORNER_TOLERANCE_MM:
        raise WriteFailed(f"{path}: the grid reads back {distance:.2g} mm off; nothing was kept")
