"""Statistics of a study: intervals, paired comparisons, agreement, group differences, and their words.

Pure functions of one value per case, missing ones included. Every result is frozen, knows how many cases
it left out and why (``counts``), says itself in a sentence (``text``), says how it was made
(``methods_text``), and gives plain values (``to_json``) in which a missing number is None with a reason.
"""

from __future__ import annotations

from medseg.evaluation.statistics.bland_altman import BlandAltman
from medseg.evaluation.statistics.gain import PairedGain, paired_gain
from medseg.evaluation.statistics.groups import (
    AdjustedMean,
    Contrast,
    GroupComparison,
    OverallTest,
    compare_groups,
)
from medseg.evaluation.statistics.icc import IntraclassCorrelation
from medseg.evaluation.statistics.intervals import BootstrapInterval, bootstrap, bootstrap_difference
from medseg.evaluation.statistics.methods import StudyFacts, methods_paragraph, software_versions
from medseg.evaluation.statistics.multiplicity import AdjustedP, HolmResult, holm
from medseg.evaluation.statistics.paired import PairedComparison, compare_paired
from medseg.evaluation.statistics.raters import Agreement, agreement
from medseg.evaluation.statistics.results import Counts, Interval, LeftOut

__all__ = [
    "AdjustedMean",
    "AdjustedP",
    "Agreement",
    "BlandAltman",
    "BootstrapInterval",
    "Contrast",
    "Counts",
    "GroupComparison",
    "HolmResult",
    "Interval",
    "IntraclassCorrelation",
    "LeftOut",
    "OverallTest",
    "PairedComparison",
    "PairedGain",
    "StudyFacts",
    "agreement",
    "bootstrap",
    "bootstrap_difference",
    "compare_groups",
    "compare_paired",
    "holm",
    "methods_paragraph",
    "paired_gain",
    "software_versions",
]
