"""A dataset of label maps without images, which train by synthesis: a folder with ``labels.csv``.

``labels.csv`` has a row per value of the maps: ``label_in_map``, ``segmentation_label`` and
``segmentation_name`` (what the network learns there, 0 for background), and ``intensity_class`` (values
with one number look alike). Priors of a contrast lie beside it as ``<contrast>_priors.csv``, with
``label_in_map`` and ``<contrast>_mean_centre``, ``_mean_sd``, ``_std_centre``, ``_std_sd``.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from medseg.errors import InputRefused
from medseg.geometry import Geometry
from medseg.io import files, read_labels
from medseg.labels import LabelSet
from medseg.plans import (
    ChannelStatistics,
    ContrastSpec,
    Fingerprint,
    GridPlan,
    IntensityPrior,
    SynthesisPlan,
    TissueSpec,
)
from medseg.preprocess import network_geometry
from medseg.training.dataset import Case, Dataset, Progress

TABLE = "labels.csv"
_COLUMNS = ("label_in_map", "segmentation_label", "segmentation_name", "intensity_class")
_PRIORS = ("mean_centre", "mean_sd", "std_centre", "std_sd")


def read_label_maps(path: Path) -> Dataset:
    """The cases and labels of a folder of label maps.

    Raises
    ------
    InputRefused
        ``bad-labels-csv`` if the table lacks a column, holds no number where one is due, or names one label
        twice.
    """
    rows = _rows(path / TABLE, _COLUMNS)
    names: dict[int, str] = {}
    for line, row in enumerate(rows, start=2):
        label, name = _whole(row, "segmentation_label", path, line), row["segmentation_name"].strip()
        if names.setdefault(label, name) != name:
            raise _refusal(path / TABLE, f"line {line}: label {label} is {names[label]!r} and {name!r}")
    try:
        labels = LabelSet.from_names(names)
    except ValueError as error:
        raise _refusal(path / TABLE, str(error)) from error
    maps = sorted(file for file in path.iterdir() if file.name.endswith(files.EXTENSIONS))
    cases = tuple(sorted((Case(files.stem(file), (), file) for file in maps), key=lambda case: case.id))
    return Dataset(path.resolve().name, path, "label-maps", ("image",), (None,), labels, cases)


def synthesis_of(dataset: Dataset) -> SynthesisPlan:
    """What the dataset's tables say of its tissues and contrasts; everything else at its default."""
    path = dataset.path
    tissues = tuple(
        TissueSpec(
            value=_whole(row, "label_in_map", path, line),
            segment=_whole(row, "segmentation_label", path, line),
            intensity=_whole(row, "intensity_class", path, line),
        )
        for line, row in enumerate(_rows(path / TABLE, _COLUMNS), start=2)
    )
    class_of = {tissue.value: tissue.intensity for tissue in tissues}
    contrasts = {
        (name := file.name.removesuffix("_priors.csv")): _contrast(file, name, class_of)
        for file in sorted(path.glob("*_priors.csv"))
    }
    return SynthesisPlan(tissues=tissues, contrasts=contrasts)


def fingerprint_of_maps(
    dataset: Dataset, cases: Sequence[Case], progress: Progress | None = None
) -> tuple[Fingerprint, LabelSet]:
    """Grids and class frequencies of label maps; intensities are those of made images, 0 to 1."""
    assert dataset.labels is not None  # noqa: PT018 - a folder of label maps names them
    segment = {tissue.value: tissue.segment for tissue in synthesis_of(dataset).tissues}
    grids: list[Geometry] = []
    voxels = dict.fromkeys((0, *dataset.labels.ids), 0)
    with_label = dict.fromkeys(dataset.labels.ids, 0)
    for number, case in enumerate(cases):
        label_map = read_labels(case.label)
        grids.append(network_geometry(label_map.geometry, GridPlan()))
        values, counts = np.unique(label_map.data, return_counts=True)
        unknown = sorted(set(values.tolist()) - set(segment))
        if unknown:
            raise InputRefused(
                f"case {case.id!r}: values {unknown[:10]} are not in {TABLE}: add them, or remove them from "
                "the map",
                code="unknown-label",
                path=case.label,
            )
        found: set[int] = set()
        for value, count in zip(values.tolist(), counts.tolist(), strict=True):
            voxels[segment[value]] += count
            found.add(segment[value])
        for label in found - {0}:
            with_label[label] += 1
        if progress is not None:
            progress("fingerprint", number + 1, len(cases))
    spacing, shape = np.array([g.spacing for g in grids]), np.array([g.shape for g in grids])
    total = sum(voxels.values())
    image = ChannelStatistics(
        name="image", modality=None, mean=0.5, std=0.25, percentile_00_5=0.0, percentile_99_5=1.0
    )
    fingerprint = Fingerprint(
        cases=len(cases),
        dimensions=3,
        spacing_known=all(g.spacing_known for g in grids),
        spacing_median=tuple(np.median(spacing, axis=0).round(6).tolist()),
        spacing_min=tuple(spacing.min(axis=0).round(6).tolist()),
        spacing_max=tuple(spacing.max(axis=0).round(6).tolist()),
        shape_median=tuple(int(n) for n in np.median(shape, axis=0)),
        shape_min=tuple(shape.min(axis=0).tolist()),
        shape_max=tuple(shape.max(axis=0).tolist()),
        channels=(image,),
        voxel_fraction={label: round(count / total, 8) for label, count in voxels.items()},
        cases_with_label=with_label,
    )
    return fingerprint, dataset.labels


def _contrast(file: Path, name: str, class_of: dict[int, int]) -> ContrastSpec:
    columns = [f"{name}_{what}" for what in _PRIORS]
    priors: dict[int, IntensityPrior] = {}
    for line, row in enumerate(_rows(file, ("label_in_map", *columns)), start=2):
        value = _whole(row, "label_in_map", file.parent, line, file.name)
        if value not in class_of:
            raise _refusal(file, f"line {line}: value {value} is not in {TABLE}")
        try:
            mean, mean_sd, std, std_sd = (float(row[column]) for column in columns)
        except ValueError as error:
            raise _refusal(file, f"line {line}: {error}") from error
        priors[class_of[value]] = IntensityPrior(mean=mean, mean_sd=mean_sd, std=std, std_sd=std_sd)
    return ContrastSpec(priors=priors)


def _rows(file: Path, columns: Sequence[str]) -> list[dict[str, str]]:
    try:
        with file.open(newline="", encoding="utf-8-sig") as stream:
            rows = list(csv.DictReader(stream))
    except (UnicodeDecodeError, csv.Error) as error:
        raise _refusal(file, f"not a CSV table in UTF-8: {error}") from error
    if not rows:
        raise _refusal(file, "the table holds no row")
    missing = [column for column in columns if rows[0].get(column) is None]
    if missing:
        raise _refusal(file, f"columns {', '.join(missing)} are missing; there are {', '.join(rows[0])}")
    return rows


def _whole(row: dict[str, str], column: str, folder: Path, line: int, name: str = TABLE) -> int:
    text = row[column]
    if not text.strip().isdigit():
        raise _refusal(folder / name, f"line {line}, {column}: {text!r}, expected a whole number")
    return int(text)


def _refusal(file: Path, what: str) -> InputRefused:
    return InputRefused(f"{file}: {what}", code="bad-labels-csv", path=file)
