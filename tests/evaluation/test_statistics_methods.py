"""The methods paragraph says what it is given, and nothing that does not add up."""

from __future__ import annotations

from importlib.metadata import version

import numpy as np
import pytest

from medseg.errors import UsageError
from medseg.evaluation.statistics import (
    LeftOut,
    StudyFacts,
    bootstrap,
    compare_paired,
    methods_paragraph,
    software_versions,
)

FACTS = StudyFacts(
    cases=210,
    analysed=198,
    failed=(LeftOut("truncated file", 6), LeftOut("not an image", 4)),
    excluded=(LeftOut("poor quality", 2),),
    model="hippocampus",
    model_sha256="9f2c41aa",
    versions=(("medseg", "0.1.0"), ("Python", "3.11.7")),
    parameters=(("backend", "openvino"), ("precision", "float32")),
    definitions=("Volumes are voxel counts times the volume of a voxel.",),
    analyses=("Means are given with intervals.", "Means are given with intervals."),
)


def test_the_paragraph_reads_as_it_is_pasted():
    assert methods_paragraph(FACTS) == (
        "Structures were segmented with the model hippocampus (SHA-256 9f2c41aa) with these settings: "
        "backend: openvino and precision: float32. Of 210 cases, 198 were analysed; 10 could not be "
        "processed (truncated file: 6, not an image: 4); 2 were excluded (poor quality: 2). Volumes are "
        "voxel counts times the volume of a voxel. Means are given with intervals. "
        "Software: medseg 0.1.0 and Python 3.11.7."
    )


def test_a_study_without_failures_says_that_there_were_none():
    facts = StudyFacts(cases=1, analysed=1, model="m", model_sha256="0", versions=(("medseg", "1"),))
    assert "Of 1 case, 1 was analysed; no case failed; none was excluded." in methods_paragraph(facts)


def test_counts_that_do_not_add_up_are_refused():
    with pytest.raises(UsageError, match=r"210 cases, 199 analysed, 10 failed, 2 excluded"):
        StudyFacts(
            cases=210, analysed=199, failed=FACTS.failed, excluded=FACTS.excluded,
            model="m", model_sha256="0", versions=(),
        )  # fmt: skip


def test_results_bring_their_own_sentences():
    a, b = np.random.default_rng(0).normal(size=(2, 20))
    told = [bootstrap(a).methods_text, compare_paired(a, b, zeros="wilcoxon").methods_text]
    paragraph = methods_paragraph(
        StudyFacts(
            cases=20,
            analysed=20,
            model="m",
            model_sha256="0",
            versions=software_versions(),
            analyses=tuple(told),
        )
    )
    assert "BCa bootstrap intervals over cases (10000 resamples, seed 0)" in paragraph
    assert "differences of zero by Wilcoxon's method" in paragraph
    assert f"scipy {version('scipy')}" in paragraph
