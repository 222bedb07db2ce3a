"""The post-processing that models bring along: which steps are applied, to what, and what is told of it."""

from __future__ import annotations

from collections.abc import Sequence

from medseg.errors import InputRefused
from medseg.models import ModelBundle
from medseg.pipeline.options import InferOptions
from medseg.plans import PostprocessStep


def steps_of(bundles: Sequence[ModelBundle], options: InferOptions) -> tuple[PostprocessStep, ...]:
    """The steps of a model; of an ensemble those that all members begin with; none where turned off."""
    if options.postprocess == "none":
        return ()
    shared = []
    for same_place in zip(*(bundle.plan.inference.steps for bundle in bundles), strict=False):
        if any(step != same_place[0] for step in same_place):
            break
        shared.append(same_place[0])
    return tuple(shared)


def left_out(bundles: Sequence[ModelBundle], options: InferOptions) -> tuple[str, ...]:
    """A note where members of an ensemble bring along steps that not all of them share."""
    if options.postprocess == "none":
        return ()
    shared = len(steps_of(bundles, options))
    members = [bundle.name for bundle in bundles if len(bundle.plan.inference.steps) > shared]
    if not members:
        return ()
    return (
        f"the ensemble's members differ in post-processing: {shared} step(s) that all share were applied, "
        f"further ones of {', '.join(members)} were not; `medseg model postprocess` chooses steps for all",
    )


def refuse_unknown_spacing(
    spacing_known: bool, bundles: Sequence[ModelBundle], options: InferOptions
) -> None:
    """Refuse a scan whose voxels have no known size where a step needs one.

    Raises
    ------
    InputRefused
        ``spacing-unknown``, naming the steps.
    """
    needed = [step.step for step in steps_of(bundles, options) if step.needs_mm]
    if needed and not spacing_known:
        raise InputRefused(
            f"the model's post-processing ({', '.join(needed)}) needs voxel sizes in mm, the scan's spacing "
            "is unknown: give it one, or run without post-processing (--postprocess none)",
            code="spacing-unknown",
        )
