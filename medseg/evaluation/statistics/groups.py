"""Difference of a measurement between groups of cases, adjusted for covariates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from medseg.errors import UsageError
from medseg.evaluation.statistics.design import Design, build_design
from medseg.evaluation.statistics.multiplicity import holm_adjusted
from medseg.evaluation.statistics.results import (
    Counts,
    Interval,
    check_choice,
    check_confidence,
    to_plain,
)
from medseg.evaluation.statistics.samples import Reasons
from medseg.evaluation.statistics.wording import joined, number, p_value, with_interval

if TYPE_CHECKING:
    import pandas as pd

Errors = Literal["hc3", "classical"]
_TOLD = {"hc3": "heteroscedasticity-consistent (HC3)", "classical": "classical"}


@dataclass(frozen=True, slots=True)
class AdjustedMean:
    """A group's mean at the mean of every covariate over all cases analysed."""

    group: str
    n: int
    mean: float
    interval: Interval


@dataclass(frozen=True, slots=True)
class Contrast:
    """First group minus second: adjusted difference, its own interval, p, and p after Holm over all pairs.

    ``effect`` is the difference over the model's residual standard deviation: Cohen's d without covariates.
    """

    groups: tuple[str, str]
    difference: float
    interval: Interval
    p: float
    p_holm: float
    effect: float


@dataclass(frozen=True, slots=True)
class OverallTest:
    """F test that all adjusted means are equal."""

    f: float
    between: int
    within: int
    p: float


@dataclass(frozen=True, slots=True)
class GroupComparison:
    """Adjusted means, all pairwise contrasts, and for more than two groups the overall test.

    ``overall`` is None, and ``overall_missing`` says why, for two groups.
    """

    value: str
    group: str
    covariates: tuple[str, ...]
    means: tuple[AdjustedMean, ...]
    contrasts: tuple[Contrast, ...]
    overall: OverallTest | None
    overall_missing: str | None
    residual_deviation: float
    degrees_of_freedom: int
    errors: Errors
    counts: Counts
    unit: str

    @property
    def text(self) -> str:
        """One sentence with the differences, intervals, p, effect sizes, and what was left out."""
        adjusted = f", adjusted for {joined(self.covariates)}" if self.covariates else ""
        overall = (
            ""
            if self.overall is None
            else f"differed overall with F({self.overall.between}, {self.overall.within}) = "
            f"{number(self.overall.f)}, {p_value(self.overall.p)}, and "
        )
        holm_told = " by Holm" if len(self.contrasts) > 1 else ""
        told = "; ".join(
            f"{one.groups[0]} minus {one.groups[1]} {with_interval(one.difference, one.interval, self.unit)}"
            f", {p_value(one.p_holm)}{holm_told}, standardised difference {number(one.effect)}"
            for one in self.contrasts
        )
        return (
            f"In {self.counts.used} cases, {self.value} by {self.group}{adjusted}, {overall}"
            f"showed these differences: {told}{self.counts.text}."
        )

    @property
    def methods_text(self) -> str:
        """One sentence for a methods section."""
        adjusted = f" adjusted for {joined(self.covariates)}" if self.covariates else ""
        several = ", with pairwise p-values corrected by Holm's method" if len(self.contrasts) > 1 else ""
        return (
            f"Differences in {self.value} by {self.group} were estimated by linear regression{adjusted} "
            f"with {_TOLD[self.errors]} standard errors{several}; standardised differences are in units of "
            "the residual standard deviation."
        )

    def to_json(self) -> dict[str, Any]:
        """Plain values, by the names above; what is missing is None with a reason."""
        plain: dict[str, Any] = to_plain(self)
        return plain


