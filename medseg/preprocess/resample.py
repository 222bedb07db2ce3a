"""Resampling between two grids that share their axes: permutation, flip, scale, shift; no rotation."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from medseg.geometry import Geometry

# Fractional indices nearer than this to a whole number are that number: what is left after two
# affine products in double precision, far below anything an interpolation weight could show.
_WHOLE = 1e-6


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
    axes, scale, shift = axis_map(source, target)
    moved = array.transpose(0, *(a + 1 for a in axes))
    for axis in range(3):
        moved = _along_axis(moved, axis + 1, target.shape[axis], scale[axis], shift[axis])
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


def _along_axis(array: NDArray[Any], axis: int, size: int, scale: float, shift: float) -> NDArray[Any]:
    position = scale * np.arange(size) + shift
    whole = np.round(position)
    last = array.shape[axis] - 1
    if np.abs(position - whole).max() < _WHOLE * max(1, size):
        index = np.clip(whole, 0, last).astype(np.intp)
        if size == last + 1 and np.array_equal(index, np.arange(size)):
            return array
        if size == last + 1 and np.array_equal(index, np.arange(size)[::-1]):
            return np.flip(array, axis)
        return np.take(array, index, axis)
    position = np.clip(position, 0, last)
    low = np.minimum(np.floor(position).astype(np.intp), max(last - 1, 0))
    weight = (position - low).astype(np.float32)
    shape = [1] * array.ndim
    shape[axis] = size
    weight = weight.reshape(shape)
    high = np.minimum(low + 1, last)
    lower = np.take(array, low, axis).astype(np.float32, copy=False)
    upper = np.take(array, high, axis).astype(np.float32, copy=False)
    blended: NDArray[Any] = lower + weight * (upper - lower)
    return blended
