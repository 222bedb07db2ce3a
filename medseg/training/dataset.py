"""A training dataset on disk: which cases, which files, which labels. No voxels are read here.

Five layouts are understood: a Medical Segmentation Decathlon folder, an nnU-Net v2 raw folder,
``images/`` beside ``labels/``, a CSV or JSON list, and label maps without images beside a ``labels.csv``
(`medseg.training.tissue_tables`).
"""

from __future__ import annotations

import csv
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medseg.errors import InputRefused, NotFound
from medseg.io import files
from medseg.labels import LabelSet
from medseg.training.tissue_tables import TABLE, read_label_set

LABEL_MAPS = "label-maps"  # the layout whose images are made
_CHANNEL = re.compile(r"_\d{4}$")  # nnU-Net's ending of a case's second, third ... image


@dataclass(frozen=True, slots=True)
class Case:
    """One case: its id, one image file per channel in order, its label file.

    No image: the label file is a map that images are made from.
    """

    id: str
    images: tuple[Path, ...]
    label: Path


@dataclass(frozen=True, slots=True)
class Dataset:
    """A dataset. ``cases`` are sorted by id; ``labels`` is None where no file names them."""

    name: str
    path: Path
    layout: str
    channels: tuple[str, ...]
    modalities: tuple[str | None, ...]
    labels: LabelSet | None
    cases: tuple[Case, ...]


def read_dataset(path: Path | str) -> Dataset:
    """Recognise the layout of a dataset and list its cases.

    Raises
    ------
    NotFound
        If the path does not exist.
    InputRefused
        If no layout fits, a file is missing, or no case is found; every fault is listed.
    """
    path = Path(path)
    if not path.exists():
        raise NotFound(f"{path}: no such dataset")
    if path.is_file():
        dataset = _read_list(path)
    elif (path / "dataset.json").is_file():
        dataset = _read_dataset_json(path)
    elif (path / "images").is_dir() and (path / "labels").is_dir():
        dataset = _read_folders(path)
    elif (path / TABLE).is_file():
        dataset = _read_label_maps(path)
    else:
        raise InputRefused(
            f"{path}: not a dataset that medseg knows. Expected one of: a folder with dataset.json (Medical "
            f"Segmentation Decathlon, nnU-Net v2), a folder with images/ and labels/, label maps beside a "
            f"{TABLE}, or a CSV/JSON list of image and label paths",
            code="unknown-layout",
            path=path,
        )
    _check_files(dataset)
    return dataset


def _read_dataset_json(path: Path) -> Dataset:
    facts = _json(path / "dataset.json")
    if "channel_names" in facts:
        return _read_nnunet(path, facts)
    channels, modalities = _channels(facts.get("modality", {"0": "image"}), path)
    cases = []
    for entry in facts.get("training", []):
        if not isinstance(entry, dict) or not all(isinstance(entry.get(k), str) for k in ("image", "label")):
            raise InputRefused(
                f"{path / 'dataset.json'}: an entry of 'training' lacks a path 'image' or 'label': {entry}",
                code="bad-dataset-json",
                path=path,
            )
        image, label = path / entry["image"], path / entry["label"]
        cases.append(Case(files.stem(label), (image,), label))
    # The Decathlon keeps several modalities as one 4D file, which `io` does not split by channel yet.
    return _dataset(path, "decathlon", channels, modalities, _labels(facts.get("labels"), path), cases)


def _read_nnunet(path: Path, facts: dict[str, Any]) -> Dataset:
    channels, modalities = _channels(facts["channel_names"], path)
    ending = str(facts.get("file_ending", ".nii.gz"))
    cases = []
    for label in sorted((path / "labelsTr").glob(f"*{ending}")):
        case = label.name[: -len(ending)]
        images = tuple(path / "imagesTr" / f"{case}_{n:04d}{ending}" for n in range(len(channels)))
        cases.append(Case(case, images, label))
    return _dataset(path, "nnunet", channels, modalities, _labels(facts.get("labels"), path), cases)


def _read_folders(path: Path) -> Dataset:
    by_stem = {
        _case_of(image): image
        for image in sorted((path / "images").iterdir())
        if image.name.endswith(files.EXTENSIONS)
    }
    cases, orphans = [], []
    for label in sorted((path / "labels").iterdir()):
        if not label.name.endswith(files.EXTENSIONS):
            continue
        case = files.stem(label)
        if case in by_stem:
            cases.append(Case(case, (by_stem[case],), label))
        else:
            orphans.append(label.name)
    ids = {case.id for case in cases}
    further = [
        image.name
        for stem, image in by_stem.items()
        if _CHANNEL.search(stem) and stem not in ids and _CHANNEL.sub("", stem) in ids
    ]
    if further:
        raise InputRefused(
            f"{path}: images/ holds further channels ({', '.join(further[:5])}), this layout has one file "
            f"per case: use a CSV list with columns image_<channel>, or an nnU-Net v2 folder",
            code="further-channels",
            path=path,
        )
    if orphans:
        raise InputRefused(
            f"{path}: no image in images/ has the name of label(s) {', '.join(orphans[:5])}: name both "
            f"alike, e.g. images/case1.nii.gz and labels/case1.nii.gz",
            code="label-without-image",
            path=path,
        )
    names = path / "labels.json"
    labels = _labels(_json(names), path) if names.is_file() else None
    return _dataset(path, "folders", ("image",), (None,), labels, cases)


