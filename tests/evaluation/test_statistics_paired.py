"""Paired comparison and Holm against scipy, statsmodels, pingouin, and every Walsh average written out."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.multitest import multipletests

from medseg.errors import UsageError
from medseg.evaluation.statistics import compare_paired, holm

# Volumes in mL by two raters.
A = [3.12, 2.87, 3.55, 2.41, 3.90, 2.95, 3.71, 2.60, 3.20, 3.48, 2.78]
B = [3.05, 2.96, 3.41, 2.33, 3.88, 2.80, 3.52, 2.71, 3.08, 3.30, 2.69]


def test_p_and_effect_are_those_of_pingouin():
    # pingouin 0.7.0: wilcoxon(A, B) gave p_val 0.0439453125 and RBC 0.6818181818181819 (n = 11, one tie).
    found = compare_paired(A, B)
    assert found.p == pytest.approx(0.0439453125, abs=1e-12)
    assert found.effect == pytest.approx(0.6818181818181819, abs=1e-12)
    assert (found.larger, found.smaller, found.equal) == (9, 2, 0)


@pytest.mark.parametrize("n", [8, 30, 80, 300])
def test_p_is_scipys_without_ties_and_beyond_200_pairs(n):
    differences = np.random.default_rng(n).normal(0.15, 1.0, n)
    wanted = stats.wilcoxon(differences, method="exact" if n <= 200 else "asymptotic", correction=n > 200)
    found = compare_paired(differences, np.zeros(n))
    assert found.p == pytest.approx(wanted.pvalue, rel=1e-9)
    assert found.p_method == "exact" if n <= 200 else found.p_method.startswith("normal approximation")


@pytest.mark.parametrize("zeros", ["pratt", "wilcoxon"])
def test_with_ties_and_zeros_p_is_the_share_of_all_signs(zeros):
    differences = np.array([0.0, 0.5, 0.5, -0.5, 1.0, 1.5, -1.0, 2.0, 0.0, 2.0, 2.5])
    kept = differences if zeros == "pratt" else differences[differences != 0]
    ranks = stats.rankdata(np.abs(kept))[kept != 0]
    sums = np.array(list(product([0, 1], repeat=len(ranks)))) @ ranks
    observed = ranks[kept[kept != 0] > 0].sum()
    wanted = 2 * min((sums <= observed).mean(), (sums >= observed).mean())
    assert compare_paired(differences, np.zeros(11), zeros=zeros).p == pytest.approx(wanted, rel=1e-12)


@pytest.mark.parametrize("zeros", ["pratt", "wilcoxon"])
def test_with_ties_and_zeros_the_exact_p_is_near_scipys_approximation(zeros):
    differences = np.round(np.random.default_rng(6).normal(0.1, 1.0, 120) * 2) / 2
    kept = differences if zeros == "pratt" else differences[differences != 0]
    wanted = stats.wilcoxon(kept, zero_method="pratt", method="asymptotic", correction=True).pvalue
    assert compare_paired(differences, np.zeros(120), zeros=zeros).p == pytest.approx(wanted, rel=0.01)


def test_zeros_are_ranked_first_by_pratt_and_dropped_first_by_wilcoxon():
    differences = [0.0, 0.0, 1.0, -2.0, 3.0, 4.0]
    pratt = compare_paired(differences, [0.0] * 6)  # ranks 3, 4, 5, 6
    wilcoxon = compare_paired(differences, [0.0] * 6, zeros="wilcoxon")  # ranks 1, 2, 3, 4
    assert pratt.effect == pytest.approx((3 + 5 + 6 - 4) / 18)
    assert wilcoxon.effect == pytest.approx((1 + 3 + 4 - 2) / 10)
    assert pratt.equal == 2


def test_differences_of_decimal_numbers_tie_although_binary_ones_do_not():
    assert 0.3 - 0.2 != 0.2 - 0.1
    found = compare_paired([0.3, 0.2, 0.5, 0.6, 0.7], [0.2, 0.3, 0.1, 0.3, 0.5])
    assert found.effect == pytest.approx((1.5 + 5 + 4 + 3 - 1.5) / 15)


@pytest.mark.parametrize(("n", "decimals"), [(6, 9), (13, 9), (20, 1), (51, 9), (230, 2)])
def test_hodges_lehmann_is_the_median_of_all_walsh_averages(n, decimals):
    differences = np.round(np.random.default_rng(n).gamma(2.0, 1.0, n) - 1.5, decimals)
    averages = np.sort([(x + y) / 2 for i, x in enumerate(differences) for y in differences[i:]])
    found = compare_paired(differences, np.zeros(n))
    assert found.difference == pytest.approx(np.median(averages), abs=1e-12)
    assert np.abs(averages - found.interval.low).min() < 1e-12
    assert np.abs(averages - found.interval.high).min() < 1e-12


@pytest.mark.parametrize("n", [6, 9, 12])
def test_the_interval_holds_just_what_the_exact_test_does_not_reject(n):
    differences = np.random.default_rng(n).normal(0.4, 1.0, n)
    signs = np.array(list(product([0, 1], repeat=n)))
    sums = signs @ np.arange(1, n + 1)
    found = compare_paired(differences, np.zeros(n))
    width = found.interval.high - found.interval.low
    for end, outward in ((found.interval.low, -1), (found.interval.high, 1)):
        for step, kept in ((1e-9, False), (-1e-9, True)):
            moved = differences - (end + outward * step * width)
            ranks = stats.rankdata(np.abs(moved))
            w = ranks[moved > 0].sum()
            p = min(1.0, 2 * min((sums <= w).mean(), (sums >= w).mean()))
            assert (p > 0.05) == kept


def test_five_pairs_have_no_interval_of_95_percent_and_say_so():
    found = compare_paired([1, 2, 3, 4, 5], [0, 0, 0, 0, 0])
    assert "5 pairs allow 93.75 % at most" in found.interval.missing
    assert compare_paired([1, 2, 3, 4, 5], [0] * 5, confidence=0.9).interval.low == 1.0


def test_swapping_turns_difference_and_effect_round():
    there, back = compare_paired(A, B), compare_paired(B, A)
    assert back.difference == pytest.approx(-there.difference, abs=1e-12)
    assert back.interval.low == pytest.approx(-there.interval.high, abs=1e-12)
    assert (back.effect, back.p) == (-there.effect, there.p)


def test_equal_raters_show_nothing():
    found = compare_paired(A, A)
    assert (found.p, found.effect, found.difference, found.equal) == (1.0, 0.0, 0.0, 11)
    assert found.p_method == "all differences are zero"


def test_holm_is_that_of_statsmodels_and_missing_tests_do_not_count():
    p = np.random.default_rng(5).random(12) ** 3
    p[3] = p[7]
    wanted = multipletests(p, method="holm")[1]
    named = {f"label {n}": float(one) for n, one in enumerate(p)}
    assert [one.adjusted for one in holm(named).family] == pytest.approx(wanted, abs=1e-15)
    with_missing = holm({"absent": None, **named, "failed": float("nan")})
    assert with_missing.tests == 12
    assert with_missing.family[0].missing
    assert [one.adjusted for one in with_missing.family[1:-1]] == pytest.approx(wanted, abs=1e-15)


def test_holm_refuses_what_is_no_p():
    with pytest.raises(UsageError, match=r"p of left: 1\.2"):
        holm({"left": 1.2})
