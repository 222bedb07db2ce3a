"""How often 95 % intervals hold the truth, by simulation; a few minutes on one core.

    .venv/bin/python -m pytest tests/acceptance/test_coverage.py -s

prints the table of docs/statistics.md. The share of 1000 studies has a standard error of 0.7 points, so
0.93 to 0.97 is what an interval of exactly 95 % passes. Where theory promises less than that for small or
skewed samples, the row has the range that is seen, so that neither intervals nor docs change unnoticed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import exp

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from scipy import stats

from medseg.evaluation.statistics import (
    Interval,
    agreement,
    bootstrap,
    bootstrap_difference,
    compare_groups,
    compare_paired,
)

Rng = np.random.Generator
AS_PROMISED = (0.93, 0.97)


@dataclass(frozen=True)
class Case:
    """One row: how a study is drawn and analysed, the truth, and the coverage that is right."""

    name: str
    analyse: Callable[[Rng, int], Interval]
    truth: float
    studies: int = 1000
    expected: tuple[float, float] = AS_PROMISED


def lognormal(rng: Rng, n: int) -> NDArray[np.float64]:
    """Skewness 2.3, as volumes of lesions; mean exp(0.18), median 1."""
    return rng.lognormal(0.0, 0.6, n)


def of_mean(draw: Callable[[Rng, int], NDArray[np.float64]], n: int, **options):
    return lambda rng, seed: bootstrap(draw(rng, n), resamples=1000, seed=seed, **options).interval


def of_paired_mean(n: int):
    def analyse(rng: Rng, seed: int) -> Interval:
        case = rng.normal(0.85, 0.05, n)  # cases differ far more than the models
        new, old = case + 0.01 + rng.normal(0, 0.01, n), case + rng.normal(0, 0.01, n)
        return bootstrap_difference(new, old, resamples=1000, seed=seed).interval

    return analyse


def of_hodges_lehmann(draw: Callable[[Rng, int], NDArray[np.float64]], n: int):
    return lambda rng, _: compare_paired(draw(rng, n), np.zeros(n)).interval


def of_limit(n: int, limits: str):
    def analyse(rng: Rng, _: int) -> Interval:
        truth = rng.normal(3, 0.5, n)
        a, b = truth + rng.normal(0.1, 0.12, n), truth + rng.normal(0.0, 0.16, n)
        return agreement(a, b, limits=limits).bland_altman.upper_interval

    return analyse


def of_icc(n: int, form: str):
    """Variances of cases 1, raters 0.04, error 0.2; the two raters are drawn anew for each study."""

    def analyse(rng: Rng, _: int) -> Interval:
        case, rater = rng.normal(0, 1, n), rng.normal(0, 0.2, 2)
        a, b = (case + one + rng.normal(0, 0.2**0.5, n) for one in rater)
        return agreement(a, b, icc=form).icc.interval

    return analyse


def of_adjusted_difference(n: int, spread: float, errors: str):
    """A third of the cases are patients, older and 0.5 mL smaller, and vary ``spread`` times as much."""
    patient = np.arange(n) < n // 3

    def analyse(rng: Rng, _: int) -> Interval:
        age = rng.normal(70, 6, n) + 5 * patient
        noise = rng.normal(0, 0.4, n) * np.where(patient, spread, 1.0)
        volume = 6 - 0.04 * age - 0.5 * patient + noise
        table = pd.DataFrame({"volume": volume, "group": np.where(patient, "patient", "well"), "age": age})
        return compare_groups(table, "volume", "group", ["age"], errors=errors).contrasts[0].interval

    return analyse


LIMIT = 0.1 + stats.norm.ppf(0.975) * 0.2
CASES = [
    *(
        Case(
            f"bootstrap {method}, mean, skewed, n = {n}",
            of_mean(lognormal, n, method=method),
            exp(0.18),
            expected=seen,
        )
        for method, n, seen in (
            ("bca", 20, (0.87, 0.94)),
            ("bca", 60, (0.92, 0.97)),
            ("percentile", 20, (0.87, 0.94)),
            ("percentile", 60, (0.90, 0.96)),
        )
    ),
    *(
        Case(
            f"bootstrap {method}, median, skewed, n = {n}",
            of_mean(lognormal, n, statistic="median", method=method),
            1.0,
            expected=(0.91, 0.98),
        )
        for method in ("bca", "percentile")
        for n in (20, 60)
    ),
    Case("bootstrap BCa, mean paired difference, n = 20", of_paired_mean(20), 0.01, expected=(0.90, 0.96)),
    Case("bootstrap BCa, mean paired difference, n = 60", of_paired_mean(60), 0.01),
    Case("Hodges-Lehmann, normal, n = 10", of_hodges_lehmann(lambda r, n: r.normal(1, 1, n), 10), 1.0),
    Case("Hodges-Lehmann, normal, n = 60", of_hodges_lehmann(lambda r, n: r.normal(1, 1, n), 60), 1.0),
    Case("Hodges-Lehmann, t with 3 df, n = 30", of_hodges_lehmann(lambda r, n: r.standard_t(3, n), 30), 0.0),
    Case(
        "Hodges-Lehmann, whole numbers (ties, zeros), n = 30",
        of_hodges_lehmann(lambda r, n: r.integers(-2, 3, n).astype(float), 30),
        0.0,
        expected=(0.95, 1.0),
    ),
    *(Case(f"limit of agreement, exact, n = {n}", of_limit(n, "exact"), LIMIT) for n in (10, 30, 100)),
    *(
        Case(f"limit of agreement, approximate, n = {n}", of_limit(n, "approximate"), LIMIT, expected=seen)
        for n, seen in ((10, (0.91, 0.95)), (30, (0.92, 0.96)), (100, AS_PROMISED))
    ),
    *(Case(f"ICC(A,1), n = {n}", of_icc(n, "A,1"), 1 / 1.24, expected=(0.93, 0.98)) for n in (20, 60)),
    *(Case(f"ICC(C,1), n = {n}", of_icc(n, "C,1"), 1 / 1.2) for n in (20, 60)),
    *(
        Case(
            f"adjusted difference, {errors}, {told} spread, n = {n}",
            of_adjusted_difference(n, spread, errors),
            -0.5,
            expected=seen,
        )
        for errors, told, spread, n, seen in (
            ("classical", "equal", 1.0, 30, AS_PROMISED),
            ("hc3", "equal", 1.0, 30, (0.93, 0.98)),
            ("hc3", "threefold", 3.0, 30, (0.92, 0.98)),
            ("hc3", "threefold", 3.0, 90, AS_PROMISED),
            ("classical", "threefold", 3.0, 90, (0.80, 0.92)),
        )
    ),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_intervals_hold_the_truth_as_often_as_they_say(case: Case) -> None:
    rng = np.random.default_rng(20)
    held, width, none = 0, 0.0, 0
    for seed in range(case.studies):
        found = case.analyse(rng, seed)
        if found.low is None or found.high is None:
            none += 1
            continue
        held += found.low <= case.truth <= found.high
        width += found.high - found.low
    known = case.studies - none
    share = held / known
    print(f"\n| {case.name} | {share:.3f} | {width / known:.3f} | {none} |", end=" ")
    low, high = case.expected
    assert low <= share <= high
    assert none == 0
