"""Bland and Altman's limits of agreement with their intervals, and the test for proportional bias."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from medseg.evaluation.statistics.results import Interval
from medseg.evaluation.statistics.samples import difference

LimitsMethod = Literal["exact", "approximate"]
_SHARE = 0.95  # of the differences that lies within the limits


@dataclass(frozen=True, slots=True)
class BlandAltman:
    """Differences a - b: their mean, their limits of agreement, and whether they grow with the size.

    ``lower`` and ``upper`` are bias -+ 1.96 ``deviation``. ``slope`` is that of the differences on the
    averages (a + b) / 2, and ``slope_p`` tests it against 0; both are None, and ``slope_missing`` says why,
    where all averages are equal.
    """

    bias: float
    bias_interval: Interval
    deviation: float
    lower: float
    lower_interval: Interval
    upper: float
    upper_interval: Interval
    limits_method: LimitsMethod
    slope: float | None
    slope_interval: Interval
    slope_p: float | None
    slope_missing: str | None


def bland_altman(
    a: NDArray[np.float64], b: NDArray[np.float64], confidence: float, method: LimitsMethod
) -> BlandAltman:
    """Limits of agreement of paired values.

    Parameters
    ----------
    a, b
        Finite, one pair per case, three or more.
    confidence
        Of all intervals.
    method
        Intervals of each limit by itself: ``"exact"`` from the noncentral t distribution (Carkeet 2015), or
        ``"approximate"``, limit -+ t s sqrt(1 / n + 1.96^2 / (2 (n - 1))) (Bland & Altman 1999). Both assume
        normal differences.

    Notes
    -----
    The slope's test is that of equal variances of a and b (Pitman & Morgan): a rater who is merely
    noisier, without any proportional bias, is found too.

    References
    ----------
    Bland & Altman 1999, doi:10.1177/096228029900800204; Carkeet 2015, doi:10.1097/OPX.0000000000000513.
    """
    from scipy.stats import t  # here: scipy.stats is slow to import

    differences = difference(a, b)
    n = len(differences)
    bias, deviation = float(differences.mean()), float(differences.std(ddof=1))
    if np.ptp(differences) == 0:
        deviation = 0.0  # rounding of the mean leaves 1e-17 or so
    from_bias = _limit_factors(n, confidence, method)
    reach = float(t.ppf((1 + confidence) / 2, n - 1)) / n**0.5

    def interval(low: float, high: float) -> Interval:
        if deviation == 0:
            return Interval.none(confidence, f"all {n} differences are equal, so they show no spread")
        return Interval(bias + low * deviation, bias + high * deviation, confidence)

    slope, slope_interval, slope_p, missing = _slope((a + b) / 2, differences, confidence)
    return BlandAltman(
        bias=bias,
        bias_interval=interval(-reach, reach),
        deviation=deviation,
        lower=bias - _quantile() * deviation,
        lower_interval=interval(-from_bias[1], -from_bias[0]),
        upper=bias + _quantile() * deviation,
        upper_interval=interval(*from_bias),
        limits_method=method,
        slope=slope,
        slope_interval=slope_interval,
        slope_p=slope_p,
        slope_missing=missing,
    )


def _quantile() -> float:
    from scipy.special import ndtri

    return float(ndtri((1 + _SHARE) / 2))


@lru_cache(maxsize=128)  # a table of many labels and the same cases asks again and again
def _limit_factors(n: int, confidence: float, method: LimitsMethod) -> tuple[float, float]:
    """Where the interval of the upper limit begins and ends, in standard deviations above the bias."""
    from scipy.stats import nct, t

    tails = (1 - confidence) / 2, (1 + confidence) / 2
    quantile = _quantile()
    if method == "exact":
        low, high = nct.ppf(tails, n - 1, quantile * n**0.5) / n**0.5
        return float(low), float(high)
    reach = t.ppf(tails[1], n - 1) * (1 / n + quantile**2 / (2 * (n - 1))) ** 0.5
    return float(quantile - reach), float(quantile + reach)


def _slope(
    averages: NDArray[np.float64], differences: NDArray[np.float64], confidence: float
) -> tuple[float | None, Interval, float | None, str | None]:
    """Slope of the differences on the averages, its interval, p, and why there are none."""
    from scipy.stats import linregress, t

    if np.ptp(averages) == 0:
        missing = "all averages are equal, so a slope is undefined"
        return None, Interval.none(confidence, missing), None, missing
    if np.ptp(differences) == 0:
        missing = "all differences are equal: the slope is 0 and has no error to test it against"
        return 0.0, Interval.none(confidence, missing), None, missing
    line = linregress(averages, differences)
    reach = float(t.ppf((1 + confidence) / 2, len(averages) - 2) * line.stderr)
    slope = float(line.slope)
    return slope, Interval(slope - reach, slope + reach, confidence), float(line.pvalue), None
