"""A manifest as a CSV, for looking at and editing."""

from __future__ import annotations

import csv
import io
import os
from pathlib import Path

from medseg.cohort.manifest.cases import Manifest, Value
from medseg.cohort.manifest.table import CASE_ID, REFERENCE, SERIES, image_column
from medseg.errors import NotFound, UsageError
from medseg.io.files import write_text


def write_manifest(manifest: Manifest, path: str | Path, *, overwrite: bool = False) -> Path:
    """Write a case table that `read_manifest` reads; it holds paths.

    Paths below the table's folder are relative to it. Texts that look like numbers, as Parquet can hold them,
    are numbers when the CSV is read, if all of their column do.

    Raises
    ------
    UsageError
        If the name does not end in .csv, or the file is there and ``overwrite`` is not set.
    NotFound
        If its folder is not there.
    """
    path = Path(os.path.abspath(path))  # noqa: PTH100 - a link's folder is the one meant
    if path.suffix.lower() != ".csv":
        raise UsageError(f"{path.name}: a case table is written as CSV: give a name that ends in .csv")
    if path.exists() and not overwrite:
        raise UsageError(f"{path.name}: exists already; overwrite=True replaces it")
    if not path.parent.is_dir():
        raise NotFound(f"{path.parent}: no such folder to write {path.name} into; create it first")
    channels = tuple(dict.fromkeys(channel for case in manifest.cases for channel, _ in case.images))
    has_reference = any(case.reference is not None for case in manifest.cases)
    has_series = any(case.series is not None for case in manifest.cases)
    header = [CASE_ID, *map(image_column, channels)]
    header += [REFERENCE] * has_reference + [SERIES] * has_series
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow([*header, *manifest.columns])
    for case in manifest.cases:
        images = dict(case.images)
        row = [case.case_id, *(_place(images.get(channel), path.parent) for channel in channels)]
        row += [_place(case.reference, path.parent)] * has_reference
        row += [case.series or ""] * has_series
        rows.writerow([*row, *(_cell(case.columns.get(name)) for name in manifest.columns)])
    return write_text(path, text.getvalue())


def _place(file: Path | None, folder: Path) -> str:
    if file is None:
        return ""
    if not file.is_relative_to(folder):
        return str(file)
    inside = file.relative_to(folder).as_posix()
    return f"./{inside}" if inside.startswith("~") else inside


def _cell(value: Value) -> str:
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    return str(int(value)) if value.is_integer() and abs(value) < 1e15 else repr(value)
