"""evaluate: predicted label maps against references, case by case, and the summary of each label."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, median, stdev
from typing import Any

from medseg.errors import InputRefused, UsageError
from medseg.evaluation.pairing import case_name, pair_files
from medseg.evaluation.scores import METRICS, LabelScores, score_labels
from medseg.io import read_labels
from medseg.io.files import write_text
from medseg.labels import Label, LabelSet
from medseg.verdict import OK, Verdict
from medseg.volume import LabelMap

FORMAT_VERSION = 1
_COLUMNS = ("case", "label_id", "label", *METRICS, "volume_ml", "reference_volume_ml", "missing", "verdict")
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True)
class CaseScores:
    """One case: its labels' scores, or why it was refused."""

    case: str
    labels: tuple[LabelScores, ...]
    verdict: Verdict = OK

    def to_json(self) -> dict[str, Any]:
        """The case as it stands in the ``evaluate --json`` document."""
        return {
            "case": self.case,
            "verdict": self.verdict.status,
            "reasons": [reason.to_json() for reason in self.verdict.reasons],
            "labels": [label.to_json() for label in self.labels],
        }


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What `evaluate` returns.

    Parameters
    ----------
    cases
        In the order of their names. Refused cases have no labels and a verdict that says why.
    surface_tolerance_mm
        Of surface Dice.
    without_prediction
        Names of references that nothing was predicted for. They enter no mean, so look at them.
    """

    cases: tuple[CaseScores, ...]
    surface_tolerance_mm: float
    without_prediction: tuple[str, ...] = ()

    @property
    def summary(self) -> list[dict[str, Any]]:
        """For each label and metric: n, mean, standard deviation (n - 1) and median over cases.

        Cases where the number is missing do not count in n. A statistic that n does not allow is None.
        """
        labels = {(x.id, x.name): None for case in self.cases for x in case.labels}
        rows = []
        for label_id, name in sorted(labels):
            scores = [x for case in self.cases for x in case.labels if (x.id, x.name) == (label_id, name)]
            metrics = {metric: _statistics([getattr(x, metric) for x in scores]) for metric in METRICS}
            rows.append({"id": label_id, "name": name, **metrics})
        return rows

    def to_json(self) -> dict[str, Any]:
        """The ``evaluate --json`` document."""
        return {
            "format_version": FORMAT_VERSION,
            "surface_tolerance_mm": self.surface_tolerance_mm,
            "cases": [case.to_json() for case in self.cases],
            "summary": self.summary,
            "without_prediction": list(self.without_prediction),
        }

    def to_csv(self, path: str | Path) -> Path:
        """Write one row per case and label, atomically; missing numbers are empty, codes say why.

        A refused case has one row without a label.
        """
        text = io.StringIO()
        rows = csv.writer(text, lineterminator="\n")
        rows.writerow(_COLUMNS)
        for case in self.cases:
            rows.writerows(_row(case, label) for label in case.labels)
            if not case.labels:
                rows.writerow(
                    (
                        case.case,
                        *[""] * (len(_COLUMNS) - 2),
                        " ".join((case.verdict.status, *case.verdict.codes)),
                    )
                )
        return write_text(path, text.getvalue())


def evaluate(
    pred: str | Path,
    ref: str | Path,
    *,
    surface_tolerance_mm: float = 1.0,
    labels: LabelSet | None = None,
    progress: Progress | None = None,
) -> Evaluation:
    """Compare predicted label maps with references.

    Parameters
    ----------
    pred, ref
        Two files, or two folders whose files are paired by stem, ``_seg`` and ``_0000`` stripped.
    surface_tolerance_mm
        Distance up to which surfaces count as equal in surface Dice.
    labels
        The labels to score, with their names. Without it: every label of either file, present or
        declared; the reference's name, unless only the prediction has one.
    progress
        Called as ``progress("evaluate", done, total)``.

    Returns
    -------
    Evaluation
        See `metrics` for the rules where a structure is absent.

    Raises
    ------
    InputRefused
        If the two files do not stand on one grid or are no label maps; for folders only if this
        holds for every pair, else the case carries the refusal.
    UsageError
        If nothing pairs up, or the tolerance is negative.
    """
    if not surface_tolerance_mm >= 0:
        raise UsageError(f"surface tolerance {surface_tolerance_mm} mm: expected 0 or more")
    pairs = pair_files(Path(pred), Path(ref))
    cases = [_without_reference(path, Path(ref)) for path in pairs.without_reference]
    refusals = []
    for done, (case, (predicted, reference)) in enumerate(pairs.paired.items()):
        if progress is not None:
            progress("evaluate", done, len(pairs.paired))
        try:
            cases.append(_score_case(case, predicted, reference, labels, surface_tolerance_mm))
        except InputRefused as error:
            refusals.append(error)
            cases.append(CaseScores(case, (), Verdict.refusal(error)))
    if progress is not None:
        progress("evaluate", len(pairs.paired), len(pairs.paired))
    if len(refusals) == len(pairs.paired):
        raise refusals[0]
    return Evaluation(
        tuple(sorted(cases, key=lambda case: case.case)),
        surface_tolerance_mm,
        tuple(case_name(path) for path in pairs.without_prediction),
    )


def _score_case(
    case: str, predicted: Path, reference: Path, labels: LabelSet | None, tolerance_mm: float
) -> CaseScores:
    pred, ref = read_labels(predicted), read_labels(reference)
    _check_grids(pred, ref, predicted, reference)
    wanted, verdict = (tuple(labels), OK) if labels is not None else _merged(pred.labels, ref.labels)
    return CaseScores(case, score_labels(pred, ref, wanted, tolerance_mm), verdict)


def _check_grids(pred: LabelMap, ref: LabelMap, predicted: Path, reference: Path) -> None:
    a, b = pred.geometry, ref.geometry
    if a.same_grid(b):
        return
    if a.shape != b.shape:
        found = f"shapes {_times(a.shape)} and {_times(b.shape)}"
    else:
        found = (
            f"orientations {a.orientation} and {b.orientation}, corners {a.grid_distance_mm(b):.3g} mm apart"
        )
    raise InputRefused(
        f"{predicted.name} and {reference.name} do not stand on one grid: {found}. Compare label maps of "
        "the same scan; resampling one of them would change the scores",
        code="grid-differs",
        path=predicted,
    )


def _times(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape))


def _merged(pred: LabelSet, ref: LabelSet) -> tuple[tuple[Label, ...], Verdict]:
    """Every label of either set, and a warning where both name one id differently."""
    by_id = {label.id: label for label in pred}
    verdict = OK
    for label in ref:
        other = by_id.get(label.id)
        if other is None or _is_named(label):
            by_id[label.id] = label
        if other is not None and _is_named(other) and _is_named(label) and other.name != label.name:
            text = f"label {label.id} is {other.name!r} in the prediction and {label.name!r} in the reference"
            verdict += Verdict.of("warning", "label-names-differ", text)
    return tuple(by_id[n] for n in sorted(by_id)), verdict


def _is_named(label: Label) -> bool:
    return label.name != f"label {label.id}"


def _without_reference(path: Path, folder: Path) -> CaseScores:
    text = f"{path.name}: no reference of that name in {folder}"
    return CaseScores(case_name(path), (), Verdict.of("refused", "no-reference", text))


def _statistics(values: Sequence[float | None]) -> dict[str, Any]:
    found = [value for value in values if value is not None]
    if not found:
        reason = {"code": "no-case", "message": "no case has this number; each says why"}
        return {"n": 0, "mean": None, "std": None, "median": None, "reason": reason}
    numbers = {"n": len(found), "mean": fmean(found), "std": None, "median": median(found)}
    if len(found) == 1:
        return {**numbers, "reason": {"code": "one-case", "message": "one case has no spread"}}
    return {**numbers, "std": stdev(found)}


def _row(case: CaseScores, label: LabelScores) -> list[str]:
    numbers = (getattr(label, name) for name in (*METRICS, "volume_ml", "reference_volume_ml"))
    missing = " ".join(f"{name}:{code}" for name, (code, _) in label.missing.items())
    texts = ["" if value is None else repr(value) for value in numbers]
    return [
        case.case,
        str(label.id),
        label.name,
        *texts,
        missing,
        " ".join((case.verdict.status, *case.verdict.codes)),
    ]
