"""The end of a training: post-processing chosen on its validation cases, where the plan asks for it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch import nn

from medseg.datasets import Case
from medseg.plans import Plan
from medseg.training.devices import Device
from medseg.training.fit import evaluating, forward_of
from medseg.training.postprocessing.choice import choose_steps, with_chosen
from medseg.training.validation import segment_case

Progress = Callable[[str, int, int], None]


def with_steps_for(
    module: nn.Module, plan: Plan, cases: Sequence[Case], target: Device, progress: Progress | None
) -> tuple[Plan, dict[str, Any] | None]:
    """The plan with the steps that improve the cases, and what the bundle tells of the choice.

    The plan as it is and None, where it does not ask for a choice or no case validates.
    """
    if not plan.inference.choose_postprocess or not cases:
        return plan, None
    module.to(target.torch_device)
    forward = forward_of(module, target.torch_device)
    with evaluating(module):
        segmented = (segment_case(case, plan, forward) for case in cases)
        pairs = ((case.predicted, case.reference.data) for case in segmented)
        choice = choose_steps(pairs, plan, progress=progress, total=len(cases))
    return with_chosen(plan, choice), choice.to_json(plan)
