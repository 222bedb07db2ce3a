"""The brush: a label along a stroke, round in mm, and if asked only on voxels of an intensity range."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from medseg import UsageError
from napari_medseg.editing.arguments import Over, Spacing, check_call, check_length, check_shape
from napari_medseg.editing.boxes import Box, Labels, Mask
from napari_medseg.edits import Edit, allowed, edit_of

Point = tuple[float, float, float]
Triple = tuple[int, int, int]
Ranges = tuple[range, range, range]

_ROUNDING = 1e-6  # relative: a spacing's last digits must not decide whether a voxel at the rim counts
_KEPT_VOXELS = 1 << 16  # a ball of 40 voxels across; 64 such masks are 4 MB


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
    box, painted = near_stroke(_points(stroke), radius, spacing, labels.shape, axis=axis)
    old = labels[box]
    if image is not None:
        check_shape("image", image, labels)
        image = image[box]
    may = allowed(old, image=image, intensity=intensity)
    if may is not None:
        painted &= may
    if over == "background":
        painted &= old == 0
    return edit_of(labels, box, np.where(painted, np.asarray(label, old.dtype), old), where)


def near_stroke(
    points: Sequence[Point],
    radius: float,
    spacing: Spacing,
    shape: Sequence[int],
    *,
    axis: int | None = None,
) -> tuple[Box, Mask]:
    """The voxels within ``radius`` mm of a stroke, as a box of the array and a mask (bool) of its shape.

    The time it takes depends on the brush and the stroke alone: a window asks at every move of the mouse.

    Parameters
    ----------
    points
        Finite indices (i, j, k), one or more.
    radius, spacing, axis
        As in `paint`.
    shape
        Of the array (I, J, K). Where the brush reaches nothing of it the box is empty.

    Raises
    ------
    medseg.UsageError
        As `paint`.
    """
    check_length("radius", radius, spacing)
    nearest = [_nearest(point) for point in points]
    if axis is not None:
        if len({voxel[axis] for voxel in nearest}) > 1:
            raise UsageError(
                f"the stroke runs through several slices of axis {axis}: a disc needs one, a ball none"
            )
        points = [_with(point, axis, nearest[0][axis]) for point in points]
    i, j, k = [0 if n == axis else math.ceil(radius / size) for n, size in enumerate(spacing)]
    reach = (i, j, k)
    whole = _around(nearest, reach)
    box = _cut(whole, shape)
    if len(points) <= 2:
        near = _segment(points, radius, spacing, whole, box).copy()
    else:
        near = np.zeros([part.stop - part.start for part in box], np.bool_)
        for n in range(len(points) - 1):
            whole = _around(nearest[n : n + 2], reach)
            part = _cut(whole, shape)
            near[_within(part, box)] |= _segment(points[n : n + 2], radius, spacing, whole, part)
    for point, voxel in zip(points, nearest, strict=True):
        if point == voxel:  # it is at no distance
            continue
        if all(part.start <= at < part.stop for at, part in zip(voxel, box, strict=True)):
            i, j, k = (at - part.start for at, part in zip(voxel, box, strict=True))
            near[i, j, k] = True
    return box, near


def _points(stroke: ArrayLike) -> list[Point]:
    points = np.asarray(stroke, dtype=np.float64)
    if points.ndim == 1:
        points = points[None]
    if points.ndim != 2 or points.shape[1] != 3 or not np.isfinite(points).all():
        raise UsageError(f"stroke of shape {np.shape(stroke)}: expected finite indices (3,) or (N, 3)")
    if len(points) == 0:
        raise UsageError("the stroke has no point: expected one or more")
    return [(i, j, k) for i, j, k in points.tolist()]


def _segment(points: Sequence[Point], radius: float, spacing: Spacing, whole: Ranges, part: Box) -> Mask:
    """Which voxels of ``part`` are within ``radius`` mm of the way from the first point to the last.

    ``part`` is what of ``whole``, the box around all such voxels, lies in the array.
    """
    if math.prod(map(len, whole)) > _KEPT_VOXELS:  # also a drag that ends far outside of the array
        i, j, k = (range(along.start, along.stop) for along in part)
        return _near_segment(points[0], points[-1], radius, spacing, (i, j, k))
    start, end = _moved(points[0], whole), _moved(points[-1], whole)
    i, j, k = whole
    return _kept_segment(start, end, radius, spacing, (len(i), len(j), len(k)))[_within(part, whole)]


@lru_cache(maxsize=64)  # a hand moves by few voxels: the same short ways come again and again
def _kept_segment(start: Point, end: Point, radius: float, spacing: Spacing, shape: Triple) -> Mask:
    """As `_near_segment` for a box that begins at 0; not to be written to."""
    i, j, k = map(range, shape)
    mask = _near_segment(start, end, radius, spacing, (i, j, k))
    mask.setflags(write=False)
    return mask


def _near_segment(start: Point, end: Point, radius: float, spacing: Spacing, box: Ranges) -> Mask:
    """Which voxels of a box are within ``radius`` mm of the straight way from one index to another.

    With ``away`` from the start, ``way`` to the end and ``share = away . way / |way|^2`` cut to 0 ... 1, the
    squared distance is ``|away - share way|^2``.
    """
    away = [(np.arange(part.start, part.stop) - first) * size
            for part, first, size in zip(box, start, spacing, strict=True)]  # fmt: skip
    way = [(last - first) * size for first, last, size in zip(start, end, spacing, strict=True)]
    length = sum(step * step for step in way)
    squared = _sum_of_axes([one * one for one in away])
    if length > 0:
        share = _sum_of_axes([one * (step / length) for one, step in zip(away, way, strict=True)])
        cut = np.minimum(np.maximum(share, 0.0), 1.0)
        squared += length * cut * (cut - 2 * share)  # the square multiplied out
    return np.asarray(squared <= (radius * (1 + _ROUNDING)) ** 2)


def _sum_of_axes(terms: Sequence[NDArray[Any]]) -> NDArray[Any]:
    """The array (I, J, K) whose voxel (i, j, k) is the sum of the terms' i-th, j-th and k-th number."""
    i, j, k = terms
    total: NDArray[Any] = i[:, None, None] + (j[:, None] + k)
    return total


