"""Opening a file or folder: which series, and whether what medseg refuses is opened all the same. No Qt."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, Protocol, TypeVar

import medseg
from medseg import InputRefused, LabelMap, Volume
from medseg.verdict import Reason
from napari_medseg.layers import Opening
from napari_medseg.panels.series import SeriesRow, series_rows, words_to_allow

Item = TypeVar("Item", Volume, LabelMap)
_Read = TypeVar("_Read", Volume, LabelMap, covariant=True)

_SEVERAL = ("several-series", "four-dimensional")


class Reader(Protocol[_Read]):
    """`medseg.read` or `medseg.read_labels`."""

    def __call__(self, path: Path, *, series: str | None = None, allow: Sequence[str] = ()) -> _Read: ...


@dataclass(frozen=True, slots=True)
class Questions:
    """What a person is asked before something is opened.

    Parameters
    ----------
    choose
        Called with the path's name and the series; gives a series' id, or None for none of them.
    consent
        Called with the path's name and what was done to open it, a reason each; whether that is wanted.
    """

    choose: Callable[[str, Sequence[SeriesRow]], str | None]
    consent: Callable[[str, Sequence[Reason]], bool]


@dataclass(frozen=True, slots=True, eq=False)
class Opened(Generic[Item]):
    """What was read, how, and which of its verdict's reasons a person has agreed to."""

    item: Item
    opening: Opening
    agreed: tuple[Reason, ...] = ()


def open_or_ask(path: Path, read: Reader[Item], questions: Questions | None) -> Opened[Item] | None:
    """Read a scan or a segmentation; ask where there are several series, or where ``allow`` would be needed.

    The question is asked when the repaired scan has been read, so that it can tell what was done.

    Parameters
    ----------
    path, read
        What to read, and by which function.
    questions
        None where nobody can be asked.

    Returns
    -------
    Opened or None
        None where a person answered that nothing is to be opened.

    Raises
    ------
    InputRefused
        As ``read``, without ``questions`` for several series and for what ``allow`` would open too.
    """
    series = None
    try:
        return Opened(read(path), Opening())
    except InputRefused as found:
        refusal = found
    if questions is not None and refusal.code in _SEVERAL:
        rows = series_rows(medseg.inspect(path))
        if len(rows) < 2:  # nothing to choose from: the refusal says more than a list would
            raise refusal
        series = questions.choose(path.name, rows)
        if series is None:
            return None
        try:
            return Opened(read(path, series=series), Opening(series))
        except InputRefused as found:
            refusal = found
    if questions is None:
        raise refusal
    opened = _repaired(path, read, series, refusal)
    return opened if questions.consent(path.name, opened.agreed) else None


def question(name: str, reasons: Sequence[Reason]) -> tuple[str, str]:
    """The question whether to open something all the same: a sentence, and what it would mean."""
    listed = "\n".join(f"• {reason.message}" for reason in reasons)
    return (
        f"Open {name} all the same?",
        f"medseg refuses it unless this is allowed:\n{listed}\n\n"
        "It stays with the layer, and with what you segment from it.",
    )


def _repaired(path: Path, read: Reader[Item], series: str | None, refusal: InputRefused) -> Opened[Item]:
    """Read with as much allowed as it takes; a fault may come to light only when another one is allowed.

    Raises the refusal that nothing helps against.
    """
    allow: frozenset[str] = frozenset()
    while True:
        words = words_to_allow(code for code, _ in refusal.reasons)
        if words is None or words <= allow:
            raise refusal
        allow |= words
        try:
            item = read(path, series=series, allow=sorted(allow))
        except InputRefused as found:
            refusal = found
            continue
        agreed = tuple(r for r in item.verdict.reasons if words_to_allow([r.code]))
        return Opened(item, Opening(series, tuple(sorted(allow))), agreed)
