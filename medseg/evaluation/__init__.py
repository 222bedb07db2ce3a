"""Metrics with stated rules for empty masks, and the statistics of a comparison."""

from __future__ import annotations

from medseg.evaluation.cases import CaseScores
from medseg.evaluation.lesions import LesionCounts, LesionRules, detect_lesions
from medseg.evaluation.metrics import (
    dice,
    dice_per_label,
    hausdorff,
    hd95,
    mean_surface_distance,
    surface_dice,
    volumetric_similarity,
)
from medseg.evaluation.run import Evaluation, evaluate
from medseg.evaluation.scores import LabelScores
from medseg.evaluation.settings import Settings
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
from medseg.evaluation.stream import evaluate_pairs
from medseg.evaluation.table import score_table

__all__ = [
    "CaseScores",
    "Evaluation",
    "LabelScores",
    "LesionCounts",
    "LesionRules",
    "PairedGain",
    "Settings",
    "StudyFacts",
    "agreement",
    "bootstrap",
    "bootstrap_difference",
    "compare_groups",
    "compare_paired",
    "detect_lesions",
    "dice",
    "dice_per_label",
    "evaluate",
    "evaluate_pairs",
    "hausdorff",
    "hd95",
    "holm",
    "mean_surface_distance",
    "methods_paragraph",
    "paired_gain",
    "score_table",
    "surface_dice",
    "volumetric_similarity",
]
