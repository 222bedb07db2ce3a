"""The calibration finds a known relation, says how good it is, and does not flatter what it never saw."""

from __future__ import annotations

import subprocess
import sys
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from medseg.labels import LabelSet
from medseg.models import Quality
from medseg.quality import check_quality, estimate_quality, fit_quality

Array = NDArray[np.float64]


def true_dice(raw: Any, label: int) -> Any:
    """What each label's Dice is at a confidence: rising, curved, another for each label."""
    return 0.9 * raw ** (1 + label / 4) - 0.02 * label


def simulated(
    cases: int = 150, noise: float = 0.01, seed: int = 0, labels: tuple[int, ...] = (1, 4, 9)
) -> tuple[list[dict[int, float | None]], list[dict[int, float | None]]]:
    generator = np.random.default_rng(seed)
    raw, dice = [], []
    for _ in range(cases):
        x = {label: float(generator.uniform(0.6, 0.98)) for label in labels}
        y = {i: float(np.clip(true_dice(v, i) + noise * generator.normal(), 0, 1)) for i, v in x.items()}
        raw.append(dict(x))
        dice.append(y)
    return raw, dice  # type: ignore[return-value]


def column(scores: list[dict[int, float | None]], label: int) -> Array:
    return np.array([one[label] for one in scores], np.float64)


def test_a_known_monotone_relation_is_recovered() -> None:
    raw, dice = simulated()
    quality = fit_quality(raw, dice, data="simulated")
    assert (quality.data, quality.cases, [label.id for label in quality.labels]) == (
        "simulated",
        150,
        [1, 4, 9],
    )
    for x in (0.65, 0.8, 0.95):
        for label, estimate in estimate_quality({1: x, 4: x, 9: x}, quality).items():
            assert estimate.dice == pytest.approx(true_dice(x, label), abs=0.03)
    for label in quality.labels:
        x, y = column(raw, label.id), column(dice, label.id)
        assert label.cases == 150
        assert len(label.knots) <= 8
        assert label.spearman == pytest.approx(stats.spearmanr(x, y).statistic, abs=1e-4)
        assert label.pearson == pytest.approx(stats.pearsonr(x, y).statistic, abs=1e-4)
        assert label.mean_absolute_error < 0.03 < label.guess_error
        assert label.typical == pytest.approx(np.median(y), abs=1e-4)
    assert quality.spearman is not None
    assert quality.spearman > 0.95
    assert quality.mean_absolute_error < quality.guess_error / 2


def test_the_error_is_that_of_scans_that_were_left_out() -> None:
    raw, dice = simulated(cases=14, noise=0.08, labels=(4,))
    quality = fit_quality(raw, dice)
    errors, guesses = [], []
    for n in range(14):
        others = [m for m in range(14) if m != n]
        alone = fit_quality([raw[m] for m in others], [dice[m] for m in others])
        estimate = estimate_quality(raw[n], alone)[4].dice
        errors.append(abs(estimate - dice[n][4]))  # type: ignore[operator]
        guesses.append(abs(np.mean([dice[m][4] for m in others]) - dice[n][4]))  # type: ignore[operator, arg-type]
    (label,) = quality.labels
    assert label.mean_absolute_error == pytest.approx(np.mean(errors), abs=2e-5)
    assert label.guess_error == pytest.approx(np.mean(guesses), abs=2e-5)
    assert quality.mean_absolute_error == label.mean_absolute_error


def test_few_levels_are_the_isotonic_fit_itself() -> None:
    # Two confidences, each seen several times: the fit is the mean Dice of each.
    raw = [{1: 0.5}] * 3 + [{1: 0.8}] * 4
    dice = [{1: d} for d in (0.4, 0.5, 0.6, 0.7, 0.9, 0.8, 0.8)]
    quality = fit_quality(raw, dice)
    assert quality.labels[0].knots == ((0.0, 0.0), (0.5, 0.5), (0.8, 0.8))
    # A falling relation becomes one level, over the confidences seen.
    falling = fit_quality(raw, [{1: 0.9}] * 3 + [{1: 0.2}] * 4)
    assert falling.labels[0].knots[1:] == ((0.5, 0.5), (round(np.mean([0.5] * 3 + [0.8] * 4), 7), 0.5))
    assert falling.labels[0].spearman == pytest.approx(-1)


def test_a_scan_worse_than_all_is_estimated_lower_and_never_below_zero() -> None:
    quality = fit_quality(*simulated(labels=(1,)))
    found = [estimate_quality({1: x}, quality)[1].dice for x in (0.0, 0.2, 0.4, 0.59, 0.7, 0.99, 1.0)]
    assert found[0] == 0
    assert all(a < b for a, b in pairwise(found[:6]))  # type: ignore[operator]
    assert found[5] == found[6] <= 1  # type: ignore[operator]


def test_confidence_that_tells_nothing_is_no_better_than_a_guess_and_says_so() -> None:
    generator = np.random.default_rng(5)
    raw = [{1: float(x)} for x in generator.uniform(0.7, 0.9, 80)]
    dice = [{1: float(y)} for y in generator.uniform(0.5, 0.9, 80)]
    (label,) = fit_quality(raw, dice).labels
    assert abs(label.spearman or 0) < 0.3
    assert label.mean_absolute_error > 0.9 * label.guess_error
    constant = fit_quality([{1: 0.8}] * 6, dice[:6]).labels[0]
    assert (constant.spearman, constant.pearson) == (None, None)


