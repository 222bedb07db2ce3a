"""A CSV or JSON list of image and label paths."""

from __future__ import annotations

import csv
from pathlib import Path

from medseg.datasets.dataset import Case, Dataset, make_dataset, modality_of
from medseg.datasets.layouts.facts import read_json, read_labels_of
from medseg.errors import InputRefused
from medseg.io import files


def read_list(path: Path) -> Dataset:
    labels = None
    if path.suffix == ".json":
        facts = read_json(path)
        rows = facts.get("cases", [])
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            raise InputRefused(
                f"{path}: 'cases' must be a list of objects with 'image' and 'label'",
                code="bad-dataset-json",
                path=path,
            )
        labels = read_labels_of(facts.get("labels"), path)
    else:
        try:
            with path.open(newline="", encoding="utf-8-sig") as stream:
                rows = list(csv.DictReader(stream))
        except (UnicodeDecodeError, csv.Error) as error:
            raise InputRefused(
                f"{path}: not a CSV list in UTF-8 ({error}): give a dataset's folder, or a list of its files",
                code="unknown-layout",
                path=path,
            ) from error
    if not rows:
        raise InputRefused(f"{path}: the list holds no case", code="no-cases", path=path)
    columns = [c for c in rows[0] if c == "image" or c.startswith("image_")]
    if not columns or "label" not in rows[0]:
        raise InputRefused(
            f"{path}: expected columns 'image' (or image_<channel>) and 'label', optionally 'case_id'; "
            f"found {', '.join(map(str, rows[0]))}",
            code="missing-columns",
            path=path,
        )
    cases = []
    for number, row in enumerate(rows, start=2):
        if not row.get("label") or not all(row.get(c) for c in columns):
            raise InputRefused(f"{path}, line {number}: an empty path", code="missing-columns", path=path)
        label = path.parent / row["label"]
        cases.append(
            Case(row.get("case_id") or files.stem(label), tuple(path.parent / row[c] for c in columns), label)
        )
    channels = tuple(c.removeprefix("image_") for c in columns)
    return make_dataset(path, "list", channels, tuple(modality_of(c) for c in channels), labels, cases)
