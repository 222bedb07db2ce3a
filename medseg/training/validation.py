"""Scores on whole scans, by the same sliding window as inference."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medseg.datasets import Case
from medseg.evaluation.metrics import dice, dice_per_label
from medseg.inference.finish import ids_of
from medseg.inference.flips import Forward
from medseg.inference.sliding import predict_logits
from medseg.plans import Plan
from medseg.postprocess import apply_steps
from medseg.preprocess import cropped, foreground_box, prepare, restore
from medseg.training.cache import CachedCase
from medseg.training.scans import scan_of
from medseg.volume import LabelMap, Volume, holds_any


@dataclass(frozen=True, slots=True)
class CaseScore:
    """Dice of one case by label id, or by number of region (the plan's ``scored``).

    None where a label or region is neither found nor there.
    """

    case: str
    dice: dict[int, float | None]

    @property
    def mean(self) -> float | None:
        """Mean over the labels that occur."""
        return mean_of(list(self.dice.values()))


def score_cached(case: CachedCase, plan: Plan, forward: Forward) -> CaseScore:
    """Dice on the network's grid, where validation while training happens."""
    logits = predict_logits(np.asarray(case.image), plan, forward)
    ids = np.array([*plan.class_ids, plan.ignore_label or 0], np.uint16)[case.classes]
    return CaseScore(case.id, _dice(logits, ids_of(logits, plan, 0.0), ids, plan))


@dataclass(frozen=True, slots=True)
class SegmentedCase:
    """A case as the network segments it, beside what its label file says, all on the scan's own grid."""

    score: CaseScore
    volume: Volume
    reference: LabelMap
    predicted: LabelMap


def segment_case(case: Case, plan: Plan, forward: Forward) -> SegmentedCase:
    """Segment a case as inference does, and score it by Dice against the label file as it is.

    The plan's post-processing is done. ``reference`` holds the ignore label where nobody judged; those
    voxels are in no score.
    """
    volume, reference = scan_of(case, plan)
    box = foreground_box(volume, [plan])
    prepared = prepare(cropped(volume, box), plan)
    logits = restore(predict_logits(prepared.data, plan, forward), prepared.geometry, prepared.native)
    predicted = np.zeros(volume.geometry.shape, np.uint16)
    predicted[... if box is None else box] = ids_of(logits, plan, 0.0)
    found = LabelMap(predicted, volume.geometry, plan.label_set)
    if plan.inference.steps:
        found = apply_steps(found, plan.inference.steps, volume.data)
    dice_by = _dice(logits, found.data, reference.data, plan, box, cleaned=bool(plan.inference.steps))
    score = CaseScore(case.id, dice_by)
    return SegmentedCase(score, volume, reference, found)


def _dice(
    logits: NDArray[np.float32],
    predicted: NDArray[np.uint16],
    reference: NDArray[Any],
    plan: Plan,
    box: tuple[slice, ...] | None = None,
    *,
    cleaned: bool = False,
) -> dict[int, float | None]:
    """Dice of all that the plan scores, over the voxels that somebody judged.

    Parameters
    ----------
    logits
        float32 (K, ...), of ``box`` where there is one, outside of which nothing was found.
    predicted, reference
        Label ids on one grid, in ``reference`` also the ignore label.
    cleaned
        ``predicted`` was post-processed: a region is then what holds one of its labels, no longer where its
        logit is above 0.
    """
    known = reference != plan.ignore_label if plan.ignore_label is not None else None
    if not plan.regions:
        if known is not None:
            predicted, reference = predicted[known], reference[known]
        return dice_per_label(predicted, reference, plan.label_set.ids)
    scores = {}
    for number, (region, channel) in enumerate(zip(plan.regions, logits, strict=True), start=1):
        found = np.zeros(reference.shape, np.bool_)
        if cleaned:
            found = holds_any(predicted, region.labels)
        else:
            found[... if box is None else box] = channel > 0
        there = holds_any(reference, region.labels)
        scores[number] = dice(found, there) if known is None else dice(found[known], there[known])
    return scores


def mean_of(values: Sequence[float | None]) -> float | None:
    """Mean of what is there; None of nothing."""
    present = [value for value in values if value is not None]
    return float(np.mean(present)) if present else None


def label_means(scores: Sequence[CaseScore], ids: Sequence[int]) -> dict[int, float | None]:
    """Mean Dice of each label over the cases."""
    return {label: mean_of([score.dice[label] for score in scores]) for label in ids}
