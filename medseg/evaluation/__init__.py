"""Metrics with stated rules for empty masks, and the statistics of a comparison."""

from __future__ import annotations

from medseg.evaluation.cases import CaseScores, Evaluation, evaluate
from medseg.evaluation.metrics import dice, dice_per_label, hd95, surface_dice
from medseg.evaluation.scores import LabelScores
from medseg.evaluation.statistics import (
    PairedGain,
    StudyFacts,
    agreement,
    bootstrap,
    bootstrap_difference,
    compare_groups,
    compare_paired,
    holm,
    methods_paragraph,
    paired_gain,
)

__all__ = [
    "CaseScores",
    "Evaluation",
    "LabelScores",
    "PairedGain",
    "StudyFacts",
    "agreement",
    "bootstrap",
    "bootstrap_difference",
    "compare_groups",
    "compare_paired",
    "dice",
    "dice_per_label",
    "evaluate",
    "hd95",
    "holm",
    "methods_paragraph",
    "paired_gain",
    "surface_dice",
]
