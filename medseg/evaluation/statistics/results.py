"""What every result of the statistics has in common: counts, intervals, plain values for JSON."""

from __future__ import annotations

from dataclasses import dataclass, fields, is_dataclass
from math import isfinite
from typing import Any

from medseg.errors import UsageError


@dataclass(frozen=True, slots=True)
class LeftOut:
    """How many cases were left out for one reason."""

    reason: str
    n: int


@dataclass(frozen=True, slots=True)
class Counts:
    """How many cases were given, how many entered the analysis, and why the others did not."""

    given: int
    used: int
    left_out: tuple[LeftOut, ...] = ()

    @property
    def text(self) -> str:
        """The end of a sentence: empty if nothing was left out."""
        if not self.left_out:
            return ""
        reasons = ", ".join(f"{one.reason}: {one.n}" for one in self.left_out)
        absent = self.given - self.used
        return f"; {absent} of {self.given} cases {'was' if absent == 1 else 'were'} left out ({reasons})"


@dataclass(frozen=True, slots=True)
class Interval:
    """A confidence interval, or why there is none.

    Either both ends are finite numbers and ``missing`` is None, or both are None and ``missing`` says why.
    """

    low: float | None
    high: float | None
    confidence: float
    missing: str | None = None

    def __post_init__(self) -> None:
        ends = [end for end in (self.low, self.high) if end is not None]
        if len(ends) != (2 if self.missing is None else 0) or not all(map(isfinite, ends)):
            raise ValueError(
                f"interval {self.low} to {self.high}, missing {self.missing!r}: two finite ends or a reason"
            )

    @classmethod
    def none(cls, confidence: float, missing: str) -> Interval:
        """No interval, because of ``missing``."""
        return cls(None, None, confidence, missing)


def to_plain(result: object) -> Any:
    """A result as dictionaries, lists and plain values by their own names, its ``text`` added."""
    if is_dataclass(result):
        plain = {field.name: to_plain(getattr(result, field.name)) for field in fields(result)}
        if not isinstance(result, Counts) and hasattr(result, "text"):
            plain["text"] = result.text
        return plain
    if isinstance(result, tuple | list):
        return [to_plain(one) for one in result]
    if isinstance(result, float) and not isfinite(result):
        raise ValueError(f"a result holds {result}, which JSON cannot: None with a reason was expected")
    return result


def check_confidence(confidence: float) -> None:
    """Refuse what is not a share between 0 and 1."""
    if not 0 < confidence < 1:
        raise UsageError(f"confidence {confidence}: expected a share between 0 and 1, such as 0.95")


def check_choice(what: str, got: str, known: tuple[str, ...]) -> None:
    """Refuse a name that is not among ``known``, and list them."""
    if got not in known:
        raise UsageError(f"{what} {got!r}: expected one of {', '.join(map(repr, known))}")