def _read_label_maps(path: Path) -> Dataset:
    maps = (file for file in path.iterdir() if file.name.endswith(files.EXTENSIONS))
    cases = [Case(files.stem(file), (), file) for file in maps]
    return _dataset(path, LABEL_MAPS, ("image",), (None,), read_label_set(path), cases)


def _read_list(path: Path) -> Dataset:
    labels = None
    if path.suffix == ".json":
        facts = _json(path)
        rows = facts.get("cases", [])
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            raise InputRefused(
                f"{path}: 'cases' must be a list of objects with 'image' and 'label'",
                code="bad-dataset-json",
                path=path,
            )
        labels = _labels(facts.get("labels"), path)
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
    return _dataset(path, "list", channels, tuple(_modality(c) for c in channels), labels, cases)


def _dataset(
    path: Path,
    layout: str,
    channels: tuple[str, ...],
    modalities: tuple[str | None, ...],
    labels: LabelSet | None,
    cases: list[Case],
) -> Dataset:
    name = files.stem(path) if path.is_file() else path.resolve().name
    ordered = tuple(sorted(cases, key=lambda case: case.id))
    return Dataset(name, path, layout, channels, modalities, labels, ordered)


def _check_files(dataset: Dataset) -> None:
    if not dataset.cases:
        raise InputRefused(
            f"{dataset.path}: no case with an image and a label", code="no-cases", path=dataset.path
        )
    faults = []
    seen: set[str] = set()
    for case in dataset.cases:
        if case.id in seen:
            faults.append(("repeated-case", f"case {case.id!r} appears more than once"))
        seen.add(case.id)
        faults.extend(
            ("missing-file", f"case {case.id!r}: {file} does not exist")
            for file in (*case.images, case.label)
            if not file.exists()
        )
    if faults:
        listing = "\n  ".join(text for _, text in faults[:10])
        more = f"\n  and {len(faults) - 10} more" if len(faults) > 10 else ""
        raise InputRefused(
            f"{dataset.path}: {len(faults)} fault(s)\n  {listing}{more}",
            code=faults[0][0],
            path=dataset.path,
            reasons=faults,
        )


def _case_of(image: Path) -> str:
    return files.stem(image).removesuffix("_0000")


def _json(path: Path) -> dict[str, Any]:
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise InputRefused(f"{path}: not JSON: {error}", code="bad-dataset-json", path=path) from error
    if not isinstance(facts, dict):
        raise InputRefused(f"{path}: expected a JSON object", code="bad-dataset-json", path=path)
    return facts


def _channels(names: object, path: Path) -> tuple[tuple[str, ...], tuple[str | None, ...]]:
    if not isinstance(names, dict) or not names or not all(str(key).isdigit() for key in names):
        raise InputRefused(
            f'{path / "dataset.json"}: channels {names}: expected numbers with names, e.g. {{"0": "CT"}}',
            code="bad-dataset-json",
            path=path,
        )
    ordered = tuple(str(names[key]) for key in sorted(names, key=int))
    return ordered, tuple(_modality(name) for name in ordered)


def _modality(name: str) -> str | None:
    word = name.strip().lower()
    if word.startswith("ct"):
        return "CT"
    if word.startswith(("mr", "t1", "t2", "flair", "pd", "dwi", "adc")):
        return "MR"
    return None


def _labels(entries: object, path: Path) -> LabelSet | None:
    """Names from ``{"1": "liver"}`` (Decathlon) or ``{"liver": 1}`` (nnU-Net v2)."""
    if not isinstance(entries, dict) or not entries:
        return None
    try:
        names = (
            {int(key): str(value) for key, value in entries.items()}
            if all(str(key).isdigit() for key in entries)
            else {int(value): str(key) for key, value in entries.items()}
        )
    except (TypeError, ValueError) as error:
        raise InputRefused(
            f"{path}: labels {entries}: expected one number per name (regions are not supported yet)",
            code="bad-labels",
            path=path,
        ) from error
    if "ignore" in entries:
        raise InputRefused(
            f"{path}: the label 'ignore' ({entries['ignore']}) would be learnt as a structure: "
            f"nnU-Net's ignore label is not supported yet: remove it from the labels and the label maps",
            code="ignore-label",
            path=path,
        )
    try:
        return LabelSet.from_names(names)
    except ValueError as error:
        raise InputRefused(f"{path}: {error}", code="bad-labels", path=path) from error
