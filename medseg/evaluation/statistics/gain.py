"""Whether one method is better than another on the same cases."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medseg.errors import UsageError
from medseg.evaluation.statistics.resampling import bootstrap_ends
from medseg.evaluation.statistics.results import check_confidence


@dataclass(frozen=True, slots=True)
class PairedGain:
    """Mean of a - b over cases, its confidence interval, and Wilcoxon's two-sided p.

    ``wins``, ``losses`` and ``ties`` count the cases where a is larger, smaller, equal.
    """

    mean: float
    low: float
    high: float
    confidence: float
    p_wilcoxon: float
    n: int
    wins: int
    losses: int
    ties: int
    resamples: int
    seed: int

    def to_json(self) -> dict[str, Any]:
        """Plain values, by the names above."""
        return asdict(self)


def paired_gain(
    a: Sequence[float],
    b: Sequence[float],
    *,
    confidence: float = 0.95,
    resamples: int = 10_000,
    seed: int = 0,
) -> PairedGain:
    """Mean difference of two methods' scores on the same cases, with a BCa bootstrap interval.

    Cases are the unit of resampling: give one number per case (the mean over its labels, say), as
    several numbers of one case are not independent.

    Parameters
    ----------
    a, b
        One finite number per case, in the same order. Cases without a score must be left out of both.
    confidence
        Between 0 and 1.
    resamples, seed
        Of the bootstrap; the same seed gives the same interval on every machine.

    Returns
    -------
    PairedGain
        If all differences are equal, the interval has no width, and p is 1 where they are all 0.

    References
    ----------
    Efron 1987, Better bootstrap confidence intervals, doi:10.1080/01621459.1987.10478410.
    """
    gain = _differences(a, b)
    check_confidence(confidence)
    low, high = _bca_interval(gain, confidence, resamples, seed)
    return PairedGain(
        mean=float(gain.mean()),
        low=low,
        high=high,
        confidence=confidence,
        p_wilcoxon=_wilcoxon(gain),
        n=len(gain),
        wins=int((gain > 0).sum()),
        losses=int((gain < 0).sum()),
        ties=int((gain == 0).sum()),
        resamples=resamples,
        seed=seed,
    )


def _differences(a: Sequence[float], b: Sequence[float]) -> NDArray[np.float64]:
    x, y = np.asarray(a, np.float64), np.asarray(b, np.float64)
    if x.ndim != 1 or x.shape != y.shape or len(x) < 2:
        raise UsageError(
            f"scores of shapes {x.shape} and {y.shape}: expected one number per case from both, "
            "two cases or more"
        )
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise UsageError("a score is missing or not finite: leave cases without a score out of both lists")
    return x - y


def _bca_interval(
    gain: NDArray[np.float64], confidence: float, resamples: int, seed: int
) -> tuple[float, float]:
    if np.ptp(gain) == 0:
        return float(gain[0]), float(gain[0])
    ends = bootstrap_ends(gain, "mean", "bca", confidence, resamples, seed)
    assert ends is not None, "leaving out unequal values changes their mean"
    return ends


def _wilcoxon(gain: NDArray[np.float64]) -> float:
    from scipy.stats import wilcoxon  # here: scipy.stats takes longer to import than a scan to segment

    changed = gain[gain != 0]
    return float(wilcoxon(changed).pvalue) if len(changed) else 1.0
