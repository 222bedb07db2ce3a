"""Coarser grids: cells of several voxels, and the way back. No Qt, no viewer.

A grid of cells has its first cell at the first voxel; its last cells may reach beyond the last voxel.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Indices = NDArray[np.intp]
Spacing = tuple[float, float, float]
Factors = tuple[int, int, int]


def factors_for(shape: Sequence[int], spacing: Spacing, most: int) -> Factors:
    """Powers of two by which cells are larger than voxels along i, j, k, so that there are ``most`` at most.

    The axis whose cells are the shortest, in mm, is doubled first (of equal ones the first), so that cells
    become nearly cubes.
    """
    factors = [1, 1, 1]
    while math.prod(cell_shape(shape, factors)) > most:
        divisible = [axis for axis in range(3) if factors[axis] < shape[axis]]
        factors[min(divisible, key=lambda axis: spacing[axis] * factors[axis])] *= 2
    return factors[0], factors[1], factors[2]


def cell_shape(shape: Sequence[int], factors: Sequence[int]) -> tuple[int, ...]:
    """How many cells there are along each axis; the last may be only partly filled."""
    return tuple(-(-n // factor) for n, factor in zip(shape, factors, strict=True))


def cell_spacing(spacing: Spacing, factors: Factors) -> Spacing:
    """Edges of a cell in mm."""
    i, j, k = (mm * factor for mm, factor in zip(spacing, factors, strict=True))
    return i, j, k


def cell_of(places: Indices, shape: Sequence[int], factors: Factors) -> Indices:
    """Flat indices of the cells that hold voxels, given by their flat indices on a grid of ``shape``."""
    at = np.unravel_index(places, tuple(shape))
    cells = [line // factor for line, factor in zip(at, factors, strict=True)]
    return np.ravel_multi_index(cells, cell_shape(shape, factors))


def cell_means(array: Floats, factors: Factors) -> Floats:
    """Means of cells (I, J, K); in one that reaches beyond the end the last voxels count more than once."""
    for axis, factor in enumerate(factors):
        while factor > 1:
            if array.shape[axis] % 2:
                array = np.concatenate([array, np.take(array, [-1], axis)], axis)
            lines = np.moveaxis(array, axis, 0)
            array = np.moveaxis(np.float32(0.5) * (lines[::2] + lines[1::2]), 0, axis)
            factor //= 2
    return np.ascontiguousarray(array)


def spread(array: NDArray[Any], factors: Factors, shape: Sequence[int]) -> NDArray[Any]:
    """Every voxel of a grid of ``shape`` as its cell is."""
    for axis, factor in enumerate(factors):
        if factor > 1:
            array = np.repeat(array, factor, axis)
    return np.ascontiguousarray(array[: shape[0], : shape[1], : shape[2]])


@dataclass(frozen=True, slots=True, eq=False)
class Strokes:
    """The marked voxels of a grid.

    Parameters
    ----------
    places
        (n,) flat indices.
    numbers
        (n,) what each is marked with, 1 or more and 255 at most.
    shape
        Of the grid.
    """

    places: Indices
    numbers: Indices
    shape: tuple[int, ...]

    @classmethod
    def of(cls, marks: NDArray[Any]) -> Strokes:
        """The voxels that are not 0."""
        places = np.flatnonzero(marks)
        return cls(places, marks.ravel()[places].astype(np.intp), marks.shape)

    def on(self, factors: Factors) -> NDArray[np.uint8]:
        """Marks of the cells, 0 for none. Of several in a cell the most frequent, of equal ones the least."""
        marks = np.zeros(cell_shape(self.shape, factors), np.uint8)
        cells, row = np.unique(cell_of(self.places, self.shape, factors), return_inverse=True)
        count = np.zeros((len(cells), int(self.numbers.max(initial=0)) + 1), np.intp)
        np.add.at(count, (row, self.numbers), 1)
        marks.ravel()[cells] = count.argmax(axis=1)
        return marks
