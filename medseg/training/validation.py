"""Scores on whole scans, by the same sliding window as inference."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from medseg.datasets import Case
from medseg.evaluation.metrics import dice_per_label
from medseg.inference.flips import Forward
from medseg.inference.sliding import predict_logits
from medseg.plans import Plan
from medseg.preprocess import cropped, foreground_box, prepare, restore
from medseg.training.cache import CachedCase
from medseg.training.scans import scan_of
from medseg.volume import LabelMap, Volume


@dataclass(frozen=True, slots=True)
class CaseScore:
    """Dice per label id of one case; None where neither map has the label."""

    case: str
    dice: dict[int, float | None]

    @property
    def mean(self) -> float | None:
        """Mean over the labels that occur."""
        return mean_of(list(self.dice.values()))


def score_cached(case: CachedCase, plan: Plan, forward: Forward) -> CaseScore:
    """Dice on the network's grid, where validation while training happens."""
    predicted = predict_logits(np.asarray(case.image), plan, forward).argmax(0)
    by_class = dice_per_label(predicted, np.asarray(case.classes), range(1, len(plan.class_ids)))
    return CaseScore(case.id, {plan.class_ids[index]: value for index, value in by_class.items()})


@dataclass(frozen=True, slots=True)
class SegmentedCase:
    """A case as the network segments it, beside what its label file says, all on the scan's own grid."""

    score: CaseScore
    volume: Volume
    reference: LabelMap
    predicted: LabelMap


def segment_case(case: Case, plan: Plan, forward: Forward) -> SegmentedCase:
    """Segment a case as inference does, and score it by Dice against the label file as it is."""
    volume, reference = scan_of(case, plan)
    box = foreground_box(volume, [plan])
    prepared = prepare(cropped(volume, box), plan)
    logits = restore(predict_logits(prepared.data, plan, forward), prepared.geometry, prepared.native)
    predicted = np.zeros(volume.geometry.shape, np.uint16)
    predicted[... if box is None else box] = np.array(plan.class_ids, np.uint16)[logits.argmax(0)]
    score = CaseScore(case.id, dice_per_label(predicted, reference.data, plan.label_set.ids))
    found = LabelMap(predicted, volume.geometry, plan.label_set)
    return SegmentedCase(score, volume, reference, found)


def mean_of(values: Sequence[float | None]) -> float | None:
    """Mean of what is there; None of nothing."""
    present = [value for value in values if value is not None]
    return float(np.mean(present)) if present else None


def label_means(scores: Sequence[CaseScore], ids: Sequence[int]) -> dict[int, float | None]:
    """Mean Dice of each label over the cases."""
    return {label: mean_of([score.dice[label] for score in scores]) for label in ids}
