"""Parquet to columns; types are the file's own."""

from __future__ import annotations

import math
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pyarrow.types as kinds

from medseg.cohort.manifest.cases import Value
from medseg.cohort.manifest.problems import Numbering, Problem
from medseg.cohort.manifest.table import Table, is_special
from medseg.cohort.manifest.values import MISSING
from medseg.errors import UsageError

_ROWS = Numbering("row {}")
_LARGEST_WHOLE = 2**53  # a float keeps every whole number up to it
_INDEX = "__index_level_"  # how pandas stores the index of a frame


def read_parquet(path: Path) -> Table:
    """The case table in a Parquet file; rows count from 1. Dates become texts, as ISO 8601 has them.

    Raises
    ------
    UsageError
        If it is no Parquet file, or damaged.
    """
    texts: dict[str, list[str]] = {}
    values: dict[str, list[Value]] = {}
    problems: list[Problem] = []
    try:
        with pq.ParquetFile(path) as file:
            count = file.metadata.num_rows
            names = [field.name for field in file.schema_arrow if not field.name.startswith(_INDEX)]
            for name in dict.fromkeys(names):
                if names.count(name) > 1:
                    problems.append(Problem(f"column {name!r} is there more than once: rename or remove one"))
                # By column, so that memory holds one of them as Arrow has it.
                found = file.read([name], use_threads=False)
                column = found.column(found.schema.get_all_field_indices(name)[0])
                if is_special(name):
                    texts[name], faults = _texts(name, column)
                else:
                    values[name], faults = _values(name, column)
                problems += faults
                del found, column
                pa.default_memory_pool().release_unused()  # it would keep what the next column never needs
    except (pa.ArrowException, OSError) as error:
        raise UsageError(f"{path.name}: cannot be read as Parquet ({type(error).__name__})") from error
    return Table(tuple(dict.fromkeys(names)), texts, values, range(1, count + 1), _ROWS, problems)


def _texts(name: str, column: pa.ChunkedArray) -> tuple[list[str], list[Problem]]:
    """Cells of a column that medseg understands: texts, or whole numbers as texts."""
    kind = _plain(column.type)
    faults = []
    if not (_is_text(kind) or kinds.is_integer(kind) or kinds.is_null(kind)):
        faults.append(Problem(f"column {name!r} is of type {kind}; expected text"))
    return ["" if cell is None else str(cell) for cell in column.to_pylist()], faults


def _values(name: str, column: pa.ChunkedArray) -> tuple[list[Value], list[Problem]]:
    """Cells of a group or covariate; equal ones are one object."""
    kind = _plain(column.type)
    shared: dict[Value, Value] = {None: None, **dict.fromkeys(MISSING)}
    if kinds.is_integer(kind) or kinds.is_floating(kind) or kinds.is_decimal(kind):
        cells = column.cast(kind).to_pylist()
        if any(isinstance(cell, int) and abs(cell) > _LARGEST_WHOLE for cell in cells):
            return [None if cell is None else str(cell) for cell in cells], []
        numbers = [None if cell is None or cell != cell else float(cell) for cell in cells]
        faults = [
            Problem(f"{name!r} is infinite; expected a finite number or none", row)
            for row, number in enumerate(numbers, 1)
            if number is not None and math.isinf(number)
        ]
        return [shared.setdefault(number, number) for number in numbers], faults
    if (
        _is_text(kind)
        or kinds.is_boolean(kind)
        or kinds.is_date(kind)
        or kinds.is_time(kind)
        or (kinds.is_timestamp(kind))
    ):
        texts = column.cast(pa.string()).to_pylist()
    elif kinds.is_null(kind):
        texts = [None] * len(column)
    else:
        fault = Problem(f"column {name!r} is of type {kind}; expected text or numbers, or leave it out")
        return [None] * len(column), [fault]
    return [shared.setdefault(text, text) for text in texts], []


def _plain(kind: pa.DataType) -> pa.DataType:
    """The type of the values, also where they are stored as categories."""
    return kind.value_type if kinds.is_dictionary(kind) else kind


def _is_text(kind: pa.DataType) -> bool:
    return bool(kinds.is_string(kind) or kinds.is_large_string(kind) or kinds.is_string_view(kind))
