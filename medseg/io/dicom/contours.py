"""Planar contours to masks: which voxel centres lie inside closed polygons.

The rule is even-odd over all polygons of a slice, so that a polygon within another is a hole, and so is the
inside of a keyhole. A centre on a contour belongs to the structure: contours traced along voxel centres, as
programs make them that come from masks, then give the mask they were made from.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

Polygon = NDArray[np.float64]
# How near a contour is "on" it, in voxels: decimals that files round away, far below what anyone draws.
ON_CONTOUR = 1e-3
# Crossings of edges with lines of voxels that are worked on at once (bounds the memory).
_BLOCK = 1 << 20
_MOST_COMPARED = 64


def fill(polygons: Sequence[Polygon], shape: tuple[int, int]) -> NDArray[np.bool_]:
    """The mask of closed polygons on a plane of voxels.

    Parameters
    ----------
    polygons
        Each (points, 2) in voxel indices (i, j), centres at whole numbers; the last point is joined to the
        first. A polygon that is there twice counts once. They may reach beyond the grid.
    shape
        (I, J) of the plane.

    Returns
    -------
    NDArray
        bool (I, J): centres inside an odd number of polygons, and centres on a contour.
    """
    start, end = _edges(_different(polygons))
    mask = _inside(start, end, shape)
    _touch(start, end, mask)
    return mask


def cross(polygons: Sequence[Polygon], shape: tuple[int, int]) -> bool:
    """Whether two polygons share voxels and neither holds the other: even-odd cuts out what they share.

    Polygons that only touch do not cross.
    """
    masks = [_inside(*_edges([polygon]), shape) for polygon in _different(polygons)[:_MOST_COMPARED]]
    sizes = [int(mask.sum()) for mask in masks]
    for a, b in combinations(range(len(masks)), 2):
        shared = int((masks[a] & masks[b]).sum())
        if 0 < shared < min(sizes[a], sizes[b]):
            return True
    return False


def crossings(polygons: Sequence[Polygon], rows: int) -> int:
    """How many crossings of edges with lines of voxels `fill` will meet: its work, known before it."""
    start, end = _edges(polygons)
    low, high = _lines(start[:, 1], end[:, 1], rows)
    return int((high - low).sum()) + len(start)


def _different(polygons: Sequence[Polygon]) -> list[Polygon]:
    return list({polygon.tobytes(): polygon for polygon in polygons}.values())


def _inside(start: Polygon, end: Polygon, shape: tuple[int, int]) -> NDArray[np.bool_]:
    """Even-odd alone: a centre on an edge is on one side of it, the same for both of its neighbours."""
    columns, rows = shape
    toggles = np.zeros((columns + 1, rows), np.uint8)
    _cross(start, end, toggles)
    np.bitwise_xor.accumulate(toggles, axis=0, out=toggles)
    return toggles[:columns].astype(bool)


def _edges(polygons: Sequence[Polygon]) -> tuple[Polygon, Polygon]:
    """Both ends of all edges of all polygons: even-odd does not ask which polygon an edge is of."""
    if not polygons:
        return np.empty((0, 2)), np.empty((0, 2))
    return np.concatenate(polygons), np.concatenate([np.roll(polygon, -1, axis=0) for polygon in polygons])


def _lines(
    y0: NDArray[np.float64], y1: NDArray[np.float64], rows: int, reach: float = 0.0
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Of each edge the first line of voxels it meets and the one after its last, clipped to the grid.

    An edge holds its lower end and not its upper one, so that a point shared by two edges counts once.
    With ``reach`` both ends are held, and a little more.
    """
    low = np.ceil(np.minimum(y0, y1) - reach).clip(0, rows)
    top = np.maximum(y0, y1)
    high = (np.ceil(top) if reach == 0 else np.floor(top + reach) + 1).clip(0, rows)
    return low.astype(np.int64), np.maximum(low, high).astype(np.int64)


def _spread(
    low: NDArray[np.int64], high: NDArray[np.int64]
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """(edge, line) for all lines of all edges, in blocks."""
    ends = np.cumsum(high - low)
    total = int(ends[-1]) if len(ends) else 0
    for first in range(0, total, _BLOCK):
        numbers = np.arange(first, min(total, first + _BLOCK))
        edge = np.searchsorted(ends, numbers, side="right")
        yield edge, np.asarray(high[edge] - ends[edge] + numbers, np.int64)


def _cross(start: Polygon, end: Polygon, toggles: NDArray[np.uint8]) -> None:
    """Mark where along each line of voxels inside and outside change."""
    columns, rows = toggles.shape[0] - 1, toggles.shape[1]
    for edge, line in _spread(*_lines(start[:, 1], end[:, 1], rows)):
        x = _at(start[edge], end[edge], line)
        first = np.ceil(x).clip(0, columns).astype(np.int64)
        np.bitwise_xor.at(toggles, (first, line), 1)


def _touch(start: Polygon, end: Polygon, mask: NDArray[np.bool_]) -> None:
    """Set the voxels whose centres lie on an edge."""
    columns, rows = mask.shape
    level = np.abs(start[:, 1] - end[:, 1]) <= 2 * ON_CONTOUR
    for edge, line in _spread(*_lines(start[~level, 1], end[~level, 1], rows, ON_CONTOUR)):
        x = _at(start[~level][edge], end[~level][edge], line)
        near = np.rint(x)
        on = (np.abs(x - near) <= ON_CONTOUR) & (near >= 0) & (near < columns)
        mask[near[on].astype(np.int64), line[on]] = True
    flat0, flat1 = start[level], end[level]
    line = np.rint(flat0[:, 1])
    on = (np.abs(flat0[:, 1] - line) <= ON_CONTOUR) & (np.abs(flat1[:, 1] - line) <= ON_CONTOUR)
    on &= (line >= 0) & (line < rows)
    low, high = _lines(flat0[on, 0], flat1[on, 0], columns, ON_CONTOUR)
    for edge, column in _spread(low, high):
        mask[column, line[on].astype(np.int64)[edge]] = True


def _at(start: Polygon, end: Polygon, line: NDArray[np.int64]) -> NDArray[np.float64]:
    """Where edges meet lines, along the line; not beyond their own ends."""
    along = ((line - start[:, 1]) / (end[:, 1] - start[:, 1])).clip(0.0, 1.0)
    return np.asarray(start[:, 0] + along * (end[:, 0] - start[:, 0]))
