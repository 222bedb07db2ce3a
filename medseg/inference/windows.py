"""Where the sliding window stands, and how much each of its voxels counts."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

# A corner voxel of a window still counts this much, so that a voxel only one window sees is never 0/0.
_LEAST_WEIGHT = 1e-3


def axis_starts(size: int, patch: int, overlap: float) -> list[int]:
    """First indices of the windows along one axis, evenly spaced, the last flush with the end.

    As many windows as steps of at most ``patch * (1 - overlap)`` voxels need, as in nnU-Net.

    Raises
    ------
    ValueError
        If the axis is shorter than the patch (pad first) or the overlap is not in [0, 1).
    """
    if not 0 <= overlap < 1:
        raise ValueError(f"overlap {overlap}: expected at least 0 and less than 1")
    if size < patch:
        raise ValueError(f"axis of {size} voxels is shorter than the patch of {patch}: pad it first")
    # The first floor is MONAI's int(patch * (1 - overlap)), guarded against 0.9999 of a voxel.
    step = max(1, int(patch * (1 - overlap) + 1e-6))
    count = -(-(size - patch) // step) + 1
    return [round(n * (size - patch) / max(1, count - 1)) for n in range(count)]


def window_starts(shape: Sequence[int], patch: Sequence[int], overlap: float) -> list[tuple[int, ...]]:
    """Corners of all windows that cover ``shape``, last axis fastest.

    Every voxel is covered; neighbours overlap by at least ``overlap`` of the patch (rounded to voxels).
    """
    axes = [axis_starts(n, p, overlap) for n, p in zip(shape, patch, strict=True)]
    return list(itertools.product(*axes))


def gaussian_window(patch: Sequence[int], sigma: float) -> NDArray[np.float32]:
    """Weights (patch) of a window's voxels: a Gaussian around the centre, 1 there, never below 0.001.

    ``sigma`` is a share of the patch along each axis; the same weights as MONAI's ``mode="gaussian"``.
    A patch of even size has its centre between two voxels, whose weight is then just below 1.
    """
    weights = np.ones((1,) * len(patch), dtype=np.float32)
    for axis, size in enumerate(patch):
        distance = np.arange(size, dtype=np.float32) - (size - 1) / 2
        along = np.exp(-(distance**2) / (2 * (sigma * size) ** 2)).astype(np.float32)
        weights = weights * along.reshape([-1 if a == axis else 1 for a in range(len(patch))])
    return np.maximum(weights, np.float32(_LEAST_WEIGHT))
