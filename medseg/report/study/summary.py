"""What is counted over the cases of a study, and how numbers are spelled in its tables."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass

from medseg.report.study.collect import STATUSES, CaseColumns
from medseg.report.study.page import Value
from medseg.verdict import Status

UNSEGMENTED: tuple[Status, ...] = ("failed", "refused")
NOTEWORTHY: tuple[Status, ...] = ("warning", "repaired")
MISSING = "–"


@dataclass(frozen=True, slots=True)
class ReasonCount:
    """How many cases have a status for a reason, with the message of the first one."""

    status: Status
    code: str
    count: int
    message: str


def status_counts(kept: CaseColumns) -> list[tuple[Status, int]]:
    """Statuses that occur and how often, from ``ok`` to ``failed``."""
    counts = Counter(kept.statuses)
    return [(status, counts[code]) for code, status in enumerate(STATUSES) if counts[code]]


def reason_counts(kept: CaseColumns, statuses: Collection[Status]) -> list[ReasonCount]:
    """Reasons of the cases with one of some statuses, most frequent first. A case counts once for each."""
    reasons = list(kept.reasons)
    counts: Counter[tuple[Status, str]] = Counter()
    messages: dict[tuple[Status, str], str] = {}
    for code, places in zip(kept.statuses, kept.reason_places, strict=True):
        status = STATUSES[code]
        if status in statuses:
            # A dict, not a set: the order of equally frequent reasons must not vary between runs.
            own = {(status, reasons[n].code): reasons[n].message for n in reversed(places)}
            counts.update(own.keys())
            messages = {**own, **messages} if own.keys() - messages.keys() else messages
    ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return [ReasonCount(status, code, count, messages[status, code]) for (status, code), count in ranked]


def spelled(value: Value) -> str:
    """A value of a table as people read it: floats with 4 significant digits, a dash where it is missing.

    >>> [spelled(x) for x in (0.012345, 123456.7, 3.0, 1.2e-7, -4, True, None, float("nan"), "text")]
    ['0.01235', '123457', '3', '1.200e-07', '-4', 'yes', '–', '–', 'text']
    """
    if value is None or value != value:
        return MISSING
    if isinstance(value, bool):
        return "yes" if value else "no"
    if not isinstance(value, float):
        return str(value)
    size = abs(value)
    if size >= 1e9 or 0 < size < 1e-4:
        return f"{value:.3e}"
    return f"{value:.0f}" if size >= 1e4 else f"{value:.4g}"
