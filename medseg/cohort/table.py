"""The tidy table of a study: a row per case and label, as Parquet and CSV, and what its columns mean.

Made anew from the ledger, in the order of the manifest, case by case: the same ledger gives the same bytes.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from medseg.cohort.columns import CASE_COLUMNS, row_columns
from medseg.cohort.folder import StudyFolder
from medseg.cohort.ledger import Ledger
from medseg.io.files import atomic_output, write_text
from medseg.measure import Column

# Goes up when the same ledger would give other tables.
TABLES_VERSION = 1
_ROWS_AT_ONCE = 50_000
_TYPES = {"text": pa.string(), "number": pa.float64(), "count": pa.int64(), "truth": pa.bool_()}


def write_tables(ledger: Ledger, folder: StudyFolder) -> None:
    """Write table.parquet, table.csv and table.dictionary.csv, each whole or not at all."""
    columns = table_columns(ledger)
    schema = table_schema(ledger)
    with (
        atomic_output(folder.table_parquet) as parquet,
        atomic_output(folder.table_csv) as text,
        pq.ParquetWriter(parquet, schema) as as_parquet,
        pa_csv.CSVWriter(text, schema) as as_csv,
    ):
        for batch in batches(ledger, schema):
            as_parquet.write_batch(batch)
            as_csv.write_batch(batch)
    write_text(folder.dictionary, _dictionary(columns))


def table_columns(ledger: Ledger) -> tuple[Column, ...]:
    """The case's columns, the manifest's, and those of its labels."""
    kinds: dict[str, str] = ledger.get("columns") or {}
    given = (Column(name, kind, "", "from the manifest") for name, kind in kinds.items())
    first, *rest = CASE_COLUMNS
    return (first, *given, *rest, *row_columns(ledger.get("channels") or ()))


def table_schema(ledger: Ledger) -> pa.Schema:
    """The columns with their types."""
    return pa.schema([pa.field(column.name, _TYPES[column.kind]) for column in table_columns(ledger)])


def batches(ledger: Ledger, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    """The table in pieces of at least so many rows, never more than one case over."""
    held: dict[str, list[Any]] = {name: [] for name in schema.names}
    for case_id, verdict, state, columns, rows in ledger.rows():
        facts = {
            "case_id": case_id,
            **columns,
            "state": state,
            "verdict": verdict.status,
            "reasons": " ".join(verdict.codes),
        }
        count = len(next(iter(rows.values()), [None]))  # a case without result has a row of its own
        for name, values in held.items():
            values.extend(rows[name] if name in rows else [facts.get(name)] * count)
        if len(held["case_id"]) >= _ROWS_AT_ONCE:
            yield _batch(held, schema)
            held = {name: [] for name in schema.names}
    if held["case_id"]:
        yield _batch(held, schema)


def _batch(columns: dict[str, list[Any]], schema: pa.Schema) -> pa.RecordBatch:
    arrays = [pa.array(columns[field.name], field.type) for field in schema]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def _dictionary(columns: tuple[Column, ...]) -> str:
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(("column", "kind", "unit", "description", "source"))
    rows.writerows(
        (column.name, column.kind, column.unit, column.description, column.source) for column in columns
    )
    return text.getvalue()
