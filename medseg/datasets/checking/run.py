"""medseg.check_dataset: every case read once, its findings, and those across cases."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from medseg.datasets.absent import file_faults
from medseg.datasets.checking.across import findings_across
from medseg.datasets.checking.facts import CaseFacts, facts_of
from medseg.datasets.checking.findings import Finding, gravest_first
from medseg.datasets.checking.sheet import draw_sheet
from medseg.datasets.checking.sides import findings_of_sides
from medseg.datasets.checking.within import findings_of, with_usual_islands_once
from medseg.datasets.dataset import LABEL_MAPS, Case, Dataset
from medseg.datasets.reading import find_dataset
from medseg.datasets.tissue_tables import read_tissues
from medseg.errors import InputRefused, UsageError
from medseg.io import files, read, read_labels
from medseg.labels import LabelSet
from medseg.volume import LabelMap, Volume

Progress = Callable[[str, int, int], None]
FORMAT_VERSION = 1
FINDINGS, SHEET = "findings.json", "worst.png"


@dataclass(frozen=True, slots=True)
class DatasetReport:
    """What `check_dataset` found; ``findings`` with faults first, ``files`` it has written."""

    dataset: Dataset
    findings: tuple[Finding, ...]
    files: tuple[Path, ...] = ()

    @property
    def faults(self) -> tuple[Finding, ...]:
        """The findings that spoil training or its scores."""
        return tuple(finding for finding in self.findings if finding.severity == "fault")

    def to_json(self) -> dict[str, Any]:
        """The ``data check --json`` document."""
        counts = Counter(finding.severity for finding in self.findings)
        return {
            "format_version": FORMAT_VERSION,
            "dataset": str(self.dataset.path),
            "layout": self.dataset.layout,
            "cases": len(self.dataset.cases),
            "faults": counts["fault"],
            "notes": counts["note"],
            "findings": [finding.to_json() for finding in self.findings],
        }


def check_dataset(
    dataset: Path | str,
    out: Path | str | None = None,
    *,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> DatasetReport:
    """Look for what is wrong with a training dataset. Nothing in it is changed.

    Cases are read one after the other, and about 7 kB of each are kept.

    Parameters
    ----------
    dataset
        What `medseg.train` takes.
    out
        A folder for ``findings.json`` and ``worst.png``, a sheet of the worst cases.
    overwrite
        Replace the two, where they are there.
    progress
        Called with ``"cases"``, the number read and that of all; an exception cancels.

    Raises
    ------
    NotFound, InputRefused
        If there is no dataset, or none that can be listed. Faults of its files are findings.
    """
    found = _with_tissues(find_dataset(Path(dataset)))
    folder = None if out is None else Path(out)
    if folder is not None:
        _check_free(folder, overwrite)
    findings = [
        Finding(fault.code, fault.case, fault.file, fault.message, remedy=fault.cure)
        for fault in file_faults(found)
    ]
    findings += _unlabelled(found)
    facts: list[CaseFacts] = []
    for number, case in enumerate(found.cases):
        try:
            if all(file.exists() for file in (*case.images, case.label)):
                one = _facts(case, found)
                findings += findings_of(one, found)
                facts.append(one)
        except InputRefused as refusal:
            findings.append(Finding(refusal.code, case.id, refusal.path or case.label, str(refusal)))
        if progress is not None:
            progress("cases", number + 1, len(found.cases))
    findings = with_usual_islands_once(findings, len(facts))
    findings += findings_across(facts, found)
    findings += findings_of_sides(facts, found)
    ordered = gravest_first(findings)
    written = () if folder is None else _write(folder, DatasetReport(found, ordered))
    return DatasetReport(found, ordered, written)


def _load(case: Case) -> tuple[list[Volume], LabelMap]:
    """The images and the label map of a case, on one grid, with finite values.

    Raises
    ------
    InputRefused
        ``grid-differs``, and what forbids to read a file.
    """
    label_map = read_labels(case.label)
    images = [read(path) for path in case.images]
    if not images:  # a map that images are made from
        images = [Volume(label_map.data[None].astype(np.float32), label_map.geometry)]
    others: list[tuple[Path, Volume | LabelMap]] = [
        *zip(case.images[1:], images[1:], strict=True),
        (case.label, label_map),
    ]
    for path, item in others:
        if not images[0].geometry.same_grid(item.geometry):
            raise InputRefused(
                f"{path.name} has {_words(item)}, the image {_words(images[0])}",
                code="grid-differs",
                path=path,
            )
    return images, label_map


def _facts(case: Case, dataset: Dataset) -> CaseFacts:
    images, label_map = _load(case)
    return facts_of(case, images, label_map, dataset.ignore_label)


def _with_tissues(dataset: Dataset) -> Dataset:
    """Label maps that images are made from hold tissues, more than the labels that are learnt."""
    if dataset.layout != LABEL_MAPS:
        return dataset
    names = {tissue.value: f"tissue {tissue.value}" for tissue in read_tissues(dataset.path) if tissue.value}
    return replace(dataset, labels=LabelSet.from_names(names))


def _unlabelled(dataset: Dataset) -> Iterator[Finding]:
    """Files beside the images that belong to no case. Lists name what they mean."""
    if dataset.layout in ("list", LABEL_MAPS):
        return
    known = {image.resolve() for case in dataset.cases for image in case.images}
    for folder in sorted({image.parent for case in dataset.cases for image in case.images}):
        for file in sorted(folder.iterdir()) if folder.is_dir() else ():
            hidden = file.name.startswith(".")
            if files.extension(file) and not hidden and file.resolve() not in known:
                yield Finding("image-without-label", files.stem(file), file, "no label map has its name")


def _check_free(folder: Path, overwrite: bool) -> None:
    there = [name for name in (FINDINGS, SHEET) if (folder / name).exists()]
    if there and not overwrite:
        raise UsageError(f"{folder}: {' and '.join(there)} exist already; overwrite=True replaces them")


def _write(folder: Path, report: DatasetReport) -> tuple[Path, ...]:
    files.make_folder(folder)
    table = files.write_text(
        folder / FINDINGS, json.dumps(report.to_json(), indent=1, allow_nan=False) + "\n"
    )
    sheet = draw_sheet(folder / SHEET, report.dataset, report.findings)
    return (table,) if sheet is None else (table, sheet)


def _words(item: Volume | LabelMap) -> str:
    grid = item.geometry
    start = ", ".join(f"{x:.4g}" for x in grid.affine[:3, 3])
    size = "x".join(f"{mm:.3g}" for mm in grid.spacing)
    return f"{'x'.join(map(str, grid.shape))} voxels of {size} mm from ({start}), {grid.orientation}"
