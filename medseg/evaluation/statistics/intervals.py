"""Bootstrap confidence intervals of a mean, a median, and of paired differences."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from medseg.errors import UsageError
from medseg.evaluation.statistics.resampling import BootstrapMethod, Statistic, bootstrap_ends
from medseg.evaluation.statistics.results import (
    Counts,
    Interval,
    check_choice,
    check_confidence,
    to_plain,
)
from medseg.evaluation.statistics.samples import Reasons, difference, pairs, sample
from medseg.evaluation.statistics.wording import with_interval

if TYPE_CHECKING:
    from medseg.evaluation.statistics.samples import Values

_METHODS = {"bca": "BCa", "percentile": "percentile"}
_FEWEST_RESAMPLES = 100


@dataclass(frozen=True, slots=True)
class BootstrapInterval:
    """A statistic of the cases and its bootstrap interval."""

    what: str
    statistic: Statistic
    value: float
    interval: Interval
    counts: Counts
    method: BootstrapMethod
    resamples: int
    seed: int
    unit: str

    @property
    def text(self) -> str:
        """One sentence with estimate, interval, n and what was left out."""
        return (
            f"The {self.statistic} {self.what} was {with_interval(self.value, self.interval, self.unit)} "
            f"over {self.counts.used} cases{self.counts.text}."
        )

    @property
    def methods_text(self) -> str:
        """One sentence for a methods section."""
        return (
            f"Confidence intervals of the {self.statistic} are {_METHODS[self.method]} bootstrap intervals "
            f"over cases ({self.resamples} resamples, seed {self.seed})."
        )

    def to_json(self) -> dict[str, Any]:
        """Plain values, by the names above; a missing interval is None with a reason."""
        plain: dict[str, Any] = to_plain(self)
        return plain


def bootstrap(
    values: Values,
    statistic: Statistic = "mean",
    *,
    method: BootstrapMethod = "bca",
    confidence: float = 0.95,
    resamples: int = 10_000,
    seed: int = 0,
    reasons: Reasons | None = None,
    what: str = "value",
    unit: str = "",
) -> BootstrapInterval:
    """Mean or median of the cases with a bootstrap interval; cases are what is resampled.

    Parameters
    ----------
    values
        One number per case; None or NaN where missing. A Series' index holds the case ids.
    statistic
        ``"mean"`` or ``"median"``.
    method
        ``"bca"``: bias-corrected and accelerated; ``"percentile"``.
    confidence
        Between 0 and 1.
    resamples, seed
        The same seed gives the same interval.
    reasons
        Why a case has no value, by case id.
    what, unit
        What the values are, for the text and messages: ``"Dice"``, ``"volume error"`` and ``"mL"``.

    Returns
    -------
    BootstrapInterval
        The interval is missing, with the reason, if all values are equal, or if BCa is undefined (the median
        stays the same whichever case is left out: ties in the middle of the data).

    Raises
    ------
    UsageError
        Fewer than five values, infinite values, repeated case ids, an unknown name.

    References
    ----------
    Efron 1987, Better bootstrap confidence intervals, doi:10.1080/01621459.1987.10478410.
    """
    numbers, counts = sample(values, reasons, what)
    return _bootstrapped(numbers, counts, statistic, method, confidence, resamples, seed, what, unit)


def bootstrap_difference(
    a: Values,
    b: Values,
    statistic: Statistic = "mean",
    *,
    names: tuple[str, str] = ("a", "b"),
    method: BootstrapMethod = "bca",
    confidence: float = 0.95,
    resamples: int = 10_000,
    seed: int = 0,
    reasons: Reasons | None = None,
    what: str = "difference",
    unit: str = "",
) -> BootstrapInterval:
    """Mean or median of a - b over the cases that both have; as `bootstrap` of the paired differences.

    Two Series are paired on case id, other sequences by position. The median of the differences is in
    general not the difference of the medians. Errors, parameters and what is missing: see `bootstrap`.
    """
    x, y, counts = pairs(a, b, names, reasons)
    told = f"{what} ({names[0]} minus {names[1]})"
    return _bootstrapped(difference(x, y), counts, statistic, method, confidence, resamples, seed, told, unit)


def _bootstrapped(
    numbers: NDArray[np.float64],
    counts: Counts,
    statistic: Statistic,
    method: BootstrapMethod,
    confidence: float,
    resamples: int,
    seed: int,
    what: str,
    unit: str,
) -> BootstrapInterval:
    check_choice("statistic", statistic, ("mean", "median"))
    check_choice("method", method, tuple(_METHODS))
    check_confidence(confidence)
    if resamples < _FEWEST_RESAMPLES:
        raise UsageError(f"{resamples} resamples: expected {_FEWEST_RESAMPLES} or more; 10000 are usual")
    value = float(numbers.mean() if statistic == "mean" else np.median(numbers))
    interval = _interval(numbers, statistic, method, confidence, resamples, seed)
    return BootstrapInterval(what, statistic, value, interval, counts, method, resamples, seed, unit)


def _interval(
    numbers: NDArray[np.float64],
    statistic: Statistic,
    method: BootstrapMethod,
    confidence: float,
    resamples: int,
    seed: int,
) -> Interval:
    if np.ptp(numbers) == 0:
        return Interval.none(
            confidence, f"all {len(numbers)} values are equal, so resampling shows no spread"
        )
    ends = bootstrap_ends(numbers, statistic, method, confidence, resamples, seed)
    if ends is None:
        return Interval.none(
            confidence,
            f"BCa is undefined, as the {statistic} is the same without any one case; use method='percentile'",
        )
    return Interval(*ends, confidence)
