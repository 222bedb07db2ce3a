"""The report of a run's validation: what is taken for what, borders, the worst cases."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medseg.evaluation import CaseScores, LabelScores, Settings
from medseg.evaluation.confusion import Confusion
from medseg.evaluation.scores import score_labels
from medseg.evaluation.summary import Tally
from medseg.io import files
from medseg.io.files import atomic_output
from medseg.labels import LabelSet
from medseg.plans import Plan
from medseg.report.borders import borders_png
from medseg.report.confusion import confusion_png
from medseg.report.worst import ErrorView, error_view, worst_png
from medseg.training.validation import SegmentedCase
from medseg.volume import LabelMap

Array = NDArray[np.unsignedinteger]

REPORT, DOCUMENT, TABLE = "report", "report.json", "cases.csv"
CONFUSION, BORDERS, WORST = "confusion.png", "borders.png", "worst_cases.png"
_MOST_WORST = 6
_SETTINGS = Settings()
_NUMBERS = ("dice", "surface_dice", "hd95_mm", "mean_surface_distance_mm")
_COLUMNS = (*_NUMBERS, "volume_error_ml", "volume_error_percent", "volume_ml", "reference_volume_ml")


@dataclass(frozen=True, slots=True)
class _Ranked:
    """A case by its mean Dice over the labels that occur in it, and the slice kept of it."""

    dice: float
    view: ErrorView


class ValidationReport:
    """Looks at cases one after the other, keeps numbers and a slice of the worst, and writes them at the end.

    Distances are in mm; of a picture whose pixels have no known size, in pixels. Surface Dice allows 1 of
    either.

    Parameters
    ----------
    labels
        What the model tells apart.
    part
        What the cases are, as said in titles: ``validation``, ``held-back``.
    ignore
        A value of reference maps whose voxels count nowhere.
    """

    def __init__(self, labels: LabelSet, part: str, ignore: int | None = None) -> None:
        self._labels, self._part, self._ignore = labels, part, ignore
        self._confusion = Confusion.none(labels)
        self._cases: list[CaseScores] = []
        self._units: dict[str, str] = {}
        self._worst: list[_Ranked] = []

    @classmethod
    def of(cls, plan: Plan, part: str) -> ValidationReport:
        """For the labels of a plan."""
        return cls(plan.label_set, part, plan.ignore_label)

    def add(self, case: SegmentedCase) -> None:
        """Count one case. Of its arrays nothing is kept but a slice, and that only while it is a worst."""
        name, geometry = case.score.case, case.reference.geometry
        self._confusion = self._confusion.plus(case.predicted.data, case.reference.data)
        in_pixels = geometry.is_2d and not geometry.spacing_known
        if in_pixels:  # its affine is one pixel per axis, so what comes out are pixels
            geometry = replace(geometry, spacing_known=True)
        reference, predicted = (
            LabelMap(data, geometry, self._labels)
            for data in _judged(case.reference.data, case.predicted.data, self._ignore)
        )
        scored = score_labels(predicted, reference, tuple(self._labels), _SETTINGS)
        self._cases.append(CaseScores(name, scored))
        self._units[name] = "pixels" if in_pixels else "mm"
        if (mean := case.score.mean) is None:
            return
        if len(self._worst) < _MOST_WORST or mean < self._worst[-1].dice:
            lines = _lines(mean, scored, self._units[name])
            view = error_view(name, case.volume, reference, predicted, lines)
            self._worst = sorted((*self._worst, _Ranked(mean, view)), key=lambda one: one.dice)[:_MOST_WORST]

    def write(self, folder: Path) -> None:
        """Write ``report.json``, ``cases.csv`` and the pictures; nothing where there was no case."""
        if not self._cases:
            return
        folder.mkdir(parents=True, exist_ok=True)
        files.write_text(folder / DOCUMENT, json.dumps(self.to_json(), indent=1) + "\n")
        with (
            atomic_output(folder / TABLE) as temporary,
            temporary.open("w", encoding="utf-8", newline="") as file,
        ):
            csv.writer(file, lineterminator="\n").writerows(self._rows())
        count = f"{len(self._cases)} {self._part} case{'s' if len(self._cases) > 1 else ''}"
        confusion_png(self._confusion, folder / CONFUSION, title=f"Confusion of labels, {count}")
        borders_png(self._cases, folder / BORDERS, unit=self.unit, tolerance=_SETTINGS.surface_tolerance_mm)
        if self._worst:
            shown = [one.view for one in self._worst]
            some = len(shown) < len(self._cases)
            title = f"The worst {len(shown)} of {count}" if some else f"{count}, the worst first"
            worst_png(shown, self._labels, folder / WORST, title=title)

    @property
    def unit(self) -> str:
        """Of the distances: ``mm``, ``pixels``, or both where cases differ."""
        return " or ".join(sorted(set(self._units.values()))) or "mm"

    def to_json(self) -> dict[str, Any]:
        """The report as one document; missing numbers are null."""
        tally = Tally(_SETTINGS)
        for case in self._cases:
            tally.add(case)
        shares = self._confusion.shares
        return {
            "format_version": 1,
            "cases": len(self._cases),
            "part": self._part,
            "distance_unit": self.unit,
            "surface_tolerance": _SETTINGS.surface_tolerance_mm,
            "confusion": {
                "names": list(self._confusion.names),
                "ids": [0, *self._labels.ids],
                "voxels": self._confusion.counts.tolist(),
                "share_of_reference": [
                    None if np.isnan(row).any() else [round(float(value), 6) for value in row]
                    for row in shares
                ],
            },
            "taken_for_each_other": [asdict(one) for one in self._confusion.between_labels()],
            "missed_or_found_wrongly": [asdict(one) for one in self._confusion.with_background()],
            "labels": tally.rows(),
            "worst_cases": [{"case": one.view.name, "mean_dice": one.dice} for one in self._worst],
        }

    def _rows(self) -> Iterator[Sequence[Any]]:
        columns = [name.removesuffix("_mm") if name in _NUMBERS else name for name in _COLUMNS]
        yield "case", "label_id", "label", *columns, "distance_unit", "missing"
        for case in self._cases:
            for label in case.labels:
                numbers = [getattr(label, name) for name in _COLUMNS]
                missing = " ".join(f"{name}:{code}" for name, (code, _) in label.missing.items())
                texts = ["" if value is None else repr(value) for value in numbers]
                yield case.case, label.id, label.name, *texts, self._units[case.case], missing


def report_seconds(plan: Plan, cases: int) -> float:
    """About how long a report of so many cases takes, on two cores: what `train` keeps back of its time.

    Measured on CT with 41 labels and on crops with 2: five milliseconds per label, a third of a microsecond
    per voxel of the scan's own grid; the pictures take some seconds, however many cases there are.
    """
    if not cases:
        return 0.0
    voxels = 0 if plan.fingerprint is None else math.prod(plan.fingerprint.shape_median)
    return 8.0 + cases * (0.005 * len(plan.labels) + 3e-7 * voxels)


def _judged(reference: Array, predicted: Array, ignore: int | None) -> tuple[Array, Array]:
    """Both arrays with background where nobody judged: there is neither anything to find nor a border."""
    if ignore is None:
        return reference, predicted
    judged = reference != ignore
    return reference * judged, predicted * judged


def _lines(mean: float, scored: Sequence[LabelScores], unit: str) -> list[str]:
    """What stands beside a case: its mean, then its labels from the worst on."""
    present = sorted((x for x in scored if x.dice is not None), key=lambda x: x.dice or 0.0)
    lines = [f"mean Dice {mean:.3f}"]
    for label in present:
        distance = "" if label.hd95_mm is None else f", HD95 {label.hd95_mm:.1f} {unit}"
        lines.append(f"{label.name}: {label.dice:.3f}{distance}")
    return lines
