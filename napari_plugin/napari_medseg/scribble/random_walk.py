"""Random walks on a grid: how probably a walker from a voxel reaches the strokes of a structure first.

The probabilities u of one structure solve, at every free voxel x with neighbours y ::

    sum_y w(x, y) (u(x) - u(y)) + pull (u(x) - prior(x)) = 0

(Grady 2005, doi:10.1109/CVPR.2005.239), where w follows from the image. No Qt, no viewer.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy
from numpy.typing import NDArray

from napari_medseg.scribble.cells import Floats, Indices, Spacing

# Chosen as the constants of scribbles.py are.
_EDGE = 2.0  # a step across the root mean square difference of neighbours weighs exp(-2) of a flat one
_LEAK = 1e-3  # and no step is impossible
_FACE = 0.1  # weight of the step out of the grid, where all is outside

# Mean Dice of the cases that it was chosen on differed by 0.005 between 1e-2 and 3e-4.
_TOLERANCE = 1e-2  # of the residual, beside the right-hand side
_MOST_STEPS = 150  # from a coarser grid's solution, at most 54 were seen


@dataclass(frozen=True, slots=True, eq=False)
class Walk:
    """The linear system of a grid's free voxels, n in number.

    Parameters
    ----------
    places
        (n,) their flat indices.
    neighbours
        (6, n) flat indices; a voxel's own where the grid ends.
    weights
        (6, n) of the steps there; 0 where the grid ends.
    steps
        (n, n) sparse: weights of the steps between free voxels.
    total
        (n,) weights of all steps from a voxel, out of the grid included.
    """

    places: Indices
    neighbours: Indices
    weights: Floats
    steps: Any
    total: Floats


def walk_on(grey: Floats, free: NDArray[np.bool_], spacing: Spacing) -> Walk:
    """The system of the free voxels (I, J, K) of an image.

    A step weighs ``exp(-2 d^2 / mean d^2) + 0.001``, d the difference of grey, times the square of the
    finest spacing over its own. Beyond each face of the grid is a neighbour of probability 0, unless the grid
    is only one or two voxels thick along that axis: then nothing leaves there.
    """
    places = np.flatnonzero(free)
    flat = np.ascontiguousarray(grey).ravel()
    here = flat[places]
    scale = np.float32(-_EDGE / max(_mean_square_step(grey), 1e-30))
    neighbours = np.empty((6, len(places)), np.intp)
    weights = np.empty((6, len(places)), np.float32)
    total = np.zeros(len(places), np.float32)
    for axis, size in enumerate(grey.shape):
        stride = math.prod(grey.shape[axis + 1 :])
        nearness = np.float32((min(spacing) / spacing[axis]) ** 2)
        along = places // stride % size
        for row, way, last in ((2 * axis, -stride, 0), (2 * axis + 1, stride, size - 1)):
            ends = along == last
            neighbours[row] = np.where(ends, places, places + way)
            step = flat[neighbours[row]]
            step -= here
            step *= step
            step *= scale
            np.exp(step, out=step)
            weights[row] = np.where(ends, 0, (step + np.float32(_LEAK)) * nearness)
            total += weights[row]
            if size > 2:
                total[ends] += np.float32(_FACE) * nearness
    return Walk(places, neighbours, weights, _between(places, neighbours, weights, flat.size), total)


def potential(
    walk: Walk, known: Floats, prior: Floats, pull: float, start: Floats, ask: Callable[[], None]
) -> Floats:
    """One structure's probability at the free voxels (n,), by conjugate gradients.

    Parameters
    ----------
    walk
        The system.
    known
        (6, n): the probability at each neighbour that is not free; 0 at free ones.
    prior, start
        (n,): the probability by appearance, and where to start from.
    pull
        Weight of the prior, above 0.
    ask
        Called at every step; what it raises ends the work.

    Notes
    -----
    Jacobi's preconditioner. It ends at the tolerance, or after 150 steps with what it has by then.
    """
    right = np.einsum("sn,sn->n", walk.weights, known) + np.float32(pull) * prior
    diagonal = walk.total + np.float32(pull)
    found = start.astype(np.float32)
    rest = right - diagonal * found + walk.steps @ found
    scaled = rest / diagonal
    way = scaled.copy()
    energy = float(rest @ scaled)
    enough = _TOLERANCE**2 * float(right @ (right / diagonal))
    for _ in range(_MOST_STEPS):
        if energy <= enough:
            break
        ask()
        moved = diagonal * way - walk.steps @ way
        length = np.float32(energy / float(way @ moved))
        found += length * way
        rest -= length * moved
        np.divide(rest, diagonal, out=scaled)
        before, energy = energy, float(rest @ scaled)
        way *= np.float32(energy / before)
        way += scaled
    return np.clip(found, 0, 1)


def _mean_square_step(grey: Floats) -> float:
    """Mean squared difference of neighbours along all axes; 0 for a constant image and for one voxel."""
    squares, count = 0.0, 0
    for axis in range(3):
        step = np.diff(grey, axis=axis).ravel()
        squares += float(step @ step)
        count += step.size
    return squares / max(count, 1)


def _between(places: Indices, neighbours: Indices, weights: Floats, size: int) -> Any:
    """Steps between free voxels as a matrix of six entries a row, written down without sorting."""
    number = np.full(size, -1, np.int32)
    number[places] = np.arange(len(places), dtype=np.int32)
    columns = number[neighbours.T]
    lone = columns < 0
    columns[lone] = 0
    values = np.where(lone, np.float32(0), weights.T)
    rows = np.arange(0, 6 * len(places) + 1, 6, dtype=np.int32)
    return scipy.sparse.csr_array((values.ravel(), columns.ravel(), rows), shape=(len(places), len(places)))
