"""A case table as its reader hands it on, whatever its format, and what its columns stand for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from medseg.cohort.manifest.cases import Value
from medseg.cohort.manifest.problems import Numbering, Problem

CASE_ID, IMAGE, REFERENCE, SERIES = "case_id", "image", "reference", "series"
_CHANNEL = f"{IMAGE}_"
Cell = TypeVar("Cell")


@dataclass(slots=True, eq=False)
class Table:
    """Columns of a case table. `medseg.cohort.manifest.rows` empties it, so that memory holds them once.

    Parameters
    ----------
    columns
        Names in the order of the source.
    texts
        Cells of the columns that medseg itself understands, see `is_special`; ``""`` for none.
    values
        Cells of all others.
    lines
        Where each row is, as ``numbering`` counts.
    problems
        What was wrong already while it was read.
    comma
        Whether numbers may have decimal commas.
    """

    columns: tuple[str, ...]
    texts: dict[str, list[str]]
    values: dict[str, list[Value]]
    lines: Sequence[int]
    numbering: Numbering
    problems: list[Problem] = field(default_factory=list)
    comma: bool = False


def by_row(columns: Iterable[Sequence[Cell]], count: int) -> Iterator[tuple[Cell, ...]]:
    """The cells of each of ``count`` rows, also where there are no columns."""
    cells = tuple(columns)
    return iter(zip(*cells, strict=True)) if cells else iter([()] * count)


def is_special(column: str) -> bool:
    """Whether medseg itself understands a column, rather than handing it on as a covariate."""
    return column in (CASE_ID, REFERENCE, SERIES) or channel_of(column) is not None


def channel_of(column: str) -> str | None:
    """The channel whose files a column names: ``""`` for ``image``; None of any other column."""
    if column == IMAGE:
        return ""
    return column.removeprefix(_CHANNEL) if column.startswith(_CHANNEL) else None


def image_column(channel: str) -> str:
    """The column that names the files of a channel."""
    return _CHANNEL + channel if channel else IMAGE
