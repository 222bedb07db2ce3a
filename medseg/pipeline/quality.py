"""How good a segmentation probably is, where its model can tell."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from medseg.inference import Confidence
from medseg.measure import Measurement
from medseg.models import ModelBundle
from medseg.quality import Estimate, check_quality, estimate_quality
from medseg.verdict import OK, Verdict


def estimates_quality(bundles: Sequence[ModelBundle]) -> bool:
    """Whether the models say how good their result is: a lone model that has learnt it."""
    return len(bundles) == 1 and bundles[0].quality is not None


def with_quality(
    measurements: tuple[Measurement, ...], confidence: Confidence | None, bundles: Sequence[ModelBundle]
) -> tuple[tuple[Measurement, ...], Verdict]:
    """The measurements with the Dice that each label probably has, and what is to be said of it.

    Nothing is added where no model has a quality section.
    """
    quality = bundles[0].quality
    if len(bundles) > 1:
        if all(bundle.quality is None for bundle in bundles):
            return measurements, OK
        reason = "quality was learnt for each model alone, not for an ensemble"
        return tuple(replace(one, quality_reason=reason) for one in measurements), OK
    if quality is None or confidence is None:
        return measurements, OK
    estimates = estimate_quality(confidence.soft_dice(), quality)
    for one in measurements:
        if not one.voxels:
            estimates[one.id] = Estimate(None, reason="the label is absent")
    judged = tuple(
        replace(
            one,
            quality=estimates[one.id].dice,
            quality_low=estimates[one.id].low,
            quality_reason=estimates[one.id].reason,
        )
        for one in measurements
    )
    return judged, check_quality(estimates, quality, bundles[0].label_set)
