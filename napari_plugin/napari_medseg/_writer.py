"""The writers of the manifest: layers to NIfTI and NRRD, on the scan's own grid, verified.

A layer that medseg made knows its grid. Another one (napari's "New labels layer", a filtered image) is
saved on the grid of the one scan in the window that it lies on, voxel for voxel.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import medseg
from medseg import LabelMap, LabelSet, Volume
from medseg.io.files import extension
from napari_medseg.layers import METADATA_KEY, LayerGrid, labelmap_of, volume_of

Options = Mapping[str, Any]


def write_labels_nifti(path: str, data: NDArray[Any], options: Options) -> list[str]:
    """Save a labels layer as NIfTI; a name without a known extension gets ``.nii.gz``."""
    return [_save(labels_to_save(data, options, scans_in_the_window()), path, ".nii.gz")]


def write_labels_nrrd(path: str, data: NDArray[Any], options: Options) -> list[str]:
    """Save a labels layer as NRRD; without a known extension as ``.seg.nrrd``, which keeps the names."""
    return [_save(labels_to_save(data, options, scans_in_the_window()), path, ".seg.nrrd")]


def write_image_nifti(path: str, data: NDArray[Any], options: Options) -> list[str]:
    """Save an image layer as NIfTI; a name without a known extension gets ``.nii.gz``."""
    return [_save(scan_to_save(data, options, scans_in_the_window()), path, ".nii.gz")]


def write_image_nrrd(path: str, data: NDArray[Any], options: Options) -> list[str]:
    """Save an image layer as NRRD; a name without a known extension gets ``.nrrd``."""
    return [_save(scan_to_save(data, options, scans_in_the_window()), path, ".nrrd")]


def labels_to_save(data: NDArray[Any], options: Options, scans: Sequence[Options]) -> LabelMap:
    """The label map of a labels layer.

    Parameters
    ----------
    data, options
        The layer as npe2 gives it.
    scans
        What medseg keeps in the metadata of each scan in the window, for a layer that is not medseg's.

    Raises
    ------
    UsageError
        If nothing says on which grid the layer stands, or it holds what no label map can.
    """
    kept = dict(_grid_of(data, options, scans))
    kept.setdefault("labels", LabelSet())
    try:
        return labelmap_of(data, {METADATA_KEY: kept})
    except ValueError as error:
        raise medseg.UsageError(f"{_name(options)}: {error}") from error


def scan_to_save(data: NDArray[Any], options: Options, scans: Sequence[Options]) -> Volume:
    """The scan of an image layer, of its one channel; parameters and errors as in `labels_to_save`."""
    try:
        return volume_of([(data, {METADATA_KEY: _grid_of(data, options, scans)})])
    except ValueError as error:
        raise medseg.UsageError(f"{_name(options)}: {error}") from error


def scans_in_the_window() -> list[Options]:
    """What medseg keeps with each scan in napari's current window. A file's channels count once."""
    # A writer is told of one layer alone; where napari is not running there is no window to ask.
    napari: Any = sys.modules.get("napari")
    viewer = None if napari is None else napari.current_viewer()
    images = [] if viewer is None else [x for x in viewer.layers if isinstance(x, napari.layers.Image)]
    kept = [layer.metadata[METADATA_KEY] for layer in images if METADATA_KEY in layer.metadata]
    return [one for one in kept if not one.get("channel")]


def _grid_of(data: NDArray[Any], options: Options, scans: Sequence[Options]) -> Options:
    own: Options | None = options.get("metadata", {}).get(METADATA_KEY)
    if own is not None:
        return own
    shape = np.shape(data)[: len(options["scale"])]  # an RGB image has its colours last
    fitting = [kept for kept in scans if _fits(LayerGrid(kept["geometry"]), shape, options)]
    grids = {kept["geometry"] for kept in fitting}
    if len(grids) == 1:
        return {key: fitting[0][key] for key in ("geometry", "source", "verdict")}
    found = "no scan" if not fitting else f"{len(grids)} scans on different grids"
    raise medseg.UsageError(
        f"{_name(options)}: {' x '.join(map(str, shape))} voxels that lie on {found} in this window; "
        "expected exactly one. Open its scan with medseg, select it, make the layer with 'New labels layer', "
        "and draw there"
    )


def _fits(grid: LayerGrid, shape: tuple[int, ...], options: Options) -> bool:
    ndim = len(shape)
    plain = np.array_equal(options.get("rotate", np.eye(ndim)), np.eye(ndim)) and not np.any(
        options.get("shear", 0)
    )
    unmoved = np.array_equal(options.get("affine", np.eye(ndim + 1)), np.eye(ndim + 1))
    placed = grid.layer_shape == shape and grid.is_at(options["scale"], options["translate"])
    return bool(plain and unmoved and placed)


def _save(item: Volume | LabelMap, path: str, otherwise: str) -> str:
    named = Path(path) if extension(path) else Path(path + otherwise)
    return str(medseg.write(item, named, overwrite=True))  # napari's dialog has asked


def _name(options: Options) -> str:
    return str(options.get("name", "the layer"))
