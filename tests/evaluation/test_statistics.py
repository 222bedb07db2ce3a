"""Paired comparison against known truths and scipy's own bootstrap."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from medseg.errors import UsageError
from medseg.evaluation.statistics import paired_gain


def test_a_known_gain_is_found_with_its_interval():
    rng = np.random.default_rng(4)
    baseline = rng.normal(0.88, 0.03, 40)
    model = baseline + rng.normal(0.01, 0.004, 40)
    gain = paired_gain(model, baseline)
    assert gain.mean == pytest.approx((model - baseline).mean(), abs=1e-15)
    assert gain.low < 0.01 < gain.high
    assert gain.low > 0
    assert gain.p_wilcoxon < 1e-6
    assert gain.wins + gain.losses + gain.ties == gain.n == 40


def test_the_interval_is_that_of_scipys_bca_bootstrap():
    gain = np.random.default_rng(5).gamma(1.0, 0.02, 40) - 0.01  # skewed, so that BCa differs from percentile
    ours = paired_gain(gain, np.zeros(40), resamples=40_000)
    theirs = stats.bootstrap((gain,), np.mean, n_resamples=40_000, method="BCa", rng=np.random.default_rng(9))
    width = theirs.confidence_interval.high - theirs.confidence_interval.low
    assert ours.low == pytest.approx(theirs.confidence_interval.low, abs=0.03 * width)
    assert ours.high == pytest.approx(theirs.confidence_interval.high, abs=0.03 * width)


def test_the_interval_covers_the_truth_about_as_often_as_it_says():
    rng = np.random.default_rng(6)
    covered = 0
    for n in range(300):
        gain = paired_gain(rng.normal(0.02, 0.05, 40), np.zeros(40), resamples=800, seed=n)
        covered += gain.low <= 0.02 <= gain.high
    assert 0.90 <= covered / 300 <= 0.98


def test_the_same_seed_gives_the_same_interval():
    a, b = np.random.default_rng(7).random((2, 12))
    assert paired_gain(a, b, seed=3) == paired_gain(a, b, seed=3)
    assert paired_gain(a, b, seed=3) != paired_gain(a, b, seed=4)


def test_swapping_the_methods_turns_the_mean_round():
    a, b = np.random.default_rng(8).random((2, 15))
    there, back = paired_gain(a, b), paired_gain(b, a)
    assert back.mean == -there.mean
    assert back.p_wilcoxon == pytest.approx(there.p_wilcoxon)
    assert (back.wins, back.losses) == (there.losses, there.wins)


def test_equal_scores_show_no_gain():
    gain = paired_gain([0.9, 0.8, 0.7], [0.9, 0.8, 0.7])
    assert (gain.mean, gain.low, gain.high, gain.p_wilcoxon, gain.ties) == (0.0, 0.0, 0.0, 1.0, 3)


@pytest.mark.parametrize(
    ("a", "b"),
    [([0.1, 0.2], [0.1]), ([0.1], [0.2]), ([0.1, np.nan], [0.1, 0.2]), ([[0.1, 0.2]], [[0.1, 0.2]])],
)
def test_scores_that_do_not_pair_up_are_refused(a, b):
    with pytest.raises(UsageError):
        paired_gain(a, b)
