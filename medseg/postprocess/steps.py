"""A plan's steps, carried out in their order."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from medseg.errors import UsageError
from medseg.plans.postprocess import (
    ClosingStep,
    FillHolesStep,
    GaussianStep,
    LargestComponentStep,
    MedianStep,
    OpeningStep,
    PostprocessStep,
    RefineStep,
    RemoveSmallStep,
)
from medseg.postprocess.components import keep_largest, remove_small
from medseg.postprocess.holes import fill_holes
from medseg.postprocess.morphology import closing, opening
from medseg.postprocess.refinement import refine_edges
from medseg.postprocess.smoothing import smooth_gaussian, smooth_median
from medseg.volume import LabelMap


def apply_steps(
    labelmap: LabelMap, steps: Sequence[PostprocessStep], image: NDArray[np.number] | None = None
) -> LabelMap:
    """Carry out steps one after the other; the grid stays what it is.

    Parameters
    ----------
    labelmap
        The segmentation; not changed. Of a model with regions the labels that it painted.
    steps
        From `medseg.plans.Plan.inference`.
    image
        The scan (C, I, J, K) on the same grid, channels in the plan's order; only ``refine`` looks at it.

    Raises
    ------
    UsageError
        If a step does not fit: labels that are not there, sizes in mm where spacing is unknown, no image.
    """
    for step in steps:
        labelmap = _applied(labelmap, step, image)
    return labelmap


def _applied(labelmap: LabelMap, step: PostprocessStep, image: NDArray[np.number] | None) -> LabelMap:
    ids = step.labels or None
    match step:
        case LargestComponentStep():
            return keep_largest(
                labelmap, ids, together=step.together, becomes=step.becomes, connectivity=step.connectivity
            )
        case RemoveSmallStep():
            return remove_small(
                labelmap,
                step.smallest_mm3,
                ids,
                together=step.together,
                becomes=step.becomes,
                connectivity=step.connectivity,
            )
        case FillHolesStep():
            return fill_holes(labelmap, ids, together=step.together, largest_mm3=step.largest_mm3)
        case OpeningStep():
            return opening(labelmap, step.radius_mm, ids)
        case ClosingStep():
            return closing(labelmap, step.radius_mm, ids)
        case GaussianStep():
            return smooth_gaussian(labelmap, step.sigma_mm, ids)
        case MedianStep():
            return smooth_median(labelmap, step.radius_mm, ids)
        case RefineStep():
            if image is None or step.channel >= len(image):
                found = "none" if image is None else f"{len(image)} channel(s)"
                raise UsageError(f"refine: needs channel {step.channel} of the scan, found {found}")
            return refine_edges(labelmap, image[step.channel], step.radius_mm, edge=step.edge, ids=ids)
