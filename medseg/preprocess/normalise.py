"""Intensities as the scanner gave them to intensities as the network wants them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medseg.plans import ChannelPlan

# Voxels whose sums are taken at once: small enough that no second copy of a large scan is made.
_AT_ONCE = 2**22


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
    assert plan.low is not None and plan.high is not None  # noqa: PT018 - the plan's validator saw to it
    if plan.normalisation == "window":
        return Normaliser(plan.low, plan.high, plan.mean, plan.std, divide=True)
    return Normaliser(plan.low, plan.high, plan.low, plan.high - plan.low, divide=True)


def normalise(channel: NDArray[Any], plan: ChannelPlan) -> NDArray[np.float32]:
    """Normalise one whole channel (x, y, z) as its plan says."""
    return fit_normaliser(channel, plan)(channel.astype(np.float32))


def _mean_and_std(channel: NDArray[Any]) -> tuple[float, float]:
    """Mean and standard deviation of the channel's float32 values, summed in double precision."""
    planes = max(1, _AT_ONCE // max(1, channel[0].size))
    parts = range(0, channel.shape[0], planes)
    if len(parts) == 1:
        values = channel.astype(np.float32)
        return float(values.mean(dtype=np.float64)), float(values.std(dtype=np.float64))
    total = sum(float(_plane_values(channel, n, planes).sum(dtype=np.float64)) for n in parts)
    mean = total / channel.size
    squares = 0.0
    for n in parts:
        away = _plane_values(channel, n, planes).astype(np.float64) - mean
        squares += float(np.vdot(away, away))
    return mean, float(np.sqrt(squares / channel.size))


def _plane_values(channel: NDArray[Any], first: int, planes: int) -> NDArray[np.float32]:
    values: NDArray[np.float32] = channel[first : first + planes].astype(np.float32)
    return values
