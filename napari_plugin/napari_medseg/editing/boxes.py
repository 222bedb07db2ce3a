"""Boxes of a label array (I, J, K): around labels, around a slice, a box inside a box."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np
from numpy.typing import NDArray

Box = tuple[slice, slice, slice]  # starts and stops are numbers, 0 or more; no step
Labels = NDArray[Any]  # whole numbers, 0 is background
Mask = NDArray[np.bool_]


def has_label(labels: Labels, ids: Collection[int]) -> Mask:
    """Where labels are one of ``ids``."""
    if not ids:
        return np.zeros(labels.shape, np.bool_)
    first, *others = ids
    found = np.asarray(labels == first)
    for one in others:  # np.isin takes ten times as long for a few ids
        found |= labels == one
    return found


def bounding_box(mask: Mask) -> tuple[slice, ...]:
    """The smallest box around what is True; slices of length 0 if nothing is."""
    box = []
    for axis in range(mask.ndim):
        used = np.flatnonzero(mask.any(axis=tuple(n for n in range(mask.ndim) if n != axis)))
        if len(used) == 0:
            return (slice(0, 0),) * mask.ndim
        box.append(slice(int(used[0]), int(used[-1]) + 1))
        mask = mask[(slice(None),) * axis + (box[-1],)]
    return tuple(box)


def label_box(
    labels: Labels,
    ids: Collection[int],
    *,
    margin: tuple[int, int, int] = (0, 0, 0),
    axis: int | None = None,
    index: int | None = None,
) -> Box:
    """The box around labels, ``margin`` voxels wider on each side, cut at the array's edge.

    Empty where there are none. With ``axis`` there is no margin along it, and with ``index`` the box is of
    that slice alone.
    """
    view = slice_box(labels.shape, axis, index)
    tight = bounding_box(has_label(labels[view], ids))
    if tight[0].stop == 0:
        return slice(0, 0), slice(0, 0), slice(0, 0)
    i, j, k = (
        part if n == axis else slice(max(part.start - wide, 0), min(part.stop + wide, size))
        for n, (part, wide, size) in enumerate(zip(inside(view, tight), margin, labels.shape, strict=True))
    )
    return i, j, k


def slice_box(shape: tuple[int, ...], axis: int | None, index: int | None) -> Box:
    """The whole array; with an axis and an index, that one slice of it."""
    i, j, k = (slice(index, index + 1) if n == axis and index is not None else slice(0, size)
               for n, size in enumerate(shape))  # fmt: skip
    return i, j, k


def inside(outer: Box, inner: tuple[slice, ...]) -> Box:
    """A box of a box as a box of the array; an empty one has all its slices at 0."""
    if any(part.start == part.stop for part in inner):
        return slice(0, 0), slice(0, 0), slice(0, 0)
    i, j, k = (slice(a.start + b.start, a.start + b.stop) for a, b in zip(outer, inner, strict=True))
    return i, j, k


def bounds(box: Box, shape: tuple[int, ...]) -> Box:
    """A box whose starts and stops are numbers inside the array, by the rules of Python's slices."""
    i, j, k = (slice(*part.indices(size)[:2]) for part, size in zip(box, shape, strict=True))
    return i, j, k
