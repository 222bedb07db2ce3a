"""Intensities as the scanner gave them to intensities as the network wants them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from medseg.plans import ChannelPlan


def normalise(channel: NDArray[Any], plan: ChannelPlan) -> NDArray[np.float32]:
    """Normalise one channel (x, y, z) as its plan says; see `medseg.plans.ChannelPlan`.

    A constant channel becomes zeros under ``zscore``: it holds no information.
    """
    values = channel.astype(np.float32)
    if plan.normalisation == "zscore":
        mean = float(values.mean(dtype=np.float64))
        std = float(values.std(dtype=np.float64))
        values -= np.float32(mean)
        if std > 0:
            values *= np.float32(1.0 / std)
        return values
    assert plan.low is not None and plan.high is not None  # noqa: PT018 - the plan's validator saw to it
    np.clip(values, plan.low, plan.high, out=values)
    if plan.normalisation == "window":
        return np.asarray((values - np.float32(plan.mean)) / np.float32(plan.std), dtype=np.float32)
    return np.asarray((values - np.float32(plan.low)) / np.float32(plan.high - plan.low), dtype=np.float32)