def _nearest(point: Point) -> Triple:
    """The voxel that a point is in; on the border of two the one of the higher index."""
    i, j, k = point
    return math.floor(i + 0.5), math.floor(j + 0.5), math.floor(k + 0.5)


def _moved(point: Point, box: Ranges) -> Point:
    """A point counted from where a box begins."""
    i, j, k = [at - along.start for at, along in zip(point, box, strict=True)]
    return i, j, k


def _with(point: Point, axis: int, at: int) -> Point:
    """The point moved along an axis."""
    if point[axis] == at:
        return point
    i, j, k = (float(at) if n == axis else one for n, one in enumerate(point))
    return i, j, k


def _around(voxels: Sequence[Triple], reach: Triple) -> Ranges:
    """The box around voxels, ``reach`` wider, in the array or not."""
    i, j, k = [
        range(min(along) - wide, max(along) + wide + 1)
        for along, wide in zip(zip(*voxels, strict=True), reach, strict=True)
    ]
    return i, j, k


def _cut(whole: Ranges, shape: Sequence[int]) -> Box:
    """What of a box lies in an array."""
    parts = []
    for along, size in zip(whole, shape, strict=True):
        first = min(max(along.start, 0), size)
        parts.append(slice(first, max(min(along.stop, size), first)))
    i, j, k = parts
    return i, j, k


def _within(inner: Box, outer: Iterable[slice | range]) -> Box:
    """A box of the array, counted from where a box around it begins."""
    i, j, k = [slice(a.start - b.start, a.stop - b.start) for a, b in zip(inner, outer, strict=True)]
    return i, j, k
