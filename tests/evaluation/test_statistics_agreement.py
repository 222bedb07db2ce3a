"""Agreement against published examples, pingouin, scipy, and simulated pivots."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from medseg.errors import UsageError
from medseg.evaluation.statistics import agreement

# Bland & Altman 1986, doi:10.1016/S0140-6736(86)90837-8, table 1: peak flow (L/min) by two meters.
LARGE = [494, 395, 516, 434, 476, 557, 413, 442, 650, 433, 417, 656, 267, 478, 178, 423, 427]
MINI = [512, 430, 520, 428, 500, 600, 364, 380, 658, 445, 432, 626, 260, 477, 259, 350, 451]

# Volumes in mL by two raters.
A = [3.12, 2.87, 3.55, 2.41, 3.90, 3.33, 2.95, 3.71, 2.60, 3.20, 3.48, 2.78]
B = [3.05, 2.96, 3.41, 2.33, 3.88, 3.33, 2.80, 3.52, 2.71, 3.08, 3.30, 2.69]


def test_the_example_of_bland_and_altman_comes_out_as_published():
    found = agreement(LARGE, MINI, limits="approximate", unit="L/min").bland_altman
    assert (round(found.bias, 1), round(found.deviation, 1)) == (-2.1, 38.8)
    assert found.bias_interval.low == pytest.approx(-22.0, abs=0.1)
    assert found.bias_interval.high == pytest.approx(17.8, abs=0.1)
    # They take 2 for 1.96 and 3 s^2 / n for the variance of a limit.
    assert (found.lower, found.upper) == pytest.approx((-79.7, 75.5), abs=1.7)
    assert (found.lower_interval.low, found.lower_interval.high) == pytest.approx((-114.3, -45.1), abs=2.5)
    assert (found.upper_interval.low, found.upper_interval.high) == pytest.approx((40.9, 110.1), abs=2.5)


@pytest.mark.parametrize("n", [5, 17, 120])
@pytest.mark.parametrize("confidence", [0.9, 0.95])
def test_exact_intervals_of_the_limits_are_those_of_the_simulated_pivot(n, confidence):
    rng = np.random.default_rng(n)
    means, deviations = rng.normal(size=400_000) / n**0.5, np.sqrt(rng.chisquare(n - 1, 400_000) / (n - 1))
    tails = (1 - confidence) / 2, (1 + confidence) / 2
    low, high = np.quantile((stats.norm.ppf(0.975) - means) / deviations, tails)
    a = rng.normal(size=n)
    found = agreement(a, np.zeros(n), confidence=confidence).bland_altman
    upper = [
        (end - found.bias) / found.deviation for end in (found.upper_interval.low, found.upper_interval.high)
    ]
    lower = [
        (found.bias - end) / found.deviation for end in (found.lower_interval.high, found.lower_interval.low)
    ]
    assert upper == pytest.approx([low, high], rel=0.01)
    assert lower == pytest.approx(upper, rel=1e-9)


def test_proportional_bias_is_the_regression_of_differences_on_averages():
    truth = np.random.default_rng(7).normal(3.0, 0.6, 40)
    a, b = 1.3 * truth, truth + np.random.default_rng(8).normal(0, 0.1, 40)
    found = agreement(a, b).bland_altman
    wanted = stats.linregress((a + b) / 2, a - b)
    assert (found.slope, found.slope_p) == pytest.approx((wanted.slope, wanted.pvalue), rel=1e-12)
    assert found.slope_interval.low < 2 * 0.3 / 2.3 < found.slope_interval.high  # the truth
    assert found.slope_p < 1e-6


@pytest.mark.parametrize(
    ("form", "value", "low", "high"),
    [
        # pingouin 0.7.0: intraclass_corr(table, targets="case", raters="rater", ratings="v"),
        # "CI95" unrounded.
        ("A,1", 0.9650546226091772, 0.83223179, 0.99078537),
        ("C,1", 0.9752050679409149, 0.91643268, 0.99279852),
    ],
)
def test_icc_is_that_of_pingouin(form, value, low, high):
    found = agreement(A, B, icc=form).icc
    assert found.value == pytest.approx(value, abs=1e-12)
    assert (found.interval.low, found.interval.high) == pytest.approx((low, high), abs=1e-8)


def test_a_constant_difference_counts_against_agreement_but_not_against_consistency():
    b = np.asarray(A) + 0.5
    absolute, consistent = agreement(A, b).icc, agreement(A, b, icc="C,1").icc
    assert consistent.value == pytest.approx(1.0)
    spread = np.var(A, ddof=1)
    assert absolute.value == pytest.approx(spread / (spread + 0.5**2 / 2))
    assert "no error is left" in consistent.interval.missing


def test_equal_raters_agree_wholly_without_intervals():
    found = agreement(A, A)
    assert (found.bland_altman.bias, found.bland_altman.lower, found.icc.value) == (0.0, 0.0, 1.0)
    for interval in (
        found.bland_altman.upper_interval,
        found.bland_altman.slope_interval,
        found.icc.interval,
    ):
        assert interval.missing
    assert found.bland_altman.slope_p is None


def test_icc_of_constant_values_is_missing():
    found = agreement([2.0] * 6, [2.0] * 6)
    assert found.icc.value is None
    assert "no variation" in found.icc.missing
    assert found.bland_altman.slope is None


def test_unknown_forms_are_refused_with_those_there_are():
    with pytest.raises(UsageError, match="'A,1', 'C,1'"):
        agreement(A, B, icc="A,k")
    with pytest.raises(UsageError, match="'exact', 'approximate'"):
        agreement(A, B, limits="wide")
