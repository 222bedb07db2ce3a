"""Intensities as the scanner gave them to intensities as the network wants them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medseg.plans import ChannelPlan

# Voxels whose sums are taken at once: so few that they stay in the processor's cache.
_AT_ONCE = 2**17
# Of a scan that its own range normalises: which percentiles become 0 and 1, and from how many voxels.
RANGE_PERCENTILES = (0.5, 99.5)
_SAMPLES = 2**20
# No other unit has values below this in a scan of a body.
HOUNSFIELD_BELOW = -200.0


@dataclass(frozen=True, slots=True)
class Normaliser:
    """One channel's normalisation, fitted to one scan: clip, subtract ``shift``, multiply or divide.

    Parameters
    ----------
    low, high
        Values are clipped to these first; None leaves them.
    shift, scale
        Then ``(value - shift) * scale``; with ``divide`` set ``(value - shift) / scale``.
    """

    low: float | None
    high: float | None
    shift: float
    scale: float
    divide: bool

    def __call__(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """Normalise float32 values of any shape, in place."""
        if self.low is not None:
            np.clip(values, self.low, self.high, out=values)
        values -= np.float32(self.shift)
        if self.divide:
            values /= np.float32(self.scale)
        else:
            values *= np.float32(self.scale)
        return values


def fit_normaliser(channel: NDArray[Any], plan: ChannelPlan) -> Normaliser:
    """The normalisation of one channel (x, y, z) as its plan says; see `medseg.plans.ChannelPlan`.

    A constant channel becomes zeros under ``zscore``: it holds no information.
    """
    if plan.normalisation == "zscore":
        mean, std = _mean_and_std(channel)
        return Normaliser(None, None, mean, 1.0 / std if std > 0 else 1.0, divide=False)
    if plan.normalisation == "range":
        return _range(channel, plan)
    assert plan.low is not None and plan.high is not None  # noqa: PT018 - the plan's validator saw to it
    if plan.normalisation == "window":
        return Normaliser(plan.low, plan.high, plan.mean, plan.std, divide=True)
    return Normaliser(plan.low, plan.high, plan.low, plan.high - plan.low, divide=True)


def _range(channel: NDArray[Any], plan: ChannelPlan) -> Normaliser:
    """From the scan's own percentiles; a constant becomes zeros."""
    values = spread_values(channel)
    if values.size == 0:
        return Normaliser(None, None, 0.0, 0.0, divide=False)
    limits = clip_limits(values, plan)
    if limits is not None:
        values = np.clip(values, *limits)
    low, high = (float(value) for value in np.percentile(values, RANGE_PERCENTILES))
    if not low < high:  # mostly air, as a small structure alone: what there is decides
        low, high = float(values.min()), float(values.max())
    return Normaliser(low, high, low, 1.0 / (high - low) if low < high else 0.0, divide=False)


def spread_values(channel: NDArray[Any]) -> NDArray[np.float32]:
    """About a million voxels of a channel (x, y, z) spread evenly, those of them that are finite."""
    step = max(1, round((channel.size / _SAMPLES) ** (1 / 3)))
    values = channel[tuple(slice(None, None, max(1, min(step, n // 32))) for n in channel.shape)]
    finite: NDArray[np.float32] = values[np.isfinite(values)].astype(np.float32)
    return finite


def clip_limits(values: NDArray[np.float32], plan: ChannelPlan) -> tuple[float, float] | None:
    """What a channel is clipped to before anything else, or None; ``values`` stand for it, at least one."""
    if plan.normalisation == "zscore" or plan.low is None or plan.high is None:
        return None
    if plan.normalisation == "range" and not float(values.min()) < HOUNSFIELD_BELOW:
        return None
    return plan.low, plan.high


def normalise(channel: NDArray[Any], plan: ChannelPlan) -> NDArray[np.float32]:
    """Normalise one whole channel (x, y, z) as its plan says."""
    return fit_normaliser(channel, plan)(channel.astype(np.float32))


def _mean_and_std(channel: NDArray[Any]) -> tuple[float, float]:
    """Mean and standard deviation of the channel's float32 values, summed in double precision."""
    if channel.size <= _AT_ONCE:
        values = channel.astype(np.float32)
        return float(values.mean(dtype=np.float64)), float(values.std(dtype=np.float64))
    # Planes as they lie in memory, whichever axis that is.
    channel = np.moveaxis(channel, int(np.argmax(np.abs(channel.strides))), 0)
    planes = max(1, _AT_ONCE // channel[0].size)
    # One pass, about a value from inside the scan: squares of large numbers would swallow small differences.
    about = float(channel[tuple(n // 2 for n in channel.shape)])
    about = about if np.isfinite(about) else 0.0
    total = squares = 0.0
    for first in range(0, channel.shape[0], planes):
        away = channel[first : first + planes].astype(np.float32).astype(np.float64).ravel(order="K")
        away -= about
        total += float(away.sum())
        squares += float(np.einsum("n,n->", away, away))  # no BLAS: its threads would wait for the network's
    mean = total / channel.size
    return about + mean, float(np.sqrt(max(0.0, squares / channel.size - mean * mean)))