def compare_groups(
    table: pd.DataFrame,
    value: str,
    group: str,
    covariates: Sequence[str] = (),
    *,
    categorical: Sequence[str] = (),
    errors: Errors = "hc3",
    confidence: float = 0.95,
    case_id: str = "case_id",
    reasons: Reasons | None = None,
    unit: str = "",
) -> GroupComparison:
    """Differences of a measurement between groups, at equal covariates, by ordinary least squares.

    Parameters
    ----------
    table
        One row per case: take one label's rows of a study's table. Case ids are in the column ``case_id``
        where there is one, else in the index. Rows that lack value, group or a covariate are left out.
    value, group, covariates
        Names of columns. Groups are in the order of pandas' categories, else sorted. Covariates that are not
        numeric, or are in ``categorical``, are coded by indicators; the others enter linearly, with one slope
        for all groups.
    errors
        ``"hc3"``: valid also where groups differ in spread (MacKinnon & White 1985); ``"classical"``.
    confidence
        Of the intervals, which are not corrected for the number of contrasts.
    reasons
        Why a case has no value, by case id.
    unit
        Of the value, for the text.

    Returns
    -------
    GroupComparison
        Adjusted means hold at the mean of every numeric covariate and at the observed shares of every
        categorical one. Intervals and p use the t and F distributions with the residual degrees of freedom.

    Raises
    ------
    UsageError
        Absent columns, repeated case ids, a constant or collinear covariate, fewer than two groups, fewer
        than five complete cases in a group, too few cases for the covariates, or values that the model fits
        exactly.

    References
    ----------
    MacKinnon & White 1985, doi:10.1016/0304-4076(85)90158-7; computed by `statsmodels`.
    """
    from statsmodels.regression.linear_model import OLS  # here: takes seconds to import

    check_choice("errors", errors, tuple(_TOLD))
    check_confidence(confidence)
    design = build_design(table, value, group, covariates, categorical, case_id, reasons)
    _refuse_leverage(design)
    fit = OLS(design.response, design.matrix).fit(
        cov_type="HC3" if errors == "hc3" else "nonrobust", use_t=True
    )
    deviation = float(fit.mse_resid**0.5)
    if deviation <= 1e-10 * float(np.std(design.response)):
        raise UsageError(
            f"{value}: groups and covariates fit it exactly: one of them is the value under another name"
        )
    means = fit.conf_int(1 - confidence)
    overall: OverallTest | None = None
    missing: str | None = "two groups: the overall test is that of their contrast"
    if len(design.groups) > 2:
        test = fit.f_test(np.array([_weights(design, 0, other) for other in range(1, len(design.groups))]))
        overall, missing = (
            OverallTest(float(test.fvalue), len(design.groups) - 1, int(fit.df_resid), float(test.pvalue)),
            None,
        )
    return GroupComparison(
        value=value,
        group=group,
        covariates=design.covariates,
        means=tuple(
            AdjustedMean(
                name, size, float(fit.params[i]), Interval(float(means[i, 0]), float(means[i, 1]), confidence)
            )
            for i, (name, size) in enumerate(zip(design.groups, design.sizes, strict=True))
        ),
        contrasts=_contrasts(fit, design, confidence, deviation),
        overall=overall,
        overall_missing=missing,
        residual_deviation=deviation,
        degrees_of_freedom=int(fit.df_resid),
        errors=errors,
        counts=design.counts,
        unit=unit,
    )


def _contrasts(fit: Any, design: Design, confidence: float, deviation: float) -> tuple[Contrast, ...]:
    places = list(combinations(range(len(design.groups)), 2))
    test = fit.t_test(np.array([_weights(design, *pair) for pair in places]))
    ends = test.conf_int(1 - confidence)
    p_values = np.atleast_1d(test.pvalue)
    corrected = holm_adjusted([float(p) for p in p_values])
    return tuple(
        Contrast(
            groups=(design.groups[first], design.groups[second]),
            difference=float(test.effect[n]),
            interval=Interval(float(ends[n, 0]), float(ends[n, 1]), confidence),
            p=float(p_values[n]),
            p_holm=corrected[n],
            effect=float(test.effect[n]) / deviation,
        )
        for n, (first, second) in enumerate(places)
    )


def _weights(design: Design, first: int, second: int) -> list[float]:
    """Of the coefficients in the difference of two adjusted means."""
    weights = [0.0] * design.matrix.shape[1]
    weights[first], weights[second] = 1.0, -1.0
    return weights


def _refuse_leverage(design: Design) -> None:
    """Refuse a case that a coefficient of its own fits exactly: its residual is 0 / 0 to HC3."""
    orthogonal = np.linalg.qr(design.matrix)[0]
    alone = int(((orthogonal**2).sum(axis=1) > 1 - 1e-9).sum())
    if alone:
        raise UsageError(
            f"{alone} cases are each fitted exactly, as a covariate sets each of them apart from all "
            "others: merge levels, drop the covariate, or leave these cases out"
        )
