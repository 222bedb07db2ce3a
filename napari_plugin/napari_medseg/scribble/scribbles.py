"""Scribble to segment: a few strokes inside and outside, and the region follows in 3D. No Qt, no viewer.

Random walks (Grady 2006, doi:10.1109/TPAMI.2006.233): a voxel belongs to the structure whose strokes a walker
from there reaches most probably, where steps across an edge of the image are improbable. Added to it is how
likely a voxel's intensity is among those under each structure's strokes (the prior of Grady 2005,
doi:10.1109/CVPR.2005.239), so that a stroke on one slice says something of all. Both are one linear system,
solved by conjugate gradients on a pyramid of grids: its result on one grid is the start on the next, which
solves only where labels are in doubt. The answer follows from image and strokes, not from earlier answers.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy
from numpy.typing import NDArray

from medseg import UsageError
from napari_medseg.scribble.appearance import appearance, grey_values
from napari_medseg.scribble.cells import (
    Factors,
    Floats,
    Indices,
    Spacing,
    Strokes,
    cell_means,
    cell_of,
    cell_spacing,
    factors_for,
    spread,
)
from napari_medseg.scribble.random_walk import potential, walk_on

Labels = NDArray[np.unsignedinteger[Any]]
Box = tuple[slice, slice, slice]

OUTSIDE = 1  # the value of strokes outside of everything; structures follow from 2

# Chosen on hippocampus cases 6 to 10 and label maps 6 to 10: benchmarks/scribbles.py.
_PULL = 0.01  # of the appearance on a cell of the first answer, beside 1 for each neighbour

_COARSE_CELLS = 2**20  # of the first answer: two seconds on two cores
_WHOLE_CELLS = 2**17  # a larger grid is solved only where the next larger cells leave doubt:
_SURE = 0.5  # a cell whose best label leads by more keeps its probabilities on the finer grid
_MOST_STRUCTURES = 250
_SAME: Factors = (1, 1, 1)
_SMALLEST_CELLS = 2**12  # a grid of so few has none of larger cells below it


@dataclass(frozen=True, slots=True, eq=False)
class Answer:
    """What the strokes say, on the voxels of a region of the scan.

    Parameters
    ----------
    labels
        (I', J', K') of the strokes' dtype, on ``box``: 1 outside, 2.. structures; no 0.
    box
        The region that was looked at, as three slices of the scan.
    is_final
        Whether this is the answer at full resolution.
    """

    labels: Labels
    box: Box
    is_final: bool


class _Cancelled(Exception):
    """The caller no longer wants the answer."""


def segment_scribbles(
    image: NDArray[Any],
    seeds: Labels,
    spacing: Spacing,
    *,
    box: Box | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> Iterator[Answer]:
    """Answers to a user's strokes: at most one coarse one, then the final one.

    The first is on a grid of at most about a million cells (half resolution of 256 x 256 x 128); the
    final one solves again, at full resolution, around the borders of the first. A region that is no larger
    has only the final one. Nothing is computed before the first is asked for. Call it from a worker thread:
    its work is in numpy and scipy calls, which leave Python to other threads.

    Parameters
    ----------
    image
        (I, J, K), any number type. What is not finite counts as the darkest.
    seeds
        (I, J, K) unsigned: 0 unmarked, 1 outside, 2.. structures, which may have gaps. Strokes keep their
        label in every final answer; so do they in a coarse one where a cell holds one label.
    spacing
        Millimetres per step along i, j, k.
    box
        The region to look at; `region_of` the strokes unless given. Strokes outside of it are not seen. Its
        faces pull towards outside, so with no stroke outside the structure still ends within the region, and
        intensities outside are learnt from the faces.
    cancelled
        Asked often; once it says yes, there are no further answers.

    Yields
    ------
    Answer
        A voxel that belongs to two labels alike gets the smaller one. What is not connected, through faces
        of voxels, to a stroke of its structure is outside.

    Raises
    ------
    UsageError
        If no stroke of the region is inside a structure, if shapes differ, or if the spacing is not positive.
    """
    _check(image, seeds, spacing)
    box = region_of(seeds, spacing) if box is None else box
    marks = seeds[box]
    names = np.unique(marks[marks > OUTSIDE])
    if not names.size:
        raise UsageError("no stroke inside a structure: draw one, of a value of 2 or more, in the region")
    if names.size > _MOST_STRUCTURES:
        raise UsageError(f"strokes in {names.size} structures, expected {_MOST_STRUCTURES} at most")
    return _answers(image[box], marks, spacing, box, names, cancelled or (lambda: False))


def region_of(seeds: Labels, spacing: Spacing) -> Box:
    """The box of all strokes, larger on every side by its longest edge and 10 mm at least, within the scan.

    Without any stroke, the whole scan.
    """
    found = [np.flatnonzero(seeds.any(axis=tuple(b for b in range(3) if b != axis))) for axis in range(3)]
    if not found[0].size:
        i, j, k = (slice(0, n) for n in seeds.shape)
        return i, j, k
    ends = [(int(line[0]), int(line[-1]) + 1) for line in found]
    margin = max(10.0, *((b - a) * mm for (a, b), mm in zip(ends, spacing, strict=True)))
    i, j, k = (
        slice(max(0, a - math.ceil(margin / mm)), min(n, b + math.ceil(margin / mm)))
        for (a, b), mm, n in zip(ends, spacing, seeds.shape, strict=True)
    )
    return i, j, k


def _check(image: NDArray[Any], seeds: Labels, spacing: Spacing) -> None:
    if image.ndim != 3 or image.shape != seeds.shape:
        raise UsageError(f"image {image.shape} and strokes {seeds.shape}: expected one shape (I, J, K)")
    if not np.issubdtype(seeds.dtype, np.unsignedinteger):
        raise UsageError(f"strokes are {seeds.dtype}, expected unsigned whole numbers: 0 is unmarked")
    if len(spacing) != 3 or not all(mm > 0 and math.isfinite(mm) for mm in spacing):
        raise UsageError(f"spacing {spacing}: expected three positive numbers of mm")


def _answers(
    image: NDArray[Any],
    marks: Labels,
    spacing: Spacing,
    box: Box,
    names: Labels,
    cancelled: Callable[[], bool],
) -> Iterator[Answer]:
    def ask() -> None:
        if cancelled():
            raise _Cancelled

    values = np.concatenate([np.array([OUTSIDE], marks.dtype), names])
    numbers = np.zeros(marks.shape, np.uint8)
    numbers[marks > 0] = np.searchsorted(values, marks[marks > 0]) + 1
    factors = factors_for(marks.shape, spacing, _COARSE_CELLS)
    try:
        ask()
        grey = grey_values(image)
        grid = _Grid(
            cell_means(grey, factors), Strokes.of(numbers).on(factors), cell_spacing(spacing, factors)
        )
        ask()
        prior = appearance(grid.grey, grid.marks, grid.spacing, len(names))
        potentials = _solved(grid, prior, _PULL, ask)
        coarse = _connected(_decided(potentials, grid.marks), grid.marks)
        if math.prod(factors) == 1:
            yield Answer(values[coarse], box, True)
            return
        yield Answer(values[spread(coarse, factors, marks.shape)], box, False)
        ask()
        fine = _refined(_Grid(grey, numbers, spacing), coarse, potentials, prior, factors, ask)
        yield Answer(values[fine], box, True)
    except _Cancelled:
        return


@dataclass(frozen=True, slots=True, eq=False)
class _Grid:
    """Grey values and marks (I, J, K): 0 unmarked, 1 outside, 2.. the structures with strokes, in order."""

    grey: Floats
    marks: NDArray[np.uint8]
    spacing: Spacing

    def coarser(self, factors: Factors) -> _Grid:
        marks = Strokes.of(self.marks).on(factors)
        return _Grid(cell_means(self.grey, factors), marks, cell_spacing(self.spacing, factors))


def _solved(grid: _Grid, prior: Floats, pull: float, ask: Callable[[], None]) -> Floats:
    """Probabilities (structures, I, J, K), solved where larger cells, if there are any, leave doubt."""
    shape, spacing = grid.grey.shape, grid.spacing
    unmarked = grid.marks == 0
    if grid.grey.size <= _SMALLEST_CELLS:
        factors, below = _SAME, prior
    else:
        factors = factors_for(shape, spacing, grid.grey.size // 8)
        larger = grid.coarser(factors)
        # The same pull per square mm: steps are weighed beside the finest spacing.
        stronger = pull * (min(larger.spacing) / min(spacing)) ** 2
        below = _solved(larger, np.stack([cell_means(one, factors) for one in prior]), stronger, ask)
    free = unmarked
    if grid.grey.size > _WHOLE_CELLS:
        free = unmarked & spread(_in_doubt(below), factors, shape)
    places, solved = _walked(grid, free, below, factors, (prior, _SAME), pull, ask)
    found = np.stack([spread(one, factors, shape) for one in below])
    for n, one in enumerate(found):
        one[~unmarked] = grid.marks[~unmarked] == n + 2
        one.ravel()[places] = solved[n]
    return found


def _refined(
    fine: _Grid,
    coarse: NDArray[np.uint8],
    potentials: Floats,
    prior: Floats,
    factors: Factors,
    ask: Callable[[], None],
) -> NDArray[np.uint8]:
    """Labels of all voxels: solved again within two cells of a coarse border, as in their cells elsewhere."""
    labels = spread(coarse, factors, fine.marks.shape)
    free = (fine.marks == 0) & spread(_near_border(coarse), factors, fine.marks.shape)
    pull = _PULL * (min(fine.spacing) / min(cell_spacing(fine.spacing, factors))) ** 2
    places, solved = _walked(fine, free, potentials, factors, (prior, factors), pull, ask)
    labels.ravel()[places] = _most_probable(solved)
    labels[fine.marks > 0] = fine.marks[fine.marks > 0] - 1
    ask()
    return _connected(labels, fine.marks)


def _walked(
    grid: _Grid,
    free: NDArray[np.bool_],
    below: Floats,
    factors: Factors,
    prior: tuple[Floats, Factors],
    pull: float,
    ask: Callable[[], None],
) -> tuple[Indices, Floats]:
    """Flat places of the free voxels, n, and their probabilities (structures, n).

    Those of the larger cells ``below`` are the start, and hold where a voxel is neither free nor marked.
    """
    walk = walk_on(grid.grey, free, grid.spacing)
    shape = grid.marks.shape
    cells = cell_of(walk.places, shape, factors)
    prior_cells = cell_of(walk.places, shape, prior[1])
    near = grid.marks.ravel()[walk.neighbours]
    near_cells = cell_of(walk.neighbours, shape, factors)
    elsewhere = ~free.ravel()[walk.neighbours] & (near == 0)

    def one(n: int) -> Floats:
        known = np.where(elsewhere, below[n].ravel()[near_cells], near == n + 2).astype(np.float32)
        return potential(walk, known, prior[0][n].ravel()[prior_cells], pull, below[n].ravel()[cells], ask)

    # Structures side by side: numpy and scipy let other threads run while they compute.
    with ThreadPoolExecutor(min(len(below), os.cpu_count() or 1)) as pool:
        return walk.places, np.stack(list(pool.map(one, range(len(below)))))


def _in_doubt(potentials: Floats) -> NDArray[np.bool_]:
    """Cells whose two best labels are close, and all near a border."""
    outside = 1 - potentials.sum(axis=0)
    second, best = np.partition(np.concatenate([outside[None], potentials]), -2, axis=0)[-2:]
    close = np.asarray(best - second < _SURE, bool)
    return close | _near_border(_most_probable(potentials))


def _decided(potentials: Floats, marks: NDArray[np.uint8]) -> NDArray[np.uint8]:
    labels = _most_probable(potentials)
    labels[marks > 0] = marks[marks > 0] - 1
    return labels


def _most_probable(potentials: Floats) -> NDArray[np.uint8]:
    """0 for outside, else 1 + the index of the structure (structures, ...); of equal ones the first."""
    best = 1 - potentials.sum(axis=0)
    labels = np.zeros(best.shape, np.uint8)
    for n, one in enumerate(potentials, start=1):
        labels[one > best] = n
        np.maximum(best, one, out=best)
    return labels


def _connected(labels: NDArray[np.uint8], marks: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Without the pieces of a structure that none of its strokes touches; changes ``labels``."""
    for n, part in enumerate(scipy.ndimage.find_objects(labels), start=1):
        if part is not None:
            pieces, count = scipy.ndimage.label(labels[part] == n)
            loose = np.ones(count + 1, bool)
            loose[pieces[marks[part] == n + 1]] = False
            loose[0] = False
            labels[part][loose[pieces]] = 0
    return labels


def _near_border(labels: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Cells beside another label, and those beside them."""
    border = scipy.ndimage.maximum_filter(labels, 3) != scipy.ndimage.minimum_filter(labels, 3)
    return np.asarray(scipy.ndimage.binary_dilation(border), bool)
