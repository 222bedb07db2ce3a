"""A CSV or JSON list of image and label paths."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

from medseg.datasets.dataset import Case, Dataset, make_dataset, modality_of
from medseg.datasets.layouts.facts import inside, read_json, read_labels_of
from medseg.errors import InputRefused
from medseg.io import files


def read_list(path: Path) -> Dataset:
    """A case per row, with paths relative to the list's folder.

    Columns: ``image`` or one ``image_<channel>`` each, ``label``, and optionally ``case_id`` and ``patient``.
    A JSON list also has ``labels``, and may name the ``channels`` that its images hold.
    """
    if path.suffix == ".json":
        facts = read_json(path)
        if "cases" not in facts:
            raise InputRefused(
                f"{path}: names no 'cases': of a Decathlon or nnU-Net dataset give the folder, {path.parent}",
                code="no-cases",
                path=path,
            )
        return dataset_of_facts(path, facts)
    try:
        with path.open(newline="", encoding="utf-8-sig") as stream:
            rows = list(csv.DictReader(stream))
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputRefused(
            f"{path}: not a CSV list in UTF-8 ({error}): give a dataset's folder, or a list of its files",
            code="unknown-layout",
            path=path,
        ) from error
    return dataset_of_facts(path, {"cases": rows})


def dataset_of_facts(path: Path, facts: dict[str, Any], own_folder: bool = False) -> Dataset:
    """The dataset that a list describes; with ``own_folder`` all its paths have to lie beside it."""
    rows = facts.get("cases", [])
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise InputRefused(
            f"{path}: 'cases' must be a list of objects with 'image' and 'label'",
            code="bad-dataset-json",
            path=path,
        )
    if not rows:
        raise InputRefused(f"{path}: the list holds no case", code="no-cases", path=path)
    columns = [c for c in rows[0] if c == "image" or str(c).startswith("image_")]
    if not columns or "label" not in rows[0]:
        raise InputRefused(
            f"{path}: expected columns 'image' (or image_<channel>) and 'label', optionally 'case_id'; "
            f"found {', '.join(map(str, rows[0]))}",
            code="missing-columns",
            path=path,
        )
    cases = []
    for number, row in enumerate(rows, start=2):
        if not all(isinstance(row.get(c), str) and row[c] for c in (*columns, "label")):
            raise InputRefused(f"{path}, line {number}: an empty path", code="missing-columns", path=path)
        images = tuple(_place(path, row[c], own_folder) for c in columns)
        label = _place(path, row["label"], own_folder)
        case_id = str(row.get("case_id") or files.stem(label))
        cases.append(Case(case_id, images, label, row.get("patient") or None))
    labels, ignored = read_labels_of(facts.get("labels"), path)
    channels = _channels(path, facts.get("channels"), columns)
    modalities = tuple(modality_of(channel) for channel in channels)
    return make_dataset(path, "list", channels, modalities, labels, cases, ignored, path)


def _place(path: Path, name: str, own_folder: bool) -> Path:
    return inside(path.parent, name) if own_folder else path.parent / name


def _channels(path: Path, named: object, columns: list[str]) -> tuple[str, ...]:
    """The names of the channels: those told, at least one per file, or those of the columns."""
    if named is None:
        return tuple(column.removeprefix("image_") for column in columns)
    if not isinstance(named, list) or len(named) < len(columns) or not all(isinstance(n, str) for n in named):
        raise InputRefused(
            f"{path}: 'channels' {named}: expected a list of names, one for each channel",
            code="bad-dataset-json",
            path=path,
        )
    return tuple(named)
