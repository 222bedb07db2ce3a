"""Intraclass correlation of two raters, by McGraw and Wong."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from medseg.evaluation.statistics.results import Interval
from medseg.evaluation.statistics.samples import difference

Form = Literal["A,1", "C,1"]
FORMS = {
    "A,1": "two-way random effects, absolute agreement, single rater",
    "C,1": "two-way, consistency, single rater",
}


@dataclass(frozen=True, slots=True)
class IntraclassCorrelation:
    """An ICC with its interval; ``value`` is None, and ``missing`` says why, where it is undefined."""

    form: Form
    value: float | None
    interval: Interval
    missing: str | None


def intraclass_correlation(
    a: NDArray[np.float64], b: NDArray[np.float64], confidence: float, form: Form
) -> IntraclassCorrelation:
    """ICC of two raters on the same cases, from the mean squares of a two-way table without replication.

    Parameters
    ----------
    a, b
        Finite, one pair per case, three or more.
    confidence
        Of the F-based interval, which assumes normal case and error terms.
    form
        ``"A,1"``: a constant difference between raters counts against agreement; ``"C,1"``: it does not.

    Returns
    -------
    IntraclassCorrelation
        Negative values are kept as they come. No value where all numbers are equal; no interval where raters
        agree exactly (``"C,1"``: up to a constant), as no error is left to derive it from.

    References
    ----------
    McGraw & Wong 1996, Forming inferences about some intraclass correlation coefficients,
    doi:10.1037/1082-989X.1.1.30, tables 4 and 7.
    """
    table = np.column_stack([a, b])
    n, k = table.shape
    centred = table - table.mean()
    cases, raters = centred.mean(axis=1), centred.mean(axis=0)
    rows = k * float(cases @ cases) / (n - 1)
    columns = n * float(raters @ raters) / (k - 1)
    rest = centred - cases[:, None] - raters
    error = float((rest * rest).sum()) / ((n - 1) * (k - 1))
    if np.ptp(difference(a, b)) == 0:
        error = 0.0  # what rounding leaves is no error of the raters
    if np.ptp(table) == 0 or (rows == 0 and error == 0):
        missing = "all cases have the same value, so there is no variation to agree about"
        return IntraclassCorrelation(form, None, Interval.none(confidence, missing), missing)
    between = k * (columns - error) / n if form == "A,1" else 0.0
    value = (rows - error) / (rows + (k - 1) * error + between)
    if error == 0:
        exact = (
            "raters differ by the same amount in every case, so no error is left to derive an interval from"
        )
        return IntraclassCorrelation(form, value, Interval.none(confidence, exact), None)
    ends = (
        _absolute(n, k, rows, columns, error, value, confidence)
        if form == "A,1"
        else (_consistent(n, k, rows / error, confidence))
    )
    return IntraclassCorrelation(form, value, Interval(*ends, confidence), None)


def _consistent(n: int, k: int, ratio: float, confidence: float) -> tuple[float, float]:
    from scipy.stats import f  # here: scipy.stats is slow to import

    upper_tail, errors = (1 + confidence) / 2, (n - 1) * (k - 1)
    low = ratio / f.ppf(upper_tail, n - 1, errors)
    high = ratio * f.ppf(upper_tail, errors, n - 1)
    return float((low - 1) / (low + k - 1)), float((high - 1) / (high + k - 1))


def _absolute(
    n: int, k: int, rows: float, columns: float, error: float, value: float, confidence: float
) -> tuple[float, float]:
    """Degrees of freedom after Satterthwaite, as the denominator mixes two mean squares."""
    from scipy.stats import f

    of_raters = k * value / (n * (1 - value))
    of_error = 1 + k * value * (n - 1) / (n * (1 - value))
    mixed = (of_raters * columns + of_error * error) ** 2 / (
        (of_raters * columns) ** 2 / (k - 1) + (of_error * error) ** 2 / ((n - 1) * (k - 1))
    )
    upper_tail = (1 + confidence) / 2
    rest = k * columns + (k * n - k - n) * error
    down, up = f.ppf(upper_tail, n - 1, mixed), f.ppf(upper_tail, mixed, n - 1)
    low = n * (rows - down * error) / (down * rest + n * rows)
    high = n * (up * rows - error) / (rest + n * up * rows)
    return float(low), float(high)
