"""What is wrong with a manifest: everything at once, by line, without a path."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from medseg.errors import UsageError

_MOST_SHOWN = 50


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong.

    Parameters
    ----------
    text
        What was found and what to do. It names cases and columns, never a path: that may name a patient.
    line
        Where: a line of text, a row, an index; None where it is not in one place.
    """

    text: str
    line: int | None = None


@dataclass(frozen=True, slots=True)
class Numbering:
    """How a kind of source counts its cases, e.g. ``"line {}"``; ``""`` where they have no numbers."""

    form: str = ""

    def place(self, line: int | None) -> str:
        """What to call a place, ``""`` where it has no name."""
        return "" if line is None else self.form.format(line)

    def tell(self, problem: Problem) -> str:
        """A problem as a line of a message."""
        place = self.place(problem.line)
        return f"{place}: {problem.text}" if place else problem.text


def refuse(problems: Iterable[Problem], name: str, numbering: Numbering) -> None:
    """Raise all problems as one error, in the order of the source; return where there are none.

    Raises
    ------
    UsageError
        With the first fifty of them.
    """
    ordered = sorted(problems, key=lambda problem: -1 if problem.line is None else problem.line)
    if not ordered:
        return
    told = list(dict.fromkeys(numbering.tell(problem) for problem in ordered))
    lines = "".join(f"\n  {text}" for text in told[:_MOST_SHOWN])
    more = f"\n  and {len(told) - _MOST_SHOWN} more" if len(told) > _MOST_SHOWN else ""
    count = f"{len(told)} problem{'s' if len(told) > 1 else ''}"
    raise UsageError(f"{name}: {count}{lines}{more}")
