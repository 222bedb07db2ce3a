"""Cases of the review queue as a table shows them. No Qt, no viewer."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from napari_medseg.reviewing.review import ReviewCase, Status

HEADINGS = ("case", "status", "doubt", "time", "who")
STATUS_COLUMN, DOUBT_COLUMN = 1, 2
DOUBT_MEANS = (
    "How much the model doubts its result: 1 minus the Dice that it expects, averaged over the structures. "
    "A case without a result comes first, then those with a warning."
)
# Background; white text on each has a contrast of at least 4.5 to 1 (WCAG 2.2, 1.4.3).
STATUS_COLOURS: dict[Status, str] = {
    "to do": "#5c6370",
    "in progress": "#1f6fb2",
    "corrected": "#6b4fa0",
    "accepted": "#1b7f4b",
    "rejected": "#b3261e",
}
_ORDER = tuple(STATUS_COLOURS)
_UNKNOWN = "-"


@dataclass(frozen=True, slots=True)
class ReviewRow:
    """One case as the table lists it.

    Parameters
    ----------
    id
        The case's name.
    status
        Its status, for the colour and the filter.
    cells
        Texts under `HEADINGS`.
    keys
        What each column sorts by, ascending: doubt descending is the queue's own order.
    why
        What is known of the case, a line each.
    """

    id: str
    status: Status
    cells: tuple[str, ...]
    keys: tuple[Any, ...]
    why: str


def review_rows(cases: Iterable[ReviewCase]) -> tuple[ReviewRow, ...]:
    """The rows of a queue, in its order."""
    return tuple(_row(case, place) for place, case in enumerate(cases))


def doubt_text(doubt: float | None) -> str:
    """A doubt as `review_files.doubt` counts it, in words and two decimals; a dash for None."""
    if doubt is None:
        return _UNKNOWN
    if doubt >= 3:
        return "no result"
    return f"warning, {doubt - 1:.2f}" if doubt >= 1 else f"{doubt:.2f}"


def time_text(seconds: float) -> str:
    """Time spent, rounded: a dash for none, seconds below a minute, then minutes, then hours and minutes."""
    if seconds < 0.5:
        return _UNKNOWN
    if seconds < 59.5:
        return f"{seconds:.0f} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min"


def counts_text(cases: Iterable[ReviewCase]) -> str:
    """How far a queue is: the number of cases, and of those in each status that occurs."""
    statuses = [case.status for case in cases]
    counted = [f"{statuses.count(status)} {status}" for status in _ORDER if status in statuses]
    return f"{len(statuses)} case{'s' * (len(statuses) != 1)}: {', '.join(counted)}"


def _row(case: ReviewCase, place: int) -> ReviewRow:
    doubt, seconds = case.files.doubt, case.active_seconds
    return ReviewRow(
        case.id,
        case.status,
        (case.id, case.status, doubt_text(doubt), time_text(seconds), case.who or _UNKNOWN),
        (case.id, _ORDER.index(case.status), -place, seconds, case.who or ""),
        "\n".join([case.id, *case.files.reasons, *_changes(case)]),
    )


def _changes(case: ReviewCase) -> list[str]:
    return [
        f"{name}: {added} voxels added, {removed} removed" for name, (added, removed) in case.changed.items()
    ]
