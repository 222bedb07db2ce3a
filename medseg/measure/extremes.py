"""The outermost voxels of a structure, and from them how far it reaches.

A linear function of a structure's voxels is largest, and a pair of them farthest apart, at corners of their
convex hull. So most voxels can be left out first, and the result stays exact.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import reduce
from itertools import product

import numpy as np
from numpy.typing import NDArray

from medseg.measure.mesh import Floats
from medseg.measure.moments import Index

# Pairs whose distances are held at a time, and up to how many points all pairs are cheaper than a hull.
_PAIRS_AT_ONCE, _FEW = 1 << 20, 150

Points = NDArray[np.int64]


def outermost(index: Index) -> Points:
    """Of a structure's voxels those that are first or last on every line along an axis, (n, 2 or 3).

    They hold all corners of the convex hull: what lies between two others of a line is none. ``index`` is an
    array per axis in C order, as of `numpy.nonzero`.
    """
    *others, along = range(len(index))
    ends = _ends([index[n] for n in others])  # C order is that of the lines along the last axis
    index = tuple(places[ends] for places in index)
    for axis in range(along):
        others = [n for n in range(along + 1) if n != axis]
        order = np.lexsort((index[axis], *(index[n] for n in others)))
        index = tuple(places[order] for places in index)
        ends = _ends([index[n] for n in others])
        index = tuple(places[ends] for places in index)
    return np.stack(index, axis=1)


def extent_mm(points: Points, steps: Floats) -> Floats:
    """How far the voxels reach along R, A and S, from edge to edge: (3,).

    Parameters
    ----------
    points
        What `outermost` gives.
    steps
        One column per axis of the array: a step along it in mm.
    """
    centres = points @ steps.T
    reach: Floats = centres.max(axis=0) - centres.min(axis=0) + np.abs(steps).sum(axis=1)
    return reach


def max_diameter_mm(points: Points, steps: Floats, spanning_axes: tuple[int, ...]) -> float:
    """The largest distance in mm between two corners of the structure's surface.

    These corners lie halfway between a voxel inside and one outside that shares a face with it, as marching
    cubes has them. Those that matter lie next to corners of the convex hull of the voxels: of all points half
    a step from a voxel, the corners of the hull are such.

    Parameters
    ----------
    points, steps
        As in `extent_mm`.
    spanning_axes
        As of their `Moments`.
    """
    from scipy.spatial.distance import cdist  # here: it takes longer to import than a command to start

    # From centres to corners a distance changes by a step at most, and the largest does not become less.
    step = float(np.linalg.norm(steps, axis=0).max())
    centres = points @ steps.T
    ends = _far_from_middle(centres, step)
    if len(ends) > _FEW:  # a round structure: its convex hull is cheaper than all pairs
        ends = _corners(points[:, spanning_axes])
    centres = centres[ends]
    far, farthest = [], 0.0
    rows = max(1, _PAIRS_AT_ONCE // len(centres))
    for start in range(0, len(centres), rows):
        distances = cdist(centres[start : start + rows], centres)
        farthest = max(farthest, float(distances.max()))
        a, b = np.nonzero(distances >= farthest - step)
        far.append(np.stack((start + a, b))[:, start + a <= b])
    a, b = np.concatenate(far, axis=1)
    halves = np.concatenate((steps.T, -steps.T)) / 2
    shifts = np.unique([to - back for to, back in product(halves, halves)], axis=0)
    between = centres[a] - centres[b]
    return math.sqrt(max(((between + shift) ** 2).sum(axis=1).max() for shift in shifts))


def _far_from_middle(centres: Floats, step: float) -> NDArray[np.intp]:
    """Which points can be in a pair that is within ``step`` of the farthest: the ends of what is longish."""
    radii = np.linalg.norm(centres - centres.mean(axis=0), axis=1)
    one_end = centres[radii.argmax()]
    apart = np.linalg.norm(centres - one_end, axis=1).max()  # the farthest pair is no nearer than that
    ends: NDArray[np.intp] = np.flatnonzero(radii >= (apart - step - radii.max()) * (1 - 1e-9))
    return ends


def _corners(points: Points) -> NDArray[np.intp]:
    """Which points are corners of their convex hull, ascending; they span all of their columns."""
    if not points.shape[1]:
        return np.zeros(1, np.intp)
    if points.shape[1] == 1:
        return np.array((points.argmin(), points.argmax()))
    from scipy.spatial import ConvexHull

    corners: NDArray[np.intp] = np.sort(ConvexHull(points).vertices).astype(np.intp)
    return corners


def _ends(lines: Sequence[NDArray[np.int64]]) -> NDArray[np.bool_]:
    """Which points are first or last of their line. ``lines`` are its indices across, line after line."""
    ends = np.ones(len(lines[0]), np.bool_)
    changes = reduce(np.logical_or, (places[1:] != places[:-1] for places in lines))
    ends[1:-1] = changes[:-1] | changes[1:]
    return ends
