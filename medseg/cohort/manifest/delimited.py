"""CSV to columns of text: comma, semicolon or tab; line breaks within quotes; the line of each row."""

from __future__ import annotations

import csv
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from medseg.cohort.manifest.problems import Numbering, Problem
from medseg.cohort.manifest.table import CASE_ID, Table, is_special
from medseg.cohort.manifest.values import values_of

_DELIMITERS = (",", ";", "\t")
LINES = Numbering("line {}")


@dataclass(frozen=True, slots=True, eq=False)
class Columns:
    """The cells of each column, and the physical line on which each row begins."""

    delimiter: str
    names: tuple[str, ...]
    cells: tuple[list[str], ...]
    lines: array[int]
    problems: list[Problem]


def read_csv(path: Path) -> Table:
    """The case table in a CSV file."""
    found = read_columns(path, CASE_ID)
    texts, values = {}, {}
    comma = found.delimiter == ";"  # where spreadsheets write decimal commas, they separate by semicolons
    for name, cells in zip(found.names, found.cells, strict=True):
        if is_special(name):
            texts[name] = cells if name == CASE_ID else [cell.strip() for cell in cells]
        else:
            values[name] = values_of(cells, comma=comma)
            cells.clear()
    return Table(found.names, texts, values, found.lines, LINES, found.problems, comma)


def read_columns(path: Path, key: str) -> Columns:
    """The columns of a text table in UTF-8, with or without a byte order mark.

    Of the delimiters that one counts under which ``key`` is a column; else the one that gives most columns. A
    first line ``sep=;``, as Excel writes it, says which. Rows without any text are passed over, and so is a
    last column without name and text, which a delimiter at the end of each line makes.
    """
    lines = array("q")
    with path.open(newline="", encoding="utf-8-sig") as file:
        delimiter, skipped = _delimiter(file, key)
        problems: list[Problem] = []
        header: list[str] = []
        cells: tuple[list[str], ...] = ()
        for line, row in _rows(path, file, delimiter, skipped, problems):
            if not header:
                header = [name.strip() for name in row]
                cells = tuple([] for _ in header)
            elif len(row) != len(header):
                text = f"{len(row)} cells, the header has {len(header)}: quote cells that hold {delimiter!r}"
                problems.append(Problem(text, line))
            else:
                lines.append(line)
                for column, cell in zip(cells, row, strict=True):
                    column.append(cell)
    return _named(delimiter, header, cells, lines, problems)


def _rows(
    path: Path, file: TextIO, delimiter: str, skipped: int, problems: list[Problem]
) -> Iterator[tuple[int, list[str]]]:
    """Each row that has any text, with its first physical line. What ends the file early is a problem."""
    rows = csv.reader(file, delimiter=delimiter, strict=True)
    while True:
        line = skipped + rows.line_num + 1
        try:
            row = next(rows)
        except StopIteration:
            return
        except csv.Error as error:  # the message quotes no cell
            problems.append(Problem(f"no CSV from here on ({error}): is a quote missing?", line))
            return
        except UnicodeDecodeError:
            text = "not UTF-8 from here on: save the table as CSV UTF-8"
            problems.append(Problem(text, _undecodable_line(path)))
            return
        if any(cell and not cell.isspace() for cell in row):
            yield line, row


def _delimiter(file: TextIO, key: str) -> tuple[str, int]:
    """The delimiter, and how many lines precede the header; the file is left at the header."""
    try:
        first = file.readline()
    except UnicodeDecodeError:
        file.seek(0)
        return ",", 0  # reading on will name it
    told = first.rstrip("\r\n")
    if told[:4].lower() == "sep=" and told[4:] in _DELIMITERS:
        return told[4:], 1
    file.seek(0)
    split = {delimiter: next(csv.reader([told], delimiter=delimiter), []) for delimiter in _DELIMITERS}
    fitting = [d for d, names in split.items() if key in (name.strip() for name in names)]
    return (fitting or sorted(split, key=lambda d: -len(split[d])))[0], 0


def _named(
    delimiter: str,
    header: list[str],
    cells: tuple[list[str], ...],
    lines: array[int],
    problems: list[Problem],
) -> Columns:
    """Columns with a name, each once."""
    found: dict[str, list[str]] = {}
    for number, (name, column) in enumerate(zip(header, cells, strict=True), 1):
        if not name:
            if any(cell and not cell.isspace() for cell in column):
                problems.append(Problem(f"column {number} has no name: give it one, or remove it"))
        elif name in found:
            problems.append(Problem(f"column {name!r} is there more than once: rename or remove one"))
        else:
            found[name] = column
    return Columns(delimiter, tuple(found), tuple(found.values()), lines, problems)


def _undecodable_line(path: Path) -> int:
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            try:
                line.decode("utf-8")
            except UnicodeDecodeError:
                return number
    return 1  # cannot be: something in there has just been found to be no UTF-8
