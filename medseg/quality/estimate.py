"""estimate_quality: the Dice that each structure of a segmentation probably has, without a reference."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from medseg.labels import LabelSet
from medseg.models import Quality
from medseg.verdict import OK, Verdict

Knots = tuple[tuple[float, float], ...]

# Share of the estimated structures that must be low, each by itself, for the whole scan to be called low.
_MANY = 0.25
# Structures that a message names.
_NAMED = 8


@dataclass(frozen=True, slots=True)
class Estimate:
    """The Dice that a structure probably has.

    Attributes
    ----------
    dice
        0 to 1; None where it cannot be estimated.
    low
        Whether it is lower than scans of the model's kind let expect.
    reason
        Why ``dice`` is None, else None.
    """

    dice: float | None
    low: bool = False
    reason: str | None = None


def estimate_quality(raw: Mapping[int, float | None], quality: Quality) -> dict[int, Estimate]:
    """Estimate each label's Dice from the network's confidence in it.

    Parameters
    ----------
    raw
        Label id to confidence, as `medseg.inference.Confidence.soft_dice` gives it.
    quality
        The model's.
    """
    known = {label.id: label for label in quality.labels}
    estimates = {}
    for label, confidence in raw.items():
        if confidence is None:
            estimates[label] = Estimate(None, reason="no voxel of the network's grid carries the label")
        elif label not in known:
            estimates[label] = Estimate(None, reason="the model's quality was learnt without this label")
        else:
            curve = known[label]
            dice = expected_dice(curve.knots, confidence)
            estimates[label] = Estimate(dice, low=dice < curve.low_below)
    return estimates


def expected_dice(knots: Knots, confidence: float) -> float:
    """The height of a curve at a confidence."""
    where, height = [x for x, _ in knots], [y for _, y in knots]
    return float(np.interp(confidence, where, height))


def check_quality(estimates: Mapping[int, Estimate], quality: Quality, labels: LabelSet) -> Verdict:
    """Whether a segmentation is probably worse than those of the scans that the model is for.

    Labels without an estimate do not count.

    Returns
    -------
    Verdict
        ``ok``, or ``warning`` with the reason ``low-quality``, naming structures, the worst first: if a
        quarter of the labels or more are low, or the mean estimate lies below the mean of the typical Dice of
        the same labels by more than ``quality.low_drop``.
    """
    typical = {label.id: label.typical for label in quality.labels}
    dice = {i: one.dice for i, one in estimates.items() if one.dice is not None}
    drops = {i: typical[i] - value for i, value in dice.items()}
    if not drops:
        return OK
    low = [label for label in drops if estimates[label].low]
    many = len(low) >= _MANY * len(drops)
    if not many and float(np.mean(list(drops.values()))) <= quality.low_drop:
        return OK
    worst = sorted(low or drops, key=lambda label: -drops[label])
    named = ", ".join(f"{labels[i].name} {dice[i]:.2f} ({typical[i]:.2f})" for i in worst[:_NAMED])
    more = f" and {len(worst) - _NAMED} more" if len(worst) > _NAMED else ""
    mean, usual = (float(np.mean([of[i] for i in drops])) for of in (dice, typical))
    return Verdict.of(
        "warning",
        "low-quality",
        f"the mean Dice of this segmentation is estimated at {mean:.2f} (typical: {usual:.2f}); {len(low)} "
        f"of {len(drops)} structures are low by themselves. Worst: {named}{more}. Look at scan and labels "
        "before using them",
    )