def test_absent_labels_do_not_count_and_rare_ones_are_left_out() -> None:
    raw, dice = simulated(cases=20)
    for n in range(20):
        if n >= 4:
            raw[n][9] = None  # four scans are too few
        if n % 2:
            dice[n][4] = None
    raw[3].pop(1)
    quality = fit_quality(raw, dice)
    assert [(label.id, label.cases) for label in quality.labels] == [(1, 19), (4, 10)]
    estimates = estimate_quality({1: 0.8, 4: None, 9: 0.8}, quality)
    assert estimates[1].reason is None
    assert (estimates[4].dice, estimates[9].dice) == (None, None)
    assert "no voxel" in str(estimates[4].reason)
    assert "without this label" in str(estimates[9].reason)
    with pytest.raises(ValueError, match="no label has 5 ordinary scans"):
        fit_quality(raw[:4], dice[:4])


@pytest.mark.parametrize(("value", "words"), [(float("nan"), "nan"), (1.2, r"1\.2"), (-0.1, r"-0\.1")])
def test_what_is_no_share_is_refused_by_scan_and_label(value: float, words: str) -> None:
    raw, dice = simulated(cases=8)
    dice[5][4] = value
    with pytest.raises(ValueError, match=f"scan 5, label 4: Dice {words}"):
        fit_quality(raw, dice)
    with pytest.raises(ValueError, match="8 scans' confidence, 7 scans' Dice"):
        fit_quality(raw, dice[:7])


def test_thresholds_are_below_what_is_usual_and_come_from_ordinary_scans() -> None:
    raw, dice = simulated(cases=60, noise=0.0, seed=1)
    good = [n for n in range(60) if min(v for v in raw[n].values() if v is not None) > 0.75]
    quality = fit_quality(raw, dice, ordinary=[n in good for n in range(60)])
    for label in quality.labels:
        usual = column(dice, label.id)[good]
        second, first, third = np.percentile(usual, [2, 25, 75])
        assert label.typical == pytest.approx(np.median(usual), abs=1e-4)
        expected = min(max(second, first - 1.5 * (third - first)), np.median(usual) - 0.05)
        assert label.low_below == pytest.approx(expected, abs=1e-4)
        assert label.cases == 60
    low = {i: e.low for i, e in estimate_quality({1: 0.97, 4: 0.62, 9: 0.97}, quality).items()}
    assert low == {1: False, 4: True, 9: False}


def test_failures_among_ordinary_scans_do_not_lower_what_is_expected() -> None:
    dice = [{1: float(y)} for y in np.random.default_rng(2).normal(0.85, 0.02, 40)]
    failed = [{1: 0.1}, {1: 0.02}, {1: 0.3}]
    clean, mixed = (fit_quality(scans, scans) for scans in (dice, dice + failed))
    assert 0.77 < mixed.labels[0].low_below <= clean.labels[0].low_below < 0.82
    assert mixed.low_drop < 0.1


class TestVerdict:
    """Eight labels whose Dice equals the confidence."""

    LABELS = LabelSet.from_names({n: f"part {n}" for n in range(1, 9)})

    @pytest.fixture
    def quality(self) -> Quality:
        generator = np.random.default_rng(0)
        scans = [{n: float(x) for n in range(1, 9)} for x in generator.uniform(0.84, 0.9, 40)]
        poor = [{n: float(x) for n in range(1, 9)} for x in generator.uniform(0.1, 0.84, 60)]
        return fit_quality(scans + poor, scans + poor, ordinary=[True] * 40 + [False] * 60)

    def codes(self, quality: Quality, raw: dict[int, float | None]) -> tuple[str, ...]:
        return check_quality(estimate_quality(raw, quality), quality, self.LABELS).codes

    def test_an_ordinary_scan_is_ok(self, quality: Quality) -> None:
        assert self.codes(quality, dict.fromkeys(range(1, 9), 0.87)) == ()

    def test_one_low_structure_of_eight_is_no_verdict_and_two_are(self, quality: Quality) -> None:
        raw: dict[int, float | None] = dict.fromkeys(range(1, 9), 0.88)
        assert self.codes(quality, {**raw, 3: 0.7}) == ()
        estimates = estimate_quality({**raw, 3: 0.7, 5: 0.4}, quality)
        assert [i for i, one in estimates.items() if one.low] == [3, 5]
        (reason,) = check_quality(estimates, quality, self.LABELS).reasons
        assert reason.code == "low-quality"
        assert "2 of 8 structures" in reason.message
        assert reason.message.index("part 5") < reason.message.index("part 3")
        assert "part 1 " not in reason.message

    def test_a_low_mean_counts_though_no_structure_is_low_by_itself(self, quality: Quality) -> None:
        between = min(label.low_below for label in quality.labels) + 0.004
        stricter = quality.model_copy(update={"low_drop": 0.03})
        raw: dict[int, float | None] = dict.fromkeys(range(1, 9), between)
        assert not any(one.low for one in estimate_quality(raw, stricter).values())
        (reason,) = check_quality(estimate_quality(raw, stricter), stricter, self.LABELS).reasons
        assert "0 of 8 structures are low by themselves" in reason.message
        assert "part " in reason.message

    def test_labels_that_are_absent_do_not_count(self, quality: Quality) -> None:
        raw: dict[int, float | None] = {n: 0.88 if n < 3 else None for n in range(1, 9)}
        assert self.codes(quality, raw) == ()
        assert self.codes(quality, {**raw, 2: 0.4}) == ("low-quality",)
        assert self.codes(quality, dict.fromkeys(range(1, 9))) == ()


def test_a_segmentation_loads_no_optimiser() -> None:
    code = "import sys, medseg.pipeline; assert not {'scipy.optimize', 'scipy.stats'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
