"""How well two raters or methods agree on the same cases."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from medseg.evaluation.statistics.bland_altman import BlandAltman, LimitsMethod, bland_altman
from medseg.evaluation.statistics.icc import FORMS, Form, IntraclassCorrelation, intraclass_correlation
from medseg.evaluation.statistics.results import Counts, check_choice, check_confidence, to_plain
from medseg.evaluation.statistics.samples import Reasons, pairs
from medseg.evaluation.statistics.wording import number, p_value, with_interval

if TYPE_CHECKING:
    from medseg.evaluation.statistics.samples import Values

_METHODS = {
    "exact": "exact intervals from the noncentral t distribution (Carkeet 2015)",
    "approximate": "approximate intervals (Bland and Altman 1999)",
}


@dataclass(frozen=True, slots=True)
class Agreement:
    """Bland-Altman analysis and intraclass correlation of a and b."""

    what: str
    names: tuple[str, str]
    bland_altman: BlandAltman
    icc: IntraclassCorrelation
    counts: Counts
    unit: str

    @property
    def text(self) -> str:
        """One sentence with bias, limits, proportional bias, ICC, and what was left out."""
        found, icc, unit = self.bland_altman, self.icc, self.unit
        proportional = (
            f"slope of differences on averages {number(found.slope)}, {p_value(found.slope_p)}"
            if found.slope_p is not None
            else f"proportional bias was not tested: {found.slope_missing}"
        )
        value = (
            with_interval(icc.value, icc.interval)
            if icc.value is not None
            else f"not available: {icc.missing}"
        )
        return (
            f"In {self.counts.used} cases, {self.what} of {self.names[0]} minus that of {self.names[1]} had "
            f"a bias of {with_interval(found.bias, found.bias_interval, unit)} and 95 % limits of agreement "
            f"from {with_interval(found.lower, found.lower_interval, unit)} to "
            f"{with_interval(found.upper, found.upper_interval, unit)} ({proportional}); "
            f"ICC({icc.form}) was {value}{self.counts.text}."
        )

    @property
    def methods_text(self) -> str:
        """One sentence for a methods section."""
        return (
            "Agreement was assessed by Bland-Altman limits of agreement with "
            f"{_METHODS[self.bland_altman.limits_method]}, a linear regression of differences on averages "
            f"for proportional bias, and the intraclass correlation ICC({self.icc.form}) "
            f"({FORMS[self.icc.form]}; McGraw and Wong 1996)."
        )

    def to_json(self) -> dict[str, Any]:
        """Plain values, by the names above; what is missing is None with a reason."""
        plain: dict[str, Any] = to_plain(self)
        return plain


def agreement(
    a: Values,
    b: Values,
    *,
    names: tuple[str, str] = ("a", "b"),
    limits: LimitsMethod = "exact",
    icc: Form = "A,1",
    confidence: float = 0.95,
    reasons: Reasons | None = None,
    what: str = "the value",
    unit: str = "",
) -> Agreement:
    """Bias, limits of agreement, proportional bias, and intraclass correlation of paired values.

    Parameters
    ----------
    a, b
        One number per case, None or NaN where missing. Two Series are paired on their indices, which hold
        case ids; other sequences by position. What did not pair is counted.
    names
        Of the two, for the text and the counts.
    limits
        Intervals of the limits: ``"exact"`` (Carkeet 2015) or ``"approximate"`` (Bland & Altman 1999); see
        `bland_altman.bland_altman`. Both assume normal differences.
    icc
        ``"A,1"``: absolute agreement; ``"C,1"``: consistency; see `icc.intraclass_correlation`.
    confidence
        Of all intervals, between 0 and 1. The limits are those of 95 % of the differences, whatever it is.
    reasons
        Why a case has no value, by case id.
    what, unit
        What the values are, for the text: ``"the volume"`` and ``"mL"``.

    Returns
    -------
    Agreement
        What is undefined for degenerate data (all differences or all values equal) is None with a reason.

    Raises
    ------
    UsageError
        Fewer than five pairs, infinite values, repeated case ids, different lengths without case ids.
    """
    check_choice("limits", limits, tuple(_METHODS))
    check_choice("icc", icc, tuple(FORMS))
    check_confidence(confidence)
    x, y, counts = pairs(a, b, names, reasons)
    return Agreement(
        what=what,
        names=names,
        bland_altman=bland_altman(x, y, confidence, limits),
        icc=intraclass_correlation(x, y, confidence, icc),
        counts=counts,
        unit=unit,
    )
