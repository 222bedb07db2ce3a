"""Bootstrap intervals against scipy's, and data for which there are none."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from medseg.errors import UsageError
from medseg.evaluation.statistics import bootstrap, bootstrap_difference


@pytest.mark.parametrize("n", [7, 20, 41])
@pytest.mark.parametrize("statistic", ["mean", "median"])
@pytest.mark.parametrize(("method", "theirs"), [("bca", "BCa"), ("percentile", "percentile")])
def test_the_interval_is_scipys_for_the_same_seed(n, statistic, method, theirs):
    values = np.random.default_rng(n).gamma(1.0, 2.0, n)
    found = bootstrap(values, statistic, method=method, resamples=2000, seed=5, confidence=0.9)
    wanted = stats.bootstrap(
        (values,),
        getattr(np, statistic),
        n_resamples=2000,
        confidence_level=0.9,
        method=theirs,
        rng=np.random.default_rng(5),
    ).confidence_interval
    assert found.value == pytest.approx(getattr(np, statistic)(values), abs=1e-15)
    assert (found.interval.low, found.interval.high) == pytest.approx(tuple(wanted), abs=1e-12)


def test_replicates_are_the_same_however_many_are_drawn_together(monkeypatch):
    values = np.random.default_rng(3).normal(size=33)
    together = bootstrap(values, resamples=1000)
    monkeypatch.setattr("medseg.evaluation.statistics.resampling._AT_ONCE", 33 * 7)
    assert bootstrap(values, resamples=1000) == together


def test_a_difference_is_the_bootstrap_of_the_differences():
    a, b = np.random.default_rng(4).gamma(2.0, size=(2, 25))
    paired = bootstrap_difference(a, b, "median", names=("new", "old"), unit="mL")
    assert paired.interval.low == pytest.approx(bootstrap(a - b, "median").interval.low, abs=1e-11)
    assert "difference (new minus old)" in paired.text


def test_equal_values_have_no_interval_and_say_why():
    found = bootstrap([0.9] * 6)
    assert (found.value, found.interval.low) == (pytest.approx(0.9), None)
    assert "all 6 values are equal" in found.interval.missing
    assert "not available: all 6 values are equal" in found.text


@pytest.mark.parametrize("values", [[1, 2, 2, 2, 5], [1, 2, 2, 2, 2, 5], [0, 1, 1, 9, 1, 0, 5]])
def test_a_median_that_no_single_case_moves_has_no_bca_interval_but_a_percentile_one(values):
    assert "method='percentile'" in bootstrap(values, "median").interval.missing
    assert bootstrap(values, "median", method="percentile").interval.missing is None


@pytest.mark.parametrize(
    "options",
    [{"statistic": "mode"}, {"method": "BCa"}, {"confidence": 95}, {"resamples": 10}],
    ids=str,
)
def test_unknown_options_are_refused_with_what_is_known(options):
    with pytest.raises(UsageError, match="expected"):
        bootstrap([1, 2, 3, 4, 5], **options)
