"""fit_quality: learn what Dice a network's confidence in a structure stands for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from medseg.models import LabelQuality, Quality
from medseg.quality.estimate import Knots, expected_dice

Scores = Sequence[Mapping[int, float | None]]
Array = NDArray[np.float64]

# Scans that a label needs, and the most levels of its curve.
LEAST_CASES = 5
_MOST_LEVELS = 6
# What lies so far below the typical Dice matters, however little scans differ.
_LEAST_DROP = 0.05


def fit_quality(
    raw: Scores, dice: Scores, *, data: str = "", ordinary: Sequence[bool] | None = None
) -> Quality:
    """Learn, per label, a curve from confidence to Dice, and measure it on scans that were left out.

    The curve is isotonic (least squares among rising ones; ties in confidence are pooled), thinned to
    a few levels and joined by straight lines. From the least confidence seen it falls in a straight line to
    Dice 0 at confidence 0, so that a scan worse than any that it was learnt from is not called as good as
    the worst of them. Above the greatest it is constant. If confidence tells nothing of Dice, the curve is
    flat over the confidences seen.

    An estimate is called low where it lies below all but a fiftieth of the ordinary scans' Dice, or below
    Tukey's fence (the first quartile less 1.5 times the interquartile range) where that is higher, so that a
    few failures among the scans do not lower what is expected; and at least 0.05 below the median.

    Parameters
    ----------
    raw
        Per scan, label id to confidence: what `medseg.inference.Confidence.soft_dice` gives.
    dice
        Per scan, in the same order, label id to true Dice. A pair in which either is None or missing (an
        absent label) is left out. Use scans that the network was not trained on, segmented as it will be
        used (overlap, test-time augmentation).
    data
        For people: which scans these are.
    ordinary
        Which scans are of the kind that the model is for, where others, degraded on purpose, are there to
        show the curve what a bad result looks like. Thresholds come from these alone; None: all.

    Returns
    -------
    Quality
        For a bundle (`medseg.models.save_with_quality`). Labels of fewer than five ordinary scans are left
        out.

    Raises
    ------
    ValueError
        If the lists differ in length, a value is not in 0 to 1, or no label has enough scans.
    """
    usual = np.ones(len(raw), bool) if ordinary is None else np.array(ordinary, bool)
    if not len(raw) == len(dice) == len(usual):
        raise ValueError(f"{len(raw)} scans' confidence, {len(dice)} scans' Dice, {len(usual)} scans' kind")
    ids = sorted({label for one in raw for label in one} & {label for one in dice for label in one})
    x, y = _table(raw, ids, "confidence"), _table(dice, ids, "Dice")
    there = ~(np.isnan(x) | np.isnan(y))
    enough = np.flatnonzero((there & usual[:, None]).sum(axis=0) >= LEAST_CASES)
    if not enough.size:
        raise ValueError(f"no label has {LEAST_CASES} ordinary scans with both confidence and Dice")
    ids, x, y, there = [ids[n] for n in enough], x[:, enough], y[:, enough], there[:, enough]
    y = np.where(there, y, np.nan)
    estimates, guesses = np.full_like(y, np.nan), np.full_like(y, np.nan)
    labels = []
    for n, label in enumerate(ids):
        known = np.flatnonzero(there[:, n])
        for left_out in known:
            others = known[known != left_out]
            estimates[left_out, n] = expected_dice(_curve(x[others, n], y[others, n]), x[left_out, n])
            guesses[left_out, n] = y[others, n].mean()
        found, truth, common = x[known, n], y[known, n], y[there[:, n] & usual, n]
        labels.append(
            LabelQuality(
                id=label,
                cases=known.size,
                knots=_curve(found, truth),
                typical=_rounded(np.median(common)),
                low_below=_rounded(max(0.0, min(_unusual(common), float(np.median(common)) - _LEAST_DROP))),
                spearman=_spearman(found, truth),
                pearson=_pearson(found, truth),
                mean_absolute_error=_error(estimates[known, n], truth),
                guess_error=_error(guesses[known, n], truth),
            )
        )
    some = there.any(axis=1)
    means = [np.nanmean(table[some], axis=1) for table in (estimates, guesses, y)]
    typical = np.array([label.typical for label in labels])
    drops = np.nanmean(y[some & usual] - typical, axis=1)
    return Quality(
        data=data,
        cases=int(some.sum()),
        low_drop=_rounded(min(1.0, max(_LEAST_DROP, -_unusual(drops)))),
        spearman=_spearman(means[0], means[2]),
        pearson=_pearson(means[0], means[2]),
        mean_absolute_error=_error(means[0], means[2]),
        guess_error=_error(means[1], means[2]),
        labels=tuple(labels),
    )


def _table(scores: Scores, ids: Sequence[int], what: str) -> Array:
    """(scans, labels), NaN where there is no value."""
    table = np.full((len(scores), len(ids)), np.nan)
    for n, one in enumerate(scores):
        for m, label in enumerate(ids):
            value = one.get(label)
            if value is None:
                continue
            if not 0 <= value <= 1:
                raise ValueError(f"scan {n}, label {label}: {what} {value}, expected 0 to 1, or None")
            table[n, m] = value
    return table


def _curve(raw: Array, dice: Array) -> Knots:
    """The knots of an isotonic curve."""
    from scipy.optimize import isotonic_regression  # a segmentation does without scipy.optimize

    # Equal confidences have one Dice: their mean. Digits beyond the sixth would only make knots collide.
    values, where, count = np.unique(raw.round(6), return_inverse=True, return_counts=True)
    pooled = np.bincount(where, weights=dice) / count
    fitted = isotonic_regression(pooled, weights=count)
    levels = []  # (cases, confidence, Dice), weighted means
    for first, stop in pairwise(fitted.blocks):
        weights = count[first:stop]
        centre = np.average(values[first:stop], weights=weights)
        levels.append((float(weights.sum()), float(centre), float(fitted.x[first])))
    while len(levels) > _MOST_LEVELS:
        costs = [a[0] * b[0] / (a[0] + b[0]) * (a[2] - b[2]) ** 2 for a, b in pairwise(levels)]
        n = int(np.argmin(costs))
        (w, c, d), (v, e, f) = levels[n : n + 2]
        levels[n : n + 2] = [(w + v, (w * c + v * e) / (w + v), (w * d + v * f) / (w + v))]
    knots = [(round(centre, 7), _rounded(level)) for _, centre, level in levels]
    least = float(values[0])
    if least < knots[0][0]:
        knots.insert(0, (least, knots[0][1]))
    if knots[0][0] > 0:
        knots.insert(0, (0.0, 0.0))
    return tuple(knots)


def _unusual(values: Array) -> float:
    """Below this a value is unusual: the 2nd percentile, or Tukey's fence (1977) where that is higher."""
    lowest, first, third = np.percentile(values, (2, 25, 75))
    return float(max(lowest, first - 1.5 * (third - first)))


def _spearman(a: Array, b: Array) -> float | None:
    from scipy.stats import rankdata

    return _pearson(rankdata(a), rankdata(b))


def _pearson(a: Array, b: Array) -> float | None:
    """None where one of the two is constant."""
    if np.ptp(a) < 1e-12 or np.ptp(b) < 1e-12:
        return None
    return _rounded(np.clip(np.corrcoef(a, b)[0, 1], -1, 1))


def _error(found: Array, truth: Array) -> float:
    return _rounded(np.abs(found - truth).mean())


def _rounded(value: float | np.floating) -> float:
    return round(float(value), 5)
