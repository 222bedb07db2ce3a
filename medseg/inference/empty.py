"""Which windows hold nothing that a network need look at: the rule that a bundle carries, applied."""

from __future__ import annotations

from math import ceil, gcd
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medseg.geometry import Geometry
from medseg.plans import EmptyRule
from medseg.preprocess import resample
from medseg.volume import Volume

# Voxels compared at once, and voxels whose percentiles stand for a scan's.
_AT_ONCE, _SAMPLED = 2**22, 2**20


class EmptyWindows:
    """One scan's empty windows, by the rule of `medseg.plans.EmptyRule`, exactly.

    One bit is kept for each voxel of the network's grid. A voxel that is NaN is never below the threshold,
    and where the rule finds no threshold (see `empty_below`) no window is empty.

    Parameters
    ----------
    volume
        The scan.
    geometry
        The network's grid for it, unpadded; `medseg.preprocess.network_geometry`.
    rule
        The plan's ``inference.empty``.
    data
        The scan's channels on ``geometry``, (C, x, y, z), not normalised, where somebody has them already.
    """

    def __init__(
        self, volume: Volume, geometry: Geometry, rule: EmptyRule, data: NDArray[Any] | None = None
    ) -> None:
        self.shape = geometry.shape
        below = empty_below(volume.data[rule.channel], rule)
        if data is None:
            data = resample(volume.data[rule.channel : rule.channel + 1], volume.geometry, geometry)[0]
        else:
            data = data[rule.channel]
        self._occupied = None if below is None else _packed(data, below)

    def is_empty(self, start: tuple[int, int, int], size: tuple[int, int, int]) -> bool:
        """Whether the window of ``size`` voxels from ``start`` on lies inside the grid and is empty."""
        stop = [s + n for s, n in zip(start, size, strict=True)]
        outside = min(start) < 0 or any(s > n for s, n in zip(stop, self.shape, strict=True))
        if self._occupied is None or outside:
            return False
        first, last = start[2] // 8, (stop[2] - 1) // 8
        window = self._occupied[start[0] : stop[0], start[1] : stop[1], first : last + 1]
        asked = np.full(last - first + 1, 0xFF, np.uint8)  # of the outer bytes only the window's bits
        asked[0] &= 0xFF >> start[2] % 8
        asked[-1] &= 0xFF << 7 - (stop[2] - 1) % 8 & 0xFF
        return not (window & asked).any()


def empty_below(channel: NDArray[Any], rule: EmptyRule) -> float | None:
    """The threshold in a channel's own units, or None where the rule finds none.

    Parameters
    ----------
    channel
        (I, J, K) on the scan's own grid.
    rule
        With the unit ``range`` the threshold lies ``rule.below`` of the way from the 1st to the 99th
        percentile of the finite voxels (of a million of them, the same ones every time, where there are
        more). A scan whose two percentiles are equal has no threshold.
    """
    if rule.unit == "intensity":
        return rule.below
    low, high = intensity_range(channel)
    return low + rule.below * (high - low) if high > low else None


def intensity_range(channel: NDArray[Any]) -> tuple[float, float]:
    """The 1st and the 99th percentile of a channel's finite voxels; 0 and 0 where there are none."""
    values = channel.ravel() if channel.size <= _SAMPLED else _sample(channel)
    values = values[np.isfinite(values)].astype(np.float64)
    if values.size == 0:
        return 0.0, 0.0
    low, high = np.percentile(values, (1, 99))
    return float(low), float(high)


def _sample(channel: NDArray[Any]) -> NDArray[Any]:
    """Voxels strewn evenly over the channel: steps of the golden section never fall into its rows."""
    step = round(channel.size * 0.6180339887498949)
    while gcd(step, channel.size) != 1:
        step += 1
    index = np.arange(_SAMPLED, dtype=np.int64) * step % channel.size
    values: NDArray[Any] = channel[np.unravel_index(index, channel.shape)]
    return values


def _packed(values: NDArray[Any], below: float) -> NDArray[np.uint8]:
    """(x, y, z) to (x, y, ceil(z / 8)): a bit is set where the voxel is not below the threshold."""
    x, y, z = values.shape
    threshold = _threshold(below, values.dtype)
    packed = np.empty((x, y, -(-z // 8)), np.uint8)
    planes = max(1, _AT_ONCE // (y * z))
    for first in range(0, x, planes):
        part = slice(first, first + planes)
        packed[part] = np.packbits(np.ascontiguousarray(~(values[part] < threshold)), axis=2)
    return packed


def _threshold(below: float, dtype: np.dtype[Any]) -> Any:
    """The threshold in the voxels' own type, so that nothing is converted: the next value not below it."""
    if dtype.kind != "f":
        return ceil(below)  # numpy compares any Python integer with any type of integer rightly
    with np.errstate(over="ignore"):  # no voxel is beyond its own type
        nearest = dtype.type(below)
    return np.nextafter(nearest, dtype.type(np.inf)) if float(nearest) < below else nearest
