"""One case: a predicted label map and its reference, read, held against each other and scored."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medseg.errors import InputRefused, MedsegError
from medseg.evaluation.scores import LabelScores, score_labels
from medseg.evaluation.settings import Settings
from medseg.io import read_labels
from medseg.labels import Label, LabelSet
from medseg.verdict import OK, Verdict
from medseg.volume import LabelMap


@dataclass(frozen=True, slots=True)
class CaseScores:
    """One case: its labels' scores, or why there are none (``refused``, ``failed``)."""

    case: str
    labels: tuple[LabelScores, ...]
    verdict: Verdict = OK

    @property
    def was_scored(self) -> bool:
        """Whether the two label maps could be compared."""
        return self.verdict.status not in ("refused", "failed")

    def to_json(self) -> dict[str, Any]:
        """The case as it stands in the ``evaluate --json`` document."""
        return {
            "case": self.case,
            "verdict": self.verdict.status,
            "reasons": [reason.to_json() for reason in self.verdict.reasons],
            "labels": [label.to_json() for label in self.labels],
        }


def score_case(
    case: str, predicted: Path, reference: Path, settings: Settings, labels: LabelSet | None = None
) -> CaseScores:
    """Score one pair of files. Files that cannot be compared, or not be read, give a verdict that says why.

    Parameters
    ----------
    case
        What the case is called in the result.
    predicted, reference
        Any format that `medseg.read_labels` reads.
    settings
        What to measure.
    labels
        The labels to score, with their names. Without it: every label of either file, present or
        declared; the reference's name, unless only the prediction has one.
    """
    try:
        pred, ref = read_labels(predicted), read_labels(reference)
        _check_grids(pred, ref, predicted, reference)
        wanted, verdict = (tuple(labels), OK) if labels is not None else _merged(pred.labels, ref.labels)
        return CaseScores(case, score_labels(pred, ref, wanted, settings), verdict)
    except InputRefused as error:
        return CaseScores(case, (), Verdict.refusal(error))
    except MedsegError as error:  # a file that has gone, a choice of series that is missing
        code = re.sub(r"(?<=[a-z])(?=[A-Z])", "-", type(error).__name__).lower()
        return CaseScores(case, (), Verdict.of("refused", code, str(error)))
    except MemoryError:
        text = f"{predicted.name} and {reference.name}: not enough memory to compare them"
        return CaseScores(case, (), Verdict.of("failed", "out-of-memory", text))


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
