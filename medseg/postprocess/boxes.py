"""Where the labels of a label map lie, or of several on one grid: the box that holds each of them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Box = tuple[slice, ...]


def boxes_of_labels(*maps: NDArray[Any]) -> dict[int, Box]:
    """For each id above 0 of arrays of unsigned integers the smallest box that holds it in all of them."""
    from scipy.ndimage import find_objects  # here: it takes longer to import than a command to start

    boxes: dict[int, Box] = {}
    for data in maps:
        foreground = box_of_all(data)
        if foreground[0].start == foreground[0].stop:
            continue
        for n, inner in enumerate(find_objects(data[foreground]), start=1):
            if inner is not None:
                box = _shifted(inner, foreground)
                boxes[n] = union(boxes[n], box) if n in boxes else box
    return boxes


def box_of_all(data: NDArray[Any]) -> Box:
    """The box of all voxels but background; of no extent where there are none."""
    # Maxima are found many times faster than objects.
    box = [slice(0, n) for n in data.shape]
    for axis in range(data.ndim):
        others = tuple(n for n in range(data.ndim) if n != axis)
        held = np.flatnonzero(data[tuple(box)].max(axis=others, initial=0))
        if not held.size:
            return (slice(0, 0),) * data.ndim
        box[axis] = slice(int(held[0]), int(held[-1]) + 1)
    return tuple(box)


def _shifted(inner: Box, outer: Box) -> Box:
    return tuple(slice(a.start + b.start, a.stop + b.start) for a, b in zip(inner, outer, strict=True))


def union(a: Box, b: Box) -> Box:
    """The smallest box that holds two."""
    return tuple(slice(min(s.start, t.start), max(s.stop, t.stop)) for s, t in zip(a, b, strict=True))


def grown(box: Box, by: tuple[int, ...], shape: tuple[int, ...]) -> Box:
    """A box wider by so many voxels on both sides of each axis, as far as the grid goes."""
    return tuple(
        slice(max(0, s.start - n), min(size, s.stop + n)) for s, n, size in zip(box, by, shape, strict=True)
    )
