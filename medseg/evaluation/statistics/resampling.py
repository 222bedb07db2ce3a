"""The bootstrap of a mean or a median: replicates in bounded memory, percentile and BCa ends.

`scipy.stats.bootstrap` gives the same ends for the same seed, but computes its jackknife from n (n - 1)
values, which thousands of cases do not allow; for these two statistics the jackknife has a closed form.
"""

from __future__ import annotations

from statistics import NormalDist
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Statistic = Literal["mean", "median"]
BootstrapMethod = Literal["bca", "percentile"]
_NORMAL = NormalDist()
_AT_ONCE = 2_000_000  # values drawn together: 16 MB of places and as much of values


def bootstrap_ends(
    values: NDArray[np.float64],
    statistic: Statistic,
    method: BootstrapMethod,
    confidence: float,
    resamples: int,
    seed: int,
) -> tuple[float, float] | None:
    """Ends of the bootstrap interval of (n,) finite values, not all equal.

    None where BCa is undefined: the statistic is the same whichever value is left out.

    References
    ----------
    Efron 1987, Better bootstrap confidence intervals, doi:10.1080/01621459.1987.10478410.
    """
    tails = (1 - confidence) / 2, (1 + confidence) / 2
    if method == "percentile":
        low, high = np.quantile(_replicates(values, statistic, resamples, seed), tails)
        return float(low), float(high)
    influence = _jackknife(values, statistic)
    influence = influence.mean() - influence
    if np.ptp(influence) == 0:
        return None
    acceleration = float((influence**3).sum() / (6 * (influence**2).sum() ** 1.5))
    replicates = _replicates(values, statistic, resamples, seed)
    value = values.mean() if statistic == "mean" else np.median(values)
    below = float(((replicates < value).sum() + (replicates <= value).sum()) / (2 * resamples))
    bias = _NORMAL.inv_cdf(min(max(below, 0.5 / resamples), 1 - 0.5 / resamples))
    shares = []
    for tail in tails:
        z = bias + _NORMAL.inv_cdf(tail)
        shares.append(_NORMAL.cdf(bias + z / (1 - acceleration * z)))
    low, high = np.quantile(replicates, shares)
    return float(low), float(high)


def _replicates(
    values: NDArray[np.float64], statistic: Statistic, resamples: int, seed: int
) -> NDArray[np.float64]:
    """The statistic of each resample, (resamples,)."""
    rng, n = np.random.default_rng(seed), len(values)
    found = np.empty(resamples)
    step = max(_AT_ONCE // n, 1)
    for start in range(0, resamples, step):
        drawn = values[rng.integers(n, size=(min(step, resamples - start), n))]
        found[start : start + step] = (
            drawn.mean(axis=1) if statistic == "mean" else np.median(drawn, axis=1, overwrite_input=True)
        )
    return found


def _jackknife(values: NDArray[np.float64], statistic: Statistic) -> NDArray[np.float64]:
    """The statistic without each value in turn, (n,), in the order of the sorted values for a median."""
    n, half = len(values), len(values) // 2
    ordered = np.sort(values)
    found: NDArray[np.float64]
    if statistic == "mean":
        found = (values.sum() - values) / (n - 1)
    elif n % 2 == 0:  # one of the two in the middle is left there
        found = np.where(np.arange(n) < half, ordered[half], ordered[half - 1])
    else:
        before, middle, after = ordered[half - 1 : half + 2]
        found = np.where(np.arange(n) < half, (middle + after) / 2, (before + middle) / 2)
        found[half] = (before + after) / 2
    return found
