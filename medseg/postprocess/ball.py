"""A ball in millimetres as voxels, on any grid, and how many voxels of a mask lie in it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medseg.geometry import Geometry
from medseg.postprocess.groups import require_spacing

_Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Ball:
    """The voxels whose centre lies within a radius of a voxel's.

    Parameters
    ----------
    runs
        Rows of voxels along the third axis: (offset along i, offset along j, first and last along k).
    reach
        Largest offset along each axis.
    """

    runs: tuple[tuple[int, int, int, int], ...]
    reach: tuple[int, int, int]


def ball_of(geometry: Geometry, radius_mm: float) -> Ball:
    """The ball of a radius, distances taken in the world: exact on anisotropic, oblique and sheared grids.

    In a 2D image it is a disc. A radius below every distance of two voxels gives the lone voxel.

    Raises
    ------
    UsageError
        If the grid's spacing is unknown.
    """
    require_spacing(geometry, f"radius {radius_mm:g} mm")
    step = geometry.affine[:3, :3]
    # |step @ offset| <= radius bounds offset[a] by the length of row a of the inverse.
    bounds = np.floor(radius_mm * np.linalg.norm(np.linalg.inv(step), axis=1) + 1e-9).astype(int)
    if geometry.is_2d:
        bounds[2] = 0
    offsets = np.stack(np.meshgrid(*(np.arange(-n, n + 1) for n in bounds), indexing="ij"), axis=-1)
    inside = np.linalg.norm(offsets @ step.T, axis=-1) <= radius_mm * (1 + 1e-9)
    i, j = np.nonzero(inside.any(axis=2))
    first = inside[i, j].argmax(axis=1)
    last = first + inside[i, j].sum(axis=1) - 1  # a ball is convex: no gaps in a row
    rows = np.stack([i, j, first, last], axis=1) - bounds[[0, 1, 2, 2]]
    reach = np.abs(rows).max(axis=0)
    return Ball(
        tuple((int(a), int(b), int(c), int(d)) for a, b, c, d in rows),
        (int(reach[0]), int(reach[1]), int(max(reach[2:]))),
    )


def count_in_ball(mask: _Mask, ball: Ball) -> NDArray[np.int32]:
    """For every voxel the number of the mask's voxels in the ball round it. Beyond the array there are none.

    Time grows with the ball's cross-section, not its volume: a row is a difference of two running sums.
    """
    size, reach = mask.shape[2], ball.reach[2]
    sums = np.zeros((*mask.shape[:2], size + 2 * reach + 1), np.int32)
    np.cumsum(mask, axis=2, out=sums[:, :, reach + 1 : reach + 1 + size])
    sums[:, :, reach + 1 + size :] = sums[:, :, reach + size, None]
    counts = np.zeros(mask.shape, np.int32)
    for i, j, first, last in ball.runs:
        rows = sums[_seen(i, mask.shape[0]), _seen(j, mask.shape[1])]
        target = counts[_seen(-i, mask.shape[0]), _seen(-j, mask.shape[1])]
        target += rows[:, :, reach + last + 1 : reach + last + 1 + size]
        target -= rows[:, :, reach + first : reach + first + size]
    return counts


def dilated(mask: _Mask, ball: Ball) -> _Mask:
    """Every voxel within the ball's radius of the mask."""
    result = np.zeros_like(mask)
    for first, last in sorted({run[2:] for run in ball.runs}):
        row = np.zeros_like(mask)
        for k in range(first, last + 1):
            row[:, :, _seen(-k, mask.shape[2])] |= mask[:, :, _seen(k, mask.shape[2])]
        for i, j in (run[:2] for run in ball.runs if run[2:] == (first, last)):
            target = result[_seen(-i, mask.shape[0]), _seen(-j, mask.shape[1])]
            target |= row[_seen(i, mask.shape[0]), _seen(j, mask.shape[1])]
    return result


def eroded(mask: _Mask, ball: Ball) -> _Mask:
    """Voxels whose ball lies in the mask as far as the array goes: nothing is eroded from its edges."""
    return ~dilated(~mask, ball)


def _seen(offset: int, size: int) -> slice:
    """Of an axis the part that a shift by ``offset`` looks at."""
    return slice(min(max(0, offset), size), max(0, min(size, size + offset)))
