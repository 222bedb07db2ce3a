"""Group comparison against statsmodels' formulas, scipy, pingouin, HC3 written out, and known truths."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from statsmodels.formula.api import ols

from medseg.errors import UsageError
from medseg.evaluation.statistics import LeftOut, compare_groups


def _study(n: int = 60) -> pd.DataFrame:
    """Hippocampal volumes (mL): AD 0.8 and MCI 0.3 below CN at equal age and head size."""
    rng = np.random.default_rng(60)
    table = pd.DataFrame({
        "g": np.repeat(["AD", "CN", "MCI"], n // 3),
        "age": rng.normal(72, 7, n),
        "icv": rng.normal(1500, 120, n),
    })  # fmt: skip
    effect = table["g"].map({"AD": -0.8, "CN": 0.0, "MCI": -0.3})
    table["v"] = (
        6 - 0.03 * (table["age"] - 72) + 0.002 * (table["icv"] - 1500) + effect + rng.normal(0, 0.5, n)
    )
    table["sex"] = np.where(rng.random(n) < 0.5, "f", "m")
    table["site"] = rng.integers(1, 4, n)
    return table


def test_the_overall_test_and_effect_are_those_of_pingouin():
    # pingouin 0.7.0: ancova(table, dv="v", between="g", covar=["age", "icv"]) and
    # compute_effsize(v of AD, v of CN, eftype="cohen").
    table = _study()
    found = compare_groups(table, "v", "g", ["age", "icv"], errors="classical")
    assert found.overall.f == pytest.approx(18.31572402757863, rel=1e-9)
    assert (found.overall.between, found.overall.within) == (2, 55)
    assert found.overall.p == pytest.approx(8.012145765464351e-07, rel=1e-9)
    plain = compare_groups(table[table["g"] != "MCI"], "v", "g", errors="classical")
    assert plain.contrasts[0].effect == pytest.approx(-2.0233173248458867, rel=1e-12)


@pytest.mark.parametrize(("errors", "theirs"), [("hc3", "HC3"), ("classical", "nonrobust")])
def test_contrasts_and_adjusted_means_are_those_of_statsmodels_formulas(errors, theirs):
    table = _study()
    found = compare_groups(
        table, "v", "g", ["age", "sex", "icv", "site"], categorical=["site"], errors=errors, confidence=0.9
    )
    fit = ols("v ~ C(g) + age + C(sex) + icv + C(site)", table).fit(cov_type=theirs, use_t=True)
    wanted = {
        ("AD", "CN"): fit.t_test("-C(g)[T.CN] = 0"),
        ("AD", "MCI"): fit.t_test("-C(g)[T.MCI] = 0"),
        ("CN", "MCI"): fit.t_test("C(g)[T.CN] - C(g)[T.MCI] = 0"),
    }
    for contrast in found.contrasts:
        test = wanted[contrast.groups]
        low, high = test.conf_int(0.1).ravel()
        assert contrast.difference == pytest.approx(test.effect.item(), rel=1e-9)
        assert (contrast.interval.low, contrast.interval.high) == pytest.approx((low, high), rel=1e-8)
        assert contrast.p == pytest.approx(test.pvalue.item(), rel=1e-6)
        assert contrast.effect == pytest.approx(test.effect.item() / fit.mse_resid**0.5, rel=1e-9)
    for mean in found.means:  # what the model says if all cases were of this group
        assert mean.mean == pytest.approx(fit.predict(table.assign(g=mean.group)).mean(), rel=1e-9)
    overall = fit.f_test("C(g)[T.CN] = 0, C(g)[T.MCI] = 0")
    assert found.overall.f == pytest.approx(float(overall.fvalue), rel=1e-8)
    ordered = sorted(found.contrasts, key=lambda one: one.p)
    assert [one.p_holm for one in ordered] == pytest.approx(
        np.minimum(1, np.maximum.accumulate([one.p * k for one, k in zip(ordered, (3, 2, 1), strict=True)]))
    )


def test_without_covariates_two_groups_are_a_t_test_and_three_an_analysis_of_variance():
    table = _study()
    volumes = [table["v"][table["g"] == name].to_numpy() for name in ("AD", "CN", "MCI")]
    three = compare_groups(table, "v", "g", errors="classical")
    assert three.overall.p == pytest.approx(stats.f_oneway(*volumes).pvalue, rel=1e-9)
    two = compare_groups(table[table["g"] != "MCI"], "v", "g", errors="classical")
    wanted = stats.ttest_ind(volumes[0], volumes[1])
    ends = wanted.confidence_interval(0.95)
    assert two.contrasts[0].p == pytest.approx(wanted.pvalue, rel=1e-9)
    assert (two.contrasts[0].interval.low, two.contrasts[0].interval.high) == pytest.approx(ends, rel=1e-9)
    assert two.contrasts[0].p_holm == two.contrasts[0].p
    assert two.overall is None


def test_hc3_is_the_sandwich_written_out():
    table = _study()[:40]
    found = compare_groups(table, "v", "g", ["age"])
    x = np.column_stack([np.ones(40), table["g"] == "CN", table["age"]])
    y = table["v"].to_numpy()
    inverse = np.linalg.inv(x.T @ x)
    residual = (y - x @ inverse @ x.T @ y) / (1 - np.einsum("ij,jk,ik->i", x, inverse, x))
    error = (inverse @ (x.T * residual**2) @ x @ inverse)[1, 1] ** 0.5
    width = found.contrasts[0].interval.high - found.contrasts[0].interval.low
    assert width == pytest.approx(2 * error * stats.t.ppf(0.975, 37), rel=1e-9)


def test_adjustment_takes_away_what_age_alone_explains():
    rng = np.random.default_rng(11)
    age = np.r_[rng.normal(78, 4, 60), rng.normal(66, 4, 60)]
    volume = 8 - 0.05 * age + rng.normal(0, 0.2, 120)
    table = pd.DataFrame({"volume": volume, "age": age, "patient": [True] * 60 + [False] * 60})
    raw = compare_groups(table, "volume", "patient").contrasts[0]
    adjusted = compare_groups(table, "volume", "patient", ["age"]).contrasts[0]
    assert raw.groups == ("False", "True")
    assert raw.interval.low > 0.3
    assert adjusted.interval.low < 0 < adjusted.interval.high


def test_scale_of_a_covariate_changes_nothing():
    table = _study()
    there = compare_groups(table, "v", "g", ["icv", "age"])
    back = compare_groups(table.assign(icv=table["icv"] * 1e9 + 1e13), "v", "g", ["icv", "age"])
    assert back.contrasts[0].p == pytest.approx(there.contrasts[0].p, rel=1e-6)


def test_incomplete_cases_are_left_out_by_reason_and_categories_keep_their_order():
    table = _study().astype({"age": object})
    table["case_id"] = [f"sub-{n:02d}" for n in range(60)]
    table.loc[3, "v"] = np.nan
    table.loc[4, "age"] = None
    table.loc[5, ["v", "g"]] = None
    table["g"] = pd.Categorical(table["g"], categories=["CN", "unused", "MCI", "AD"])
    found = compare_groups(table, "v", "g", ["age"], reasons={"sub-03": "refused: tilted gantry"})
    assert (found.counts.given, found.counts.used) == (60, 57)
    assert found.counts.left_out == (
        LeftOut("no age", 1),
        LeftOut("no v", 1),
        LeftOut("refused: tilted gantry", 1),
    )
    assert [(mean.group, mean.n) for mean in found.means] == [("CN", 20), ("MCI", 20), ("AD", 17)]


@pytest.mark.parametrize(
    ("change", "covariates", "message"),
    [
        ({"age": 70.0}, ["age"], "covariate age: 70.0 in every complete case.*drop it"),
        ({"scanner": lambda t: t["g"] + "!"}, ["age", "scanner"], "scanner is collinear: g and age"),
        ({"months": lambda t: 12 * t["age"] + 3}, ["age", "months"], "months is collinear.*drop months"),
        ({"site": ["a"] * 59 + ["b"]}, ["site"], "a single case has b.*merge"),
        ({"g": ["x"] * 57 + ["y"] * 3}, [], r"fewer than 5 complete cases in y \(3\): merge"),
        ({"g": "x"}, [], "only x among the complete cases"),
        ({"site": [f"s{n // 2}" for n in range(60)]}, ["site", "age"], "degrees of freedom|collinear"),
        ({"v": 3.0}, [], "v is 3 in every case"),
        ({"icv": lambda t: 2 * t["v"]}, ["icv"], "fit it exactly"),
        ({"case_id": ["a", *range(58), "a"]}, [], r"case ids repeat \(a\).*one label's rows"),
        ({}, ["weight"], "columns weight are absent; the table has"),
        ({}, ["v"], "different columns"),
        ({"case_id": range(60)}, ["case_id"], "different columns"),
    ],
)  # fmt: skip
def test_designs_that_cannot_answer_are_refused_with_the_cure(change, covariates, message):
    with pytest.raises(UsageError, match=message):
        compare_groups(_study().assign(**change), "v", "g", covariates)


def test_a_case_that_a_covariate_sets_apart_from_all_others_is_refused():
    with pytest.raises(UsageError, match="1 cases are each fitted exactly"):
        compare_groups(_study().assign(lesions=[0] * 59 + [5]), "v", "g", ["lesions"])
