"""Many tests at once: Holm's correction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isnan
from typing import Any

from medseg.errors import UsageError
from medseg.evaluation.statistics.results import to_plain
from medseg.evaluation.statistics.samples import listed
from medseg.evaluation.statistics.wording import p_value


@dataclass(frozen=True, slots=True)
class AdjustedP:
    """One p of a family: as it was, and adjusted. Both are None if the test could not be made."""

    name: str
    p: float | None
    adjusted: float | None
    missing: str | None = None


@dataclass(frozen=True, slots=True)
class HolmResult:
    """A family of tests by Holm's method, in the order given. ``tests`` counts those that were made."""

    family: tuple[AdjustedP, ...]
    tests: int
    level: float

    @property
    def text(self) -> str:
        """One sentence that names what stays significant."""
        found = [
            f"{one.name} ({p_value(one.adjusted)})"
            for one in self.family
            if one.adjusted is not None and one.adjusted <= self.level
        ]
        absent = len(self.family) - self.tests
        return (
            f"After Holm's correction over {self.tests} tests, {len(found)} stayed significant at "
            f"{self.level:g}{': ' if found else ''}{', '.join(found)}"
            f"{f'; {absent} could not be made' if absent else ''}."
        )

    def to_json(self) -> dict[str, Any]:
        """Plain values, by the names above."""
        plain: dict[str, Any] = to_plain(self)
        return plain


def holm(p_values: Mapping[str, float | None], *, level: float = 0.05) -> HolmResult:
    """P-values adjusted for the number of tests by Holm's step-down method.

    Parameters
    ----------
    p_values
        By name of label, metric or contrast. None or NaN is a test that could not be made: it stays missing
        and does not count in the family.
    level
        Of significance, for the text.

    Returns
    -------
    HolmResult
        Adjusted values rise with p and are 1 at most; equal p get equal values.

    Raises
    ------
    UsageError
        A p outside 0 to 1.

    References
    ----------
    Holm 1979, A simple sequentially rejective multiple test procedure, Scand J Stat 6:65-70.
    """
    if not 0 < level < 1:
        raise UsageError(f"level {level}: expected a share between 0 and 1, such as 0.05")
    made = {name: float(p) for name, p in p_values.items() if p is not None and not isnan(p)}
    wrong = [name for name, p in made.items() if not 0 <= p <= 1]
    if wrong:
        raise UsageError(f"p of {listed(wrong)}: {made[wrong[0]]}; expected a number between 0 and 1")
    adjusted = dict(zip(made, holm_adjusted(list(made.values())), strict=True))
    family = tuple(
        AdjustedP(name, made[name], adjusted[name])
        if name in made
        else AdjustedP(name, None, None, "no p: the test could not be made")
        for name in p_values
    )
    return HolmResult(family, len(made), level)


def holm_adjusted(p_values: Sequence[float]) -> list[float]:
    """Holm's adjusted p, in the order given: step down from the smallest, never falling, at most 1."""
    adjusted = [1.0] * len(p_values)
    largest = 0.0
    for place, i in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        largest = max(largest, min((len(p_values) - place) * p_values[i], 1.0))
        adjusted[i] = largest
    return adjusted
