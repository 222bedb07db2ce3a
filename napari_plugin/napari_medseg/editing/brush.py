"""The brush: a label along a stroke, round in mm, and if asked only on voxels of an intensity range."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from medseg import UsageError
from napari_medseg.editing.arguments import Over, Spacing, check_call, check_length, check_shape
from napari_medseg.editing.boxes import Box, Labels, Mask
from napari_medseg.edits import Edit, allowed, edit_of

Floats = NDArray[np.float64]

_ROUNDING = 1e-6  # relative: a spacing's last digits must not decide whether a voxel at the rim counts


def paint(
    labels: Labels,
    label: int,
    stroke: ArrayLike,
    radius: float,
    spacing: Spacing,
    *,
    axis: int | None = None,
    image: NDArray[Any] | None = None,
    intensity: tuple[float, float] | None = None,
    where: Mask | None = None,
    over: Over = "all",
) -> Edit:
    """Give ``label`` to the voxels within ``radius`` mm of a stroke; 0 erases.

    The voxel nearest to each point of the stroke is always within, however small the brush.

    Parameters
    ----------
    stroke
        Voxel index (i, j, k), or several (N, 3), which need not be whole: the brush moves straight from each
        to the next. Where it leaves the array nothing is painted.
    axis
        The brush is a disc in the slice across this axis, on which the stroke must lie; None: a ball.
    image, intensity
        Threshold brush: a scan of the labels' shape, and the range (lowest, highest), ends included, of the
        voxels that are painted.
    where, over
        As in `edits`, but a brush paints over other labels unless told.

    Raises
    ------
    medseg.UsageError
        Also if a disc's stroke runs through several slices.
    """
    check_call(labels, ids=(label,), where=where, over=over, axis=axis)
    check_length("radius", radius, spacing)
    points = np.atleast_2d(np.asarray(stroke, dtype=np.float64))
    if points.ndim != 2 or points.shape[1] != 3 or not np.isfinite(points).all():
        raise UsageError(f"stroke of shape {np.shape(stroke)}: expected finite indices (3,) or (N, 3)")
    if len(points) == 0:
        raise UsageError("the stroke has no point: expected one or more")
    nearest = _nearest(points)
    if axis is not None:
        if len(np.unique(nearest[:, axis])) > 1:
            raise UsageError(
                f"the stroke runs through several slices of axis {axis}: a disc needs one, a ball none"
            )
        points = points.copy()
        points[:, axis] = nearest[0, axis]
    reach = np.array([0 if n == axis else math.ceil(radius / size) for n, size in enumerate(spacing)])
    box = _box(points, reach, labels.shape)
    old = labels[box]
    if image is not None:
        check_shape("image", image, labels)
        image = image[box]
    painted = _stroke(points, radius, spacing, reach, box)
    may = allowed(old, image=image, intensity=intensity)
    if may is not None:
        painted &= may
    if over == "background":
        painted &= old == 0
    return edit_of(labels, box, np.where(painted, np.asarray(label, old.dtype), old), where)


def _stroke(points: Floats, radius: float, spacing: Spacing, reach: NDArray[np.int64], box: Box) -> Mask:
    """Which voxels of a box are within ``radius`` mm of the path through the points (N, 3)."""
    origin = np.array([part.start for part in box])
    shape = tuple(part.stop - part.start for part in box)
    painted = np.zeros(shape, np.bool_)
    for start, end in zip(points, points[1:] if len(points) > 1 else points, strict=False):
        part = _box(np.stack([start, end]) - origin, reach, shape)
        painted[part] |= _near_segment(start - origin, end - origin, radius, spacing, part)
    nearest = _nearest(points) - origin
    nearest = nearest[((nearest >= 0) & (nearest < shape)).all(axis=1)]
    painted[tuple(nearest.T)] = True
    return painted


def _near_segment(start: Floats, end: Floats, radius: float, spacing: Spacing, box: Box) -> Mask:
    """Which voxels of a box are within ``radius`` mm of the straight way from one index to another."""
    away = [(grid - first) * size for grid, first, size in zip(np.ogrid[box], start, spacing, strict=True)]
    way = (end - start) * spacing
    length = float(way @ way)
    along = sum(one * step for one, step in zip(away, way, strict=True))
    share = np.clip(along / length, 0, 1) if length > 0 else np.zeros(())
    squared = sum((one - share * step) ** 2 for one, step in zip(away, way, strict=True))
    return np.asarray(squared <= (radius * (1 + _ROUNDING)) ** 2)


def _nearest(points: Floats) -> NDArray[np.int64]:
    """Indices of the voxels that points are in; on the border of two the higher one."""
    return np.floor(points + 0.5).astype(np.int64)


def _box(points: Floats, reach: NDArray[np.int64], shape: tuple[int, ...]) -> Box:
    """The box around the voxels of points, ``reach`` wider, cut at the array's edge."""
    nearest = _nearest(points)
    lowest = np.clip(nearest.min(axis=0) - reach, 0, shape)
    behind = np.clip(nearest.max(axis=0) + reach + 1, lowest, shape)
    i, j, k = (slice(int(first), int(last)) for first, last in zip(lowest, behind, strict=True))
    return i, j, k
