"""Place and intensities that stay as they were when one case is shown after another. No Qt, no viewer."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from napari_medseg.layers import LayerGrid
from napari_medseg.panels.intensity import Limits


def same_place(point: ArrayLike, before: LayerGrid, now: LayerGrid) -> NDArray[np.float64]:
    """Where a place in one scan is in another, in layer coordinates.

    Parameters
    ----------
    point
        Layer coordinates (..., axes) in the scan that was shown before.
    before, now
        The two grids, both of volumes or both of pictures.

    Returns
    -------
    ndarray
        The point itself on the same grid. Else the place that is the same share of the way from the first
        voxel's centre to the last one's along every axis: the middle stays the middle.
    """
    place = np.asarray(point, dtype=np.float64)
    if before.geometry.same_grid(now.geometry):
        return place
    extent = _extent(before)
    # A single slice has no share of the way; its place is any of the other's, so the middle.
    share = np.where(extent > 0, (place - before.translate) / np.where(extent > 0, extent, 1), 0.5)
    return share * _extent(now) + now.translate


def same_window(limits: Limits, own_before: Limits, own_now: Limits) -> Limits:
    """Contrast limits for a scan, as they were changed for the one before.

    What was changed is carried over in terms of each scan's own window
    (`medseg.report.drawing.display_window`). That of every CT is the same, so limits in HU stay; the
    intensities of two MR scans mean nothing to each other. Limits of an ``own_before`` without width become
    ``own_now``.
    """
    width = own_before[1] - own_before[0]
    if width <= 0:
        return own_now
    low, high = ((limit - own_before[0]) / width for limit in limits)
    wide = own_now[1] - own_now[0]
    return own_now[0] + low * wide, own_now[0] + high * wide


def _extent(grid: LayerGrid) -> NDArray[np.float64]:
    """Millimetres (or pixels) from the first voxel's centre to the last one's along each layer axis."""
    extent: NDArray[np.float64] = (np.array(grid.layer_shape) - 1) * np.array(grid.scale)
    return extent
