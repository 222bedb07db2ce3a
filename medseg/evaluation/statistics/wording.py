"""Numbers as a paper prints them."""

from __future__ import annotations

from collections.abc import Iterable
from math import floor, log10

from medseg.evaluation.statistics.results import Interval


def numbers(*values: float | None, like: float | None = None) -> tuple[str, ...]:
    """The values with one number of decimals: three significant digits of the largest, or of ``like``.

    Between none and six decimals; what rounds to zero has no sign; None is ``"not estimable"``.
    """
    known = [abs(value) for value in values if value is not None]
    scale = abs(like) if like else max(known, default=0.0)
    decimals = min(max(2 - floor(log10(scale)), 0), 6) if scale > 0 else 2
    return tuple(
        "not estimable" if value is None else f"{round(value, decimals) + 0.0:.{decimals}f}"
        for value in values
    )


def number(value: float | None) -> str:
    """One value, as `numbers`."""
    return numbers(value)[0]


def with_interval(value: float | None, interval: Interval, unit: str = "") -> str:
    """An estimate with its interval and unit: ``1.20 mL (95 % CI 0.80 to 1.60)``."""
    width = None if interval.low is None or interval.high is None else interval.high - interval.low
    # Decimals follow the width, as digits far below it are noise; but never so few that the value is gone.
    like = min((x for x in (width, abs(value or 0.0)) if x), default=None)
    middle, low, high = numbers(value, interval.low, interval.high, like=like)
    share = f"{interval.confidence * 100:g} % CI"
    ends = f"{share} not available: {interval.missing}" if interval.missing else f"{share} {low} to {high}"
    return f"{middle}{unit and ' ' + unit} ({ends})"


def p_value(p: float) -> str:
    """``p < 0.001``, or two significant digits, three decimals at most."""
    if p < 0.001:
        return "p < 0.001"
    return f"p = {p:.3f}" if p < 0.1 else f"p = {p:.2f}"


def joined(items: Iterable[str]) -> str:
    """``a, b and c``; empty for none."""
    every = list(items)
    return " and ".join([", ".join(every[:-1]), every[-1]] if len(every) > 1 else every)


def sentence_case(what: str) -> str:
    """With a capital at the beginning, the rest as it is."""
    return what[:1].upper() + what[1:]
