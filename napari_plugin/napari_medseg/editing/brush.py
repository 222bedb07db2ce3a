"""The brush: a label along a stroke, round in mm, and if asked only on voxels of an intensity range."""

from __future__ import annotations

import math
from collections.abc import Sequence
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
Sides = tuple[slice | range, slice | range, slice | range]

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
    reach = _reach(radius, spacing, axis)
    box = _cut(_around(nearest, reach), shape)
    near = np.zeros([part.stop - part.start for part in box], np.bool_)
    for n in range(max(len(points) - 1, 1)):
        ends = points[n : n + 2]
        part = _cut(_around(nearest[n : n + 2], reach), shape)
        near[_within(part, box)] |= _near_segment(ends[0], ends[-1], radius, spacing, part)
    for point, voxel in zip(points, nearest, strict=True):
        if point == voxel:  # it is at no distance
            continue
        if all(part.start <= at < part.stop for at, part in zip(voxel, box, strict=True)):
            i, j, k = (at - part.start for at, part in zip(voxel, box, strict=True))
            near[i, j, k] = True
    return box, near


def near_way(
    start: Triple,
    end: Triple,
    radius: float,
    spacing: Spacing,
    shape: Sequence[int],
    *,
    axis: int | None = None,
) -> tuple[Box, Mask]:
    """As `near_stroke` for the straight way between two voxels; the mask is not to be written to.

    A window asks at every move of the mouse, and a hand moves by few voxels: masks of short ways are kept.
    The time it takes depends on the brush and the way alone.

    Parameters
    ----------
    start, end
        Voxels (i, j, k), in the array or not.
    radius, spacing, shape, axis
        As in `near_stroke`.

    Raises
    ------
    medseg.UsageError
        As `paint`.
    """
    way = end[0] - start[0], end[1] - start[1], end[2] - start[2]
    kept = _footprint(way, radius, spacing, axis)
    if kept is None:
        return near_stroke((start, end), radius, spacing, shape, axis=axis)
    (i, j, k), mask = kept
    i, j, k = i + start[0], j + start[1], k + start[2]
    whole = range(i, i + mask.shape[0]), range(j, j + mask.shape[1]), range(k, k + mask.shape[2])
    box = _cut(whole, shape)
    return box, mask[_within(box, whole)]


def _points(stroke: ArrayLike) -> list[Point]:
    points = np.asarray(stroke, dtype=np.float64)
    if points.ndim == 1:
        points = points[None]
    if points.ndim != 2 or points.shape[1] != 3 or not np.isfinite(points).all():
        raise UsageError(f"stroke of shape {np.shape(stroke)}: expected finite indices (3,) or (N, 3)")
    if len(points) == 0:
        raise UsageError("the stroke has no point: expected one or more")
    return [(i, j, k) for i, j, k in points.tolist()]


@lru_cache(maxsize=64)
def _footprint(way: Triple, radius: float, spacing: Spacing, axis: int | None) -> tuple[Triple, Mask] | None:
    """Where the box of `near_way` begins, and its mask, from voxel (0, 0, 0) to ``way`` in an endless array.

    None for what is too large to be kept, and for a disc that leaves its slice.
    """
    check_length("radius", radius, spacing)
    reach = _reach(radius, spacing, axis)
    size = math.prod(abs(step) + 2 * wide + 1 for step, wide in zip(way, reach, strict=True))
    if size > _KEPT_VOXELS or (axis is not None and way[axis]):
        return None
    i, j, k = _around([(0, 0, 0), way], reach)
    mask = _near_segment((0, 0, 0), way, radius, spacing, (i, j, k))
    mask.setflags(write=False)
    return (i.start, j.start, k.start), mask


def _reach(radius: float, spacing: Spacing, axis: int | None) -> Triple:
    """How many voxels a brush reaches along each axis."""
    i, j, k = [0 if n == axis else math.ceil(radius / size) for n, size in enumerate(spacing)]
    return i, j, k


def _near_segment(start: Point, end: Point, radius: float, spacing: Spacing, box: Sides) -> Mask:
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
    (a, b, c), (i, j, k) = whole, shape
    return _part(a, i), _part(b, j), _part(c, k)


def _part(along: range, size: int) -> slice:
    first = min(max(along.start, 0), size)
    return slice(first, max(min(along.stop, size), first))


def _within(inner: Box, outer: Sides) -> Box:
    """A box of the array, counted from where a box around it begins."""
    (a, b, c), (i, j, k) = inner, outer
    return (
        slice(a.start - i.start, a.stop - i.start),
        slice(b.start - j.start, b.stop - j.start),
        slice(c.start - k.start, c.stop - k.start),
    )
