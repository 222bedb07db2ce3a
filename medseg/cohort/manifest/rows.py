"""A table to cases: what its columns mean, and what is wrong with them and with the rows."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from itertools import combinations
from pathlib import Path

from medseg.cohort.columns import CASE_COLUMNS, row_columns
from medseg.cohort.manifest.cases import Manifest, ManifestCase
from medseg.cohort.manifest.problems import Problem
from medseg.cohort.manifest.table import (
    CASE_ID,
    IMAGE,
    REFERENCE,
    SERIES,
    Table,
    by_row,
    channel_of,
    image_column,
)
from medseg.cohort.manifest.values import is_missing


def cases_of(table: Table, folder: Path) -> tuple[Manifest, list[Problem]]:
    """The cases of a table, and the problems of its header and its cells; not yet those of its ids.

    ``folder`` is where relative paths begin. The table's cells are used up.
    """
    channels = [channel for name in table.columns if (channel := channel_of(name)) is not None]
    problems = [
        *_missing_columns(table),
        *_images_and_channels(table.columns, channels),
        *reserved(table.values, channels),
    ]
    count = len(table.lines)
    if not count:
        problems.append(Problem("no cases: expected a row for each"))
    if any(not name.strip() for name in table.values):
        problems.append(Problem("a column has no name: give it one, or remove it"))
    references = table.texts.pop(REFERENCE, [""] * count)
    series = table.texts.pop(SERIES, [""] * count)
    images = {name: table.texts.pop(name) for name in table.columns if channel_of(name) is not None}
    for name, cells in images.items():
        problems += _bad_paths(name, cells, table.lines, required=True)
    problems += _bad_paths(REFERENCE, references, table.lines, required=False)
    problems += _one_file({**images, REFERENCE: references}, table.lines, folder)
    columns = tuple(table.values)
    rows = zip(
        table.texts.pop(CASE_ID, ()),  # without it there are no cases, and a problem says so
        by_row([_places(folder, images.pop(name)) for name in tuple(images)], count),
        _places(folder, references),
        series,
        by_row(table.values.values(), count),
        strict=False,
    )
    cases = tuple(
        ManifestCase(
            case_id,
            tuple((c, path) for c, path in zip(channels, paths, strict=True) if path is not None),
            reference,
            dict(zip(columns, values, strict=True)),
            None if is_missing(uid) else uid.strip(),
        )
        for case_id, paths, reference, uid, values in rows
    )
    table.values.clear()
    return Manifest(cases, columns), problems


def reserved(columns: Iterable[str], channels: Iterable[str]) -> list[Problem]:
    """Columns that bear the name of one that a study's table has: ``label``, ``intensity_mean_flair``.

    The model, which is not known yet, says whose channel's columns bear no name: here all channels' do.
    """
    written = (*CASE_COLUMNS, *row_columns(("", *filter(None, channels))))
    # As programs compare them that do not tell upper and lower case apart.
    own = {column.name.casefold() for column in written}
    return [
        Problem(f"column {name!r} has the name of one that medseg writes: rename it, e.g. to given_{name}")
        for name in columns
        if name.casefold() in own
    ]


def _missing_columns(table: Table) -> list[Problem]:
    there = ", ".join(map(repr, table.columns)) or "none"
    problems = []
    if CASE_ID not in table.columns:
        problems.append(Problem(f"no column {CASE_ID}; there is: {there}"))
    if not any(channel_of(name) is not None for name in table.columns):
        problems.append(Problem(f"no column {IMAGE} or {IMAGE}_<channel>; there is: {there}"))
    return problems


def _images_and_channels(columns: Sequence[str], channels: Sequence[str]) -> list[Problem]:
    """Either one column ``image``, or one ``image_<channel>`` for each channel."""
    problems = []
    if f"{IMAGE}_" in columns:
        problems.append(Problem(f"column {IMAGE}_ lacks the channel's name, as in {IMAGE}_flair"))
    if IMAGE in columns and len(channels) > 1:
        others = ", ".join(image_column(channel) for channel in channels if channel)
        text = f"columns {IMAGE} and {others}: give one {IMAGE}_<channel> for each channel, or {IMAGE} alone"
        problems.append(Problem(f"{text}, and rename columns that name no files, e.g. to scan_quality"))
    return problems


def _bad_paths(column: str, cells: Sequence[str], lines: Sequence[int], *, required: bool) -> list[Problem]:
    """Cells that can name no file. Whether there is one is for its case to find."""
    problems = []
    for cell, line in zip(cells, lines, strict=True):
        if is_missing(cell):
            if required:
                problems.append(Problem(f"{column} is empty: name a file or a DICOM folder", line))
        elif "\0" in cell:
            problems.append(Problem(f"{column} holds a NUL character", line))
        elif cell.startswith("~") and _home(cell) is None:
            problems.append(Problem(f"{column} begins with ~, and there is no such home folder", line))
    return problems


def _one_file(columns: Mapping[str, Sequence[str]], lines: Sequence[int], folder: Path) -> list[Problem]:
    """Rows in which two columns name one file."""
    problems = []

    def same(cell: str) -> str:
        return os.path.normcase(os.path.normpath(_places(folder, [cell])[0] or folder))

    for (one, firsts), (other, seconds) in combinations(columns.items(), 2):
        for first, second, line in zip(firsts, seconds, lines, strict=True):
            # Names first: they hardly ever are the same, and a whole path costs more.
            if _name(first) == _name(second) and not is_missing(first) and same(first) == same(second):
                cure = "give a label map" if other == REFERENCE else "give each channel its own"
                problems.append(Problem(f"{one} and {other} are one file: {cure}", line))
    return problems


def _name(cell: str) -> str:
    return cell[max(cell.rfind("/"), cell.rfind("\\")) + 1 :].strip()


def _home(cell: str) -> str | None:
    found = os.path.expanduser(cell)  # noqa: PTH111 - Path.expanduser raises, and costs more
    return None if found == cell else found


def _places(folder: Path, cells: list[str]) -> list[Path | None]:
    """The path that each cell names. Most cases share their folder with others: it is parsed once."""

    @lru_cache(1024)
    def within(parent: str) -> Path:
        return folder / (_home(parent) or parent if parent.startswith("~") else parent)

    def place(cell: str) -> Path | None:
        if is_missing(cell):
            return None
        parent, name = os.path.split(cell.strip())
        return within(parent) / name if parent else within(name) if name.startswith("~") else folder / name

    return [place(cell) for cell in cells]
