"""Where two arrays differ, block by block, and how such a difference is put into an array. No files.

Arrays here have their largest stride first, so that a flat index counts along memory. That is the order of
axes (i, j, k) or (k, j, i), see `in_memory_order`; ranges and boxes are given in the same order.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_medseg.editing.boxes import Box

Ranges = tuple[tuple[int, int], tuple[int, int], tuple[int, int]]  # first, behind the last

BLOCK_VOXELS = 1 << 20  # compared at once: what is needed beside the two arrays stays small


@dataclass(frozen=True, slots=True, eq=False)
class Difference:
    """Voxels whose value changed.

    Parameters
    ----------
    indices
        Flat indices (N,) int64, ascending.
    old, new
        Values (N,) before and after; nowhere equal.
    """

    indices: NDArray[np.int64]
    old: NDArray[Any]
    new: NDArray[Any]


def memory_order(array: NDArray[Any]) -> str:
    """``"F"`` where i runs fastest in memory, as NIfTI stores it, else ``"C"``."""
    return "F" if abs(array.strides[0]) < abs(array.strides[2]) else "C"


def in_memory_order(array: NDArray[Any], order: str) -> NDArray[Any]:
    """A view of an array (i, j, k) with the axis of the largest stride first; its own inverse."""
    return array.T if order == "F" else array


def ranges_of(box: Box | None, shape: Sequence[int], order: str) -> Ranges:
    """A box in (i, j, k), None for everything, as ranges in memory order that lie within the array.

    Raises
    ------
    ValueError
        If a slice has a step other than 1.
    """
    box = box or (slice(None), slice(None), slice(None))
    ranges = []
    for one, size in zip(box, shape, strict=True):
        if one.step not in (None, 1):
            raise ValueError(f"a box's slice has step {one.step}, expected 1: give the box around the voxels")
        first = max(0, one.start or 0)
        ranges.append((first, max(first, size if one.stop is None else min(one.stop, size))))
    i, j, k = ranges
    return (k, j, i) if order == "F" else (i, j, k)


def union(one: Ranges, other: Ranges) -> Ranges:
    """The smallest ranges that hold both; an empty one adds nothing."""
    if is_empty(one) or is_empty(other):
        return other if is_empty(one) else one
    a, b, c = (
        (min(x[0], y[0]), max(x[1], y[1])) for x, y in zip(one, other, strict=True)
    )  # fmt: skip
    return a, b, c


def is_empty(ranges: Ranges) -> bool:
    """Whether no voxel lies within."""
    return any(first >= last for first, last in ranges)


def blocks(ranges: Ranges) -> Iterator[Ranges]:
    """The ranges cut along the first axis into pieces of about `BLOCK_VOXELS`."""
    if is_empty(ranges):
        return
    (first, last), second, third = ranges
    plane = (second[1] - second[0]) * (third[1] - third[0])
    thickness = max(1, BLOCK_VOXELS // plane)
    for start in range(first, last, thickness):
        yield (start, min(last, start + thickness)), second, third


def difference(before: NDArray[Any], after: NDArray[Any], ranges: Ranges) -> Difference | None:
    """Where two arrays differ within ranges, None where they do not.

    ``after`` may be written to meanwhile: each of its voxels is taken once, and that value is returned.
    """
    box = tuple(slice(*one) for one in ranges)
    differs = before[box] != after[box]
    if not differs.any():
        return None
    old, new = before[box][differs], after[box][differs]
    indices = _flat_indices(differs, ranges, before.shape)
    kept = old != new  # painted back since they were compared
    return Difference(indices[kept], old[kept], new[kept]) if kept.any() else None


def joined(parts: Sequence[Difference]) -> Difference:
    """Differences of blocks that follow each other as one. There must be one."""
    return Difference(
        np.concatenate([part.indices for part in parts]),
        np.concatenate([part.old for part in parts]),
        np.concatenate([part.new for part in parts]),
    )


def put(array: NDArray[Any], indices: NDArray[np.int64], values: NDArray[Any]) -> None:
    """Write values at flat indices of an array in memory order, whatever its strides."""
    if array.flags.c_contiguous:
        array.reshape(-1)[indices] = values  # the same, several times as fast
    else:
        array[np.unravel_index(indices, array.shape)] = values


def extent(indices: NDArray[np.int64], shape: tuple[int, ...]) -> Ranges:
    """The smallest ranges that hold flat indices (N,), of which there is at least one."""
    first, second, third = (
        (int(axis.min()), int(axis.max()) + 1) for axis in np.unravel_index(indices, shape)
    )
    return first, second, third


def box_of(ranges: Ranges, order: str) -> Box:
    """Ranges in memory order as a box in (i, j, k)."""
    first, second, third = (slice(*one) for one in ranges)
    return (third, second, first) if order == "F" else (first, second, third)


def _flat_indices(found: NDArray[np.bool_], ranges: Ranges, shape: tuple[int, ...]) -> NDArray[np.int64]:
    (first, _), second, third = ranges
    if (second, third) == ((0, shape[1]), (0, shape[2])):  # whole planes lie in one piece
        return np.flatnonzero(found) + first * shape[1] * shape[2]
    places = tuple(axis + one[0] for axis, one in zip(np.nonzero(found), ranges, strict=True))
    return np.ravel_multi_index(places, shape).astype(np.int64, copy=False)
