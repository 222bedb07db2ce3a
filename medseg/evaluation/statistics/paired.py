"""Two models or raters on the same cases: Wilcoxon's signed ranks, an effect size, and the difference."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from medseg.evaluation.statistics.results import (
    Counts,
    Interval,
    check_choice,
    check_confidence,
    to_plain,
)
from medseg.evaluation.statistics.samples import Reasons, difference, pairs
from medseg.evaluation.statistics.signed_rank import Zeros, hodges_lehmann, rank_biserial, wilcoxon_p
from medseg.evaluation.statistics.wording import number, p_value, sentence_case, with_interval

if TYPE_CHECKING:
    from medseg.evaluation.statistics.samples import Values

_ZEROS = {"pratt": "Pratt's", "wilcoxon": "Wilcoxon's"}


@dataclass(frozen=True, slots=True)
class PairedComparison:
    """a - b over the cases that both have.

    ``difference`` is the Hodges-Lehmann estimate, ``effect`` the matched-pairs rank-biserial correlation
    (positive where a is larger), ``p_method`` says how ``p`` was computed. ``larger``, ``smaller`` and
    ``equal`` count the cases where a is larger than, smaller than, equal to b.
    """

    what: str
    names: tuple[str, str]
    difference: float
    interval: Interval
    p: float
    p_method: str
    effect: float
    larger: int
    smaller: int
    equal: int
    zeros: Zeros
    counts: Counts
    unit: str

    @property
    def text(self) -> str:
        """One sentence with counts, difference, interval, p, effect size, and what was left out."""
        a, b = self.names
        return (
            f"{sentence_case(self.what)} of {a} was larger than that of {b} in {self.larger}, "
            f"smaller in {self.smaller} and equal in {self.equal} of {self.counts.used} paired cases "
            f"(Hodges-Lehmann difference {with_interval(self.difference, self.interval, self.unit)}; "
            f"Wilcoxon signed-rank test, {p_value(self.p)}; rank-biserial correlation {number(self.effect)})"
            f"{self.counts.text}."
        )

    @property
    def methods_text(self) -> str:
        """One sentence for a methods section."""
        return (
            "Paired values were compared with two-sided Wilcoxon signed-rank tests (differences of zero by "
            f"{_ZEROS[self.zeros]} method; p-values: {self.p_method}), matched-pairs rank-biserial "
            "correlations, and Hodges-Lehmann differences with distribution-free "
            f"{self.interval.confidence * 100:g} % intervals."
        )

    def to_json(self) -> dict[str, Any]:
        """Plain values, by the names above; a missing interval is None with a reason."""
        plain: dict[str, Any] = to_plain(self)
        return plain


def compare_paired(
    a: Values,
    b: Values,
    *,
    names: tuple[str, str] = ("a", "b"),
    zeros: Zeros = "pratt",
    confidence: float = 0.95,
    reasons: Reasons | None = None,
    what: str = "the value",
    unit: str = "",
) -> PairedComparison:
    """Whether a differs from b on the same cases, and by how much.

    Parameters
    ----------
    a, b
        One number per case, None or NaN where missing. Two Series are paired on their indices, which hold
        case ids; other sequences by position. What did not pair is counted.
    names
        Of the two, for the text and the counts.
    zeros
        Differences of zero: ``"pratt"`` ranks them with the others and then drops their ranks;
        ``"wilcoxon"`` drops them first.
    confidence
        Of the interval of the difference, between 0 and 1.
    reasons
        Why a case has no value, by case id.
    what, unit
        What the values are, for the text: ``"Dice"``, ``"the volume"`` and ``"mL"``.

    Returns
    -------
    PairedComparison
        Differences are equal, or zero, if they agree in twelve digits of the largest value: in binary
        0.3 - 0.2 is not 0.2 - 0.1. If all are zero, p is 1 and the effect 0. The interval is missing, with
        the reason, where there are too few pairs for it (five at 95 %).

    Raises
    ------
    UsageError
        Fewer than five pairs, infinite values, repeated case ids, different lengths without case ids.

    References
    ----------
    Pratt 1959, doi:10.1080/01621459.1959.10501526; Kerby 2014, doi:10.2466/11.IT.3.1; Hodges & Lehmann 1963.
    """
    check_choice("zeros", zeros, tuple(_ZEROS))
    check_confidence(confidence)
    x, y, counts = pairs(a, b, names, reasons)
    differences = difference(x, y)
    p, p_method = wilcoxon_p(differences, zeros)
    middle, interval = hodges_lehmann(differences, confidence)
    return PairedComparison(
        what=what,
        names=names,
        difference=middle,
        interval=interval,
        p=p,
        p_method=p_method,
        effect=rank_biserial(differences, zeros),
        larger=int((differences > 0).sum()),
        smaller=int((differences < 0).sum()),
        equal=int((differences == 0).sum()),
        zeros=zeros,
        counts=counts,
        unit=unit,
    )
