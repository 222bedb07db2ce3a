"""Resampling between two grids that share their axes: permutation, flip, scale, shift; no rotation."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medseg.geometry import Geometry

# Fractional indices nearer than this to a whole number are that number: what is left after two
# affine products in double precision, far below anything an interpolation weight could show.
_WHOLE = 1e-6


@dataclass(frozen=True, slots=True, eq=False)
class AxisTable:
    """Where the values along one axis of a target grid come from, along one axis of the source.

    Target index n is ``source[low[n]] + weight[n] * (source[high[n]] - source[low[n]])``; without weights
    it is a plain copy of ``source[low[n]]``. All indices lie inside the source: outside its border repeats.
    """

    low: NDArray[np.intp]
    high: NDArray[np.intp]
    weight: NDArray[np.float32] | None

    def split(self, count: int) -> list[AxisTable]:
        """The table in ``count`` runs of target indices, fewer where there are not as many."""
        edges = np.unique(np.linspace(0, self.low.size, count + 1).round().astype(int))
        return [
            AxisTable(self.low[a:b], self.high[a:b], None if self.weight is None else self.weight[a:b])
            for a, b in pairwise(edges)
        ]


def axis_tables(source: Geometry, target: Geometry) -> tuple[tuple[int, int, int], list[AxisTable]]:
    """How each axis of ``target`` is made from ``source``: the source's axis, and its table.

    Raises
    ------
    ValueError
        If the axes of the two grids do not coincide.
    """
    axes, scale, shift = axis_map(source, target)
    tables = [
        _table(target.shape[n], source.shape[axes[n]], scale[n], shift[n]) for n in range(len(target.shape))
    ]
    return axes, tables


def resample(array: NDArray[Any], source: Geometry, target: Geometry) -> NDArray[Any]:
    """Bring an array from one grid to another by linear interpolation.

    Parameters
    ----------
    array
        (C, I, J, K) on ``source``.
    source, target
        Grids whose axes coincide up to order, sign, spacing and position.

    Returns
    -------
    array (C, I', J', K') on ``target``. Voxels outside the source repeat its border. Where both grids
    have the same voxels the values are copied, bit for bit and in the array's own type; otherwise the
    result is float32.

    Raises
    ------
    ValueError
        If the axes of the two grids do not coincide.
    """
    axes, tables = axis_tables(source, target)
    moved = array.transpose(0, *(a + 1 for a in axes))
    for axis, table in enumerate(tables):
        moved = take_along(moved, axis + 1, table)
    return moved


def resample_classes(
    classes: NDArray[np.uint8], source: Geometry, target: Geometry, count: int
) -> NDArray[np.uint8]:
    """Bring class indices (I, J, K) to another grid: linear per class, then the largest share.

    On a tie the lower class wins. Where the grids share their voxels this is an exact copy.
    """
    _, scale, shift = axis_map(source, target)
    if all(_is_whole(s) and abs(s) == 1 and _is_whole(t) for s, t in zip(scale, shift, strict=True)):
        copied: NDArray[np.uint8] = resample(classes[None], source, target)[0].astype(np.uint8, copy=False)
        return copied
    best = np.zeros(target.shape, np.uint8)
    share = np.full(target.shape, -1.0, np.float32)
    for index in range(count):
        mask = classes == index
        if mask.any():
            here = resample(mask[None].astype(np.float32), source, target)[0]
            wins = here > share
            best[wins] = index
            share[wins] = here[wins]
    return best


def axis_map(
    source: Geometry, target: Geometry
) -> tuple[tuple[int, int, int], tuple[float, float, float], tuple[float, float, float]]:
    """How target indices map to source indices: ``source[axes[n]] = scale[n] * target[n] + shift[n]``."""
    matrix = np.linalg.inv(source.affine) @ target.affine
    linear = matrix[:3, :3]
    axes = [int(a) for a in np.argmax(np.abs(linear), axis=0)]
    scale = [float(linear[a, n]) for n, a in enumerate(axes)]
    rest = linear.copy()
    rest[axes, range(3)] = 0.0
    # What is left over must not move the far corner by a hundredth of a voxel.
    if sorted(axes) != [0, 1, 2] or np.abs(rest @ np.array(target.shape)).max() > 1e-2:
        raise ValueError("the two grids are rotated against each other: their axes must coincide")
    shift = [float(matrix[a, 3]) for a in axes]
    return (axes[0], axes[1], axes[2]), (scale[0], scale[1], scale[2]), (shift[0], shift[1], shift[2])


def _is_whole(value: float) -> bool:
    return abs(value - round(value)) < _WHOLE


def _table(size: int, source_size: int, scale: float, shift: float) -> AxisTable:
    position = scale * np.arange(size) + shift
    whole = np.round(position)
    last = source_size - 1
    if np.abs(position - whole).max() < _WHOLE * max(1, size):
        index = np.clip(whole, 0, last).astype(np.intp)
        return AxisTable(index, index, None)
    position = np.clip(position, 0, last)
    low = np.minimum(np.floor(position).astype(np.intp), max(last - 1, 0))
    return AxisTable(low, np.minimum(low + 1, last), (position - low).astype(np.float32))


def take_along(array: NDArray[Any], axis: int, table: AxisTable) -> NDArray[Any]:
    """The array with one axis replaced by what its table says; a view where that is a run of indices."""
    if table.weight is None:
        return _copied(array, axis, table.low)
    shape = [1] * array.ndim
    shape[axis] = table.low.size
    lower = np.take(array, table.low, axis).astype(np.float32, copy=False)
    upper = np.take(array, table.high, axis).astype(np.float32, copy=False)
    blended: NDArray[Any] = lower + table.weight.reshape(shape) * (upper - lower)
    return blended


def _copied(array: NDArray[Any], axis: int, index: NDArray[np.intp]) -> NDArray[Any]:
    first, size = int(index[0]), index.size
    before = (slice(None),) * axis
    if np.array_equal(index, np.arange(first, first + size)):
        return array[(*before, slice(first, first + size))]
    if np.array_equal(index, np.arange(first, first - size, -1)):
        return np.flip(array[(*before, slice(first - size + 1, first + 1))], axis)
    return np.take(array, index, axis)
