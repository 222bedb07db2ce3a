"""The network's grid for a scan: its own axes, reordered, flipped and respaced."""

from __future__ import annotations

import numpy as np

from medseg.geometry import Geometry
from medseg.plans import GridPlan

# Spacings closer than this share are taken as equal: headers round, and resampling would only blur. The
# grid stays the scan's own, so nothing moves; the network sees a thousandth more or less of it.
_SAME_SPACING = 1e-3
# World axes (0 R, 1 A, 2 S) of a slice's own two axes, then of the axis across the slices.
WORLD_AXES: dict[str | None, tuple[int, int, int]] = {
    None: (0, 1, 2), "axial": (0, 1, 2), "coronal": (0, 2, 1), "sagittal": (1, 2, 0),
}  # fmt: skip


def network_geometry(native: Geometry, grid: GridPlan) -> Geometry:
    """The grid on which a plan wants to see a scan.

    The scan's array axes are permuted and flipped to the closest RAS order (unless the plan takes
    them as stored), or for slices by anatomy to the closest order in which these lie along the third axis;
    then respaced about the centre of the field of view: a size of n voxels of s mm becomes
    ``max(1, round(n s / s'))`` voxels of exactly s' mm. A 2D image keeps its third axis, and so do slices
    by anatomy; a grid of unknown spacing keeps its own.
    """
    oriented = native
    if grid.orientation is not None and not native.is_2d:
        axes, flipped = _to_ras(native, WORLD_AXES[grid.slice_axis])
        oriented = native.permuted(axes, flipped)
    if grid.spacing_mm is None or not native.spacing_known:
        return oriented
    ratio = np.array(grid.spacing_mm) / oriented.spacing
    ratio[np.abs(ratio - 1.0) < _SAME_SPACING] = 1.0
    if native.is_2d or grid.slice_axis is not None:
        ratio[2] = 1.0
    old = np.array(oriented.shape)
    new = np.maximum(1, np.round(old / ratio)).astype(int)
    # The centre stays: index n' of the new grid lies at (n' - (N' - 1) / 2) ratio + (N - 1) / 2.
    start = (old - 1) / 2 - ratio * (new - 1) / 2
    step = np.diag([*ratio, 1.0])
    step[:3, 3] = start
    i, j, k = (int(n) for n in new)
    return Geometry((i, j, k), oriented.affine @ step, is_2d=native.is_2d)


def _to_ras(
    geometry: Geometry, order: tuple[int, int, int]
) -> tuple[tuple[int, int, int], tuple[bool, bool, bool]]:
    """The array's axes that run closest to some world axes, and which of them run downwards."""
    world_axes = geometry.closest_world_axes
    a, b, c = (world_axes.index(world) for world in order)
    down = [bool(geometry.affine[world, axis] < 0) for world, axis in zip(order, (a, b, c), strict=True)]
    return (a, b, c), (down[0], down[1], down[2])
