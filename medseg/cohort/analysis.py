"""The statistics of a study's volumes: what they are, how groups and models differ, how they agree."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from math import sqrt
from typing import TypeVar

import numpy as np
import pandas as pd
from scipy import stats

from medseg.errors import UsageError
from medseg.evaluation.statistics import (
    AdjustedMean,
    Agreement,
    GroupComparison,
    PairedComparison,
    agreement,
    bootstrap,
    compare_groups,
    compare_paired,
    holm,
)
from medseg.report.study import Agreement as AgreementPlot
from medseg.report.study import Estimate, StudyTable, Value

# Above so many cases the mean is all but normal, and ten thousand resamples of them take minutes.
_BOOTSTRAPPED = 2000
# Below so many cases an interval means nothing.
_FEWEST = 5
_QUARTILES = (25, 50, 75)
_VALUE = "__volume__"
_HOLM = "P-values were corrected over structures by Holm's method."
_SCORE_WORDS = (
    "Segmentations were compared with the references by Dice, by surface Dice (the share of both surfaces, "
    "by area, within the tolerance; Nikolov et al. 2021), and by HD95, the larger of the two directed 95th "
    "percentiles of surface distances by area."
)
_AGREEMENT_COLUMNS = ("ICC(A,1)", "95 % from", "to", "slope of difference on mean", "p of slope")
_AGREEMENT_NOTE = (
    "ICC(A,1): absolute agreement of single measurements. A slope that is not 0 is a bias that grows with "
    "volume. Bias and limits of agreement stand with the plots."
)
_SCORE_COLUMNS = ("label", "score", "n", "median", "mean", "95 % from", "to")
_SCORES = {"dice": "Dice", "surface_dice": "surface Dice", "hd95_mm": "HD95 (mm)"}
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Analysis:
    """Tables and plots for the report, sentences for its methods section, and what could not be computed."""

    tables: tuple[StudyTable, ...] = ()
    agreements: tuple[AgreementPlot, ...] = ()
    methods: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()

    def __add__(self, other: Analysis) -> Analysis:
        methods = dict.fromkeys(self.methods + other.methods)
        problems = dict.fromkeys(self.problems + other.problems)
        return Analysis(
            self.tables + other.tables, self.agreements + other.agreements, tuple(methods), tuple(problems)
        )


@dataclass(frozen=True, slots=True, eq=False)
class Volumes:
    """Volumes in mL of every case of a study, missing ones included.

    Parameters
    ----------
    name
        What the study is called in comparisons: its model.
    frame
        A row per case in the order of the manifest, indexed by case id; a column per label and total.
    columns
        Groups and covariates, with the same index.
    reasons
        Why a case has no volumes, by case id.
    told
        Other measures that some label has.
    """

    name: str
    frame: pd.DataFrame
    columns: pd.DataFrame
    reasons: Mapping[Hashable, str] = field(default_factory=dict)
    told: frozenset[str] = frozenset()

    @property
    def labels(self) -> list[str]:
        """Names of labels and totals, in the order of the table."""
        return [str(label) for label in self.frame]


def summary(volumes: Volumes) -> Analysis:
    """Of each label: how many cases, mean with its interval, standard deviation, quartiles."""
    rows: list[list[Value]] = []
    for label in volumes.labels:
        values = volumes.frame[label].dropna().to_numpy(np.float64)
        quartiles = np.percentile(values, _QUARTILES).tolist() if len(values) else [None] * 3
        spread = float(values.std(ddof=1)) if len(values) > 1 else None
        rows.append([label, len(values), *_mean(values), spread, *quartiles])
    columns = ("label", "n", "mean (mL)", "95 % from", "to", "SD (mL)", "quartile 1", "median", "quartile 3")
    note = (
        "Cases without a result are left out; n counts the others. Intervals of the mean by bootstrap (BCa, "
        f"10,000 resamples), above {_BOOTSTRAPPED} cases by Student's t."
    )
    methods = (
        "Volumes are given as mean with 95 % confidence interval (bias-corrected and accelerated bootstrap "
        f"of 10,000 resamples; above {_BOOTSTRAPPED} cases Student's t), and as median with quartiles."
    )
    return Analysis((StudyTable("Volumes", columns, rows, note),), (), (methods,))


def against_reference(scores: pd.DataFrame, volumes: Volumes) -> Analysis:
    """How near the segmentations come to the references: overlap, distances, and agreement of volumes.

    ``scores`` is indexed by case and label, with the columns of `medseg evaluate`.
    """
    rows: list[list[Value]] = []
    agreed_rows: list[list[Value]] = []
    plots: list[AgreementPlot] = []
    words: tuple[str, ...] = (_SCORE_WORDS,)
    for label, of_label in scores.groupby(level="label", sort=False):
        of_label = of_label.droplevel("label")
        for name, title in _SCORES.items():
            values = of_label[name].dropna().to_numpy(np.float64) if name in of_label else np.empty(0)
            middle = float(np.median(values)) if len(values) else None
            rows.append([str(label), title, len(values), middle, *_mean(values)])
        names = (volumes.name, "reference")
        with suppress(UsageError):  # too few cases for limits of agreement: the table still has their scores
            a, b = of_label["volume_ml"], of_label["reference_volume_ml"]
            agreed = agreement(a, b, names=names, what=f"the volume of {label}", unit="mL")
            plots.append(plot(f"Volume against the reference, {label}", "mL", names, a, b, agreed))
            agreed_rows.append([str(label), agreed.counts.used, *_agreement_numbers(agreed)])
            words = (_SCORE_WORDS, _over_labels(agreed.methods_text, str(label)))
    note = (
        "Only cases with a reference. Means with 95 % intervals. Surface Dice and HD95 by area; a structure "
        "that is absent from both has no score, a missed or invented one has Dice 0 and no distance. If the "
        "model was trained on some of these scans, its scores are too good: see `medseg model info`."
    )
    tables = [StudyTable("Against the reference", _SCORE_COLUMNS, rows, note)]
    if agreed_rows:
        title = "Agreement of volumes with the reference"
        tables.append(StudyTable(title, ("label", "n", *_AGREEMENT_COLUMNS), agreed_rows, _AGREEMENT_NOTE))
    return Analysis(tuple(tables), tuple(plots), words)


def _agreement_numbers(agreed: Agreement) -> list[Value]:
    """Intraclass correlation with its interval, and the slope of differences on averages with its p."""
    icc, found = agreed.icc, agreed.bland_altman
    return [icc.value, icc.interval.low, icc.interval.high, found.slope, found.slope_p]


def by_group(volumes: Volumes, group: str, covariates: Sequence[str]) -> Analysis:
    """How each label's volume differs between groups, covariates held equal; p-values by Holm over labels.

    Raises
    ------
    UsageError
        If the manifest has no such column, or there are fewer than two groups.
    """
    for column in (group, *covariates):
        if column not in volumes.columns:
            known = ", ".join(map(str, volumes.columns)) or "none"
            raise UsageError(f"the manifest has no column {column!r}; its groups and covariates are: {known}")

    def compared(label: str) -> GroupComparison:
        table = volumes.columns.assign(**{_VALUE: volumes.frame[label]}).reset_index(names="case_id")
        return compare_groups(
            table.rename(columns={_VALUE: f"volume of {label}"}),
            f"volume of {label}",
            group,
            covariates,
            reasons=volumes.reasons,
            unit="mL",
        )

    found, failed = _each_label(volumes, compared)
    flat = {
        f"{label}: {' - '.join(contrast.groups)}": (label, result, contrast)
        for label, result in found.items()
        for contrast in result.contrasts
    }
    adjusted = {one.name: one.adjusted for one in holm({key: c.p for key, (_, _, c) in flat.items()}).family}
    rows: list[list[Value]] = [
        [
            label,
            " - ".join(contrast.groups),
            " + ".join(str(_mean_of(result, one).n) for one in contrast.groups),
            " - ".join(f"{_mean_of(result, one).mean:.4g}" for one in contrast.groups),
            contrast.difference,
            contrast.interval.low,
            contrast.interval.high,
            contrast.p,
            adjusted[key],
            contrast.effect,
        ]
        for key, (label, result, contrast) in flat.items()
    ]
    rows += [[label, why, *[None] * 8] for label, why in failed.items()]
    columns = ("label", "groups", "n", "means (mL)", "difference (mL)", "95 % from", "to", "p", "p (Holm)")
    held = f", at equal {', '.join(covariates)}" if covariates else ""
    note = (
        f"Difference of mean volumes{held}; the effect size is that difference in residual standard "
        "deviations; p-values corrected by Holm's method over all labels and pairs."
    )
    table = StudyTable(f"Volumes by {group}", (*columns, "effect size"), rows, note)
    words = tuple(_over_labels(result.methods_text, label) for label, result in list(found.items())[:1])
    return Analysis((table,), (), (*words, _HOLM), _told_problems(f"Volumes by {group}", failed))


def _mean_of(result: GroupComparison, group: str) -> AdjustedMean:
    return next(mean for mean in result.means if mean.group == group)


def _told_problems(title: str, failed: Mapping[str, str]) -> tuple[str, ...]:
    """Why some labels have no result, each reason once."""
    labels: dict[str, list[str]] = {}
    for label, why in failed.items():
        labels.setdefault(why, []).append(label)
    return tuple(f"{title}: not computed for {', '.join(those)}: {why}" for why, those in labels.items())


def between(first: Volumes, second: Volumes) -> Analysis:
    """How two studies of the same cases differ and agree, label by label."""
    shared = [label for label in first.labels if label in second.labels]
    if not shared:
        raise UsageError(
            f"the two studies have no label in common: {', '.join(first.labels)} and "
            f"{', '.join(second.labels)}"
        )
    names = (first.name, second.name) if first.name != second.name else (first.name, f"{second.name} (2)")
    reasons = {**second.reasons, **first.reasons}

    def compared(label: str) -> tuple[PairedComparison, Agreement]:
        a, b, what = first.frame[label], second.frame[label], f"the volume of {label}"
        return (
            compare_paired(a, b, names=names, reasons=reasons, what=what, unit="mL"),
            agreement(a, b, names=names, reasons=reasons, what=what, unit="mL"),
        )

    found, failed = _each_label(first, compared, shared)
    corrected = {
        one.name: one.adjusted
        for one in holm({label: paired.p for label, (paired, _) in found.items()}).family
    }
    rows: list[list[Value]] = [
        [
            label,
            paired.counts.used,
            paired.difference,
            paired.interval.low,
            paired.interval.high,
            paired.p,
            corrected[label],
            paired.effect,
            agreed.icc.value,
            agreed.icc.interval.low,
            agreed.icc.interval.high,
        ]
        for label, (paired, agreed) in found.items()
    ]
    rows += [[f"{label}: {why}", *[None] * 10] for label, why in failed.items()]
    columns = ("label", "n", "difference (mL)", "95 % from", "to", "p", "p (Holm)", "rank-biserial r")
    note = (
        f"{names[0]} minus {names[1]}: Hodges-Lehmann difference; Wilcoxon's signed-rank test, corrected by "
        "Holm's method over labels; ICC(A,1) of absolute agreement. Only cases with both volumes."
    )
    table = StudyTable(f"{names[0]} and {names[1]}", (*columns, "ICC", "ICC from", "ICC to"), rows, note)
    plots = tuple(
        plot(f"Volume, {label}", "mL", names, first.frame[label], second.frame[label], agreed)
        for label, (_, agreed) in found.items()
    )
    words = next(
        (tuple(_over_labels(one.methods_text, label) for one in both) for label, both in found.items()), ()
    )
    return Analysis((table,), plots, (*words, _HOLM), _told_problems(table.title, failed))


def plot(
    title: str, unit: str, names: tuple[str, str], a: pd.Series, b: pd.Series, agreed: Agreement
) -> AgreementPlot:
    """A Bland-Altman plot of two columns with the same kind of index."""
    both = pd.concat([a.rename("a"), b.rename("b")], axis=1, join="inner").dropna()
    found = agreed.bland_altman
    return AgreementPlot(
        title,
        unit,
        *names,
        pairs=[(str(case), float(x), float(y)) for case, x, y in both.itertuples()],
        bias=Estimate(found.bias, found.bias_interval.low, found.bias_interval.high),
        lower=Estimate(found.lower, found.lower_interval.low, found.lower_interval.high),
        upper=Estimate(found.upper, found.upper_interval.low, found.upper_interval.high),
    )


def _each_label(
    volumes: Volumes, compute: Callable[[str], Result], labels: Sequence[str] | None = None
) -> tuple[dict[str, Result], dict[str, str]]:
    """The result of each label, and why some have none: too few cases, for instance."""
    found: dict[str, Result] = {}
    failed: dict[str, str] = {}
    for label in labels or volumes.labels:
        try:
            found[label] = compute(label)
        except UsageError as error:
            failed[label] = str(error)
    return found, failed


def _over_labels(sentence: str, label: str) -> str:
    """A method's sentence for one label as one for all."""
    return sentence.replace(f"olume of {label} was", "olume of each structure was").replace(
        f"olume of {label}", "olume of each structure"
    )


def _mean(values: np.ndarray) -> list[Value]:
    """The mean and its interval."""
    if not len(values):
        return [None, None, None]
    mean = float(values.mean())
    if len(values) < _FEWEST or not values.std():
        return [mean, None, None]
    if len(values) <= _BOOTSTRAPPED:
        interval = bootstrap(values).interval
        return [mean, interval.low, interval.high]
    half = float(stats.t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / sqrt(len(values)))
    return [mean, mean - half, mean + half]
