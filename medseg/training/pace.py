"""How large a network the time allows: a small one that has learnt beats a large one that has not."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from medseg.networks import build_network
from medseg.plans import Plan
from medseg.training.devices import Device
from medseg.training.fit import memory_format
from medseg.words import counted

# Between the 270 steps that left a network of 16 features half trained and the 1,300 that did not one of 8
# (hippocampus, ten minutes); where the line lies was not measured.
ENOUGH_STEPS, FEW_STEPS = 1000, 270
_LEAST_BATCH, _LEAST_FEATURES = 2, 8
# Whose features may be any even number, alike in all stages.
_HALVED = ("unet", "segresnet", "unet_plus_plus")
# Patches, loss and optimiser took 24 of the 314 ms of a step with 8 features (3D, full augmentation); less of
# wider ones.
_BESIDE_THE_NETWORK = 1.1


@dataclass(frozen=True, slots=True)
class Pace:
    """A plan that fits the time, with about how many steps it makes, and how many the proposed one would."""

    plan: Plan
    steps: int
    proposed_steps: int

    @property
    def remark(self) -> str:
        """What was chosen, and what it was chosen over."""
        return (
            f"for the time: {self.plan.network.features[0]} features, {self.plan.sampling.batch_size} "
            f"patches in a step, about {self.steps} steps instead of about {self.proposed_steps}"
        )


def remark_on(steps: int, *, by_time: bool) -> str | None:
    """What to tell people whose model comes out of a few steps only; None where there were enough.

    ``by_time``: it was minutes that ended the training.
    """
    if steps >= FEW_STEPS:
        return None
    more = "--resume with more --max-minutes" if by_time else "a larger schedule.steps"
    return f"only {counted(steps, 'step')} of training, few to learn from: {more} makes more of the model"


def fit_to_time(the_plan: Plan, layers: Mapping[str, Any], target: Device, seconds: float) -> Pace | None:
    """The widest network, then the largest batch, of which a CPU makes `ENOUGH_STEPS` in the time.

    Features are halved down to 8 and the batch made smaller down to 2 patches, unless ``layers``, what the
    user gave of the plan, names them; the fewest of both are taken where even they make fewer steps. None on
    a GPU, which makes enough of them in any time.
    """
    if target.kind != "cpu" or seconds <= 0:
        return None
    batch_given = "batch_size" in _section(layers, "sampling")
    proposed, proposed_steps = the_plan.sampling.batch_size, None
    while True:
        each = _BESIDE_THE_NETWORK * seconds_per_patch(the_plan, target)
        if proposed_steps is None:
            proposed_steps = int(seconds / (each * proposed))
        affordable = int(seconds / (each * ENOUGH_STEPS))
        batch = proposed if batch_given else min(proposed, max(_LEAST_BATCH, affordable))
        steps = int(seconds / (each * batch))
        narrower = _halved(the_plan, layers)
        if steps >= ENOUGH_STEPS or narrower is None:
            sampling = the_plan.sampling.model_copy(update={"batch_size": batch})
            return Pace(the_plan.model_copy(update={"sampling": sampling}), steps, proposed_steps)
        the_plan = narrower


def seconds_per_patch(the_plan: Plan, target: Device) -> float:
    """One patch there and back through the network: the faster of two, after one to warm up."""
    layout = memory_format(the_plan, target.torch_device)
    network: Any = build_network(the_plan)  # torch's own type hints lack the layout
    network.to(device=target.torch_device, memory_format=layout).train()
    patch = torch.zeros(1, the_plan.input_channels, *the_plan.patch, device=target.torch_device)
    patch = patch.contiguous(memory_format=layout)
    half = target.precision(the_plan.precision).name == "bf16"
    spent = []
    for _ in range(3):
        started = time.monotonic()
        with torch.autocast(target.kind, torch.bfloat16, enabled=half):
            heads = network(patch)
        torch.autograd.backward(torch.stack([head.float().square().mean() for head in heads]).sum())
        spent.append(time.monotonic() - started)
    return min(spent[1:])


def _halved(the_plan: Plan, layers: Mapping[str, Any]) -> Plan | None:
    """The plan with half the features; None where the user gave them, or they are as few as may be."""
    net = the_plan.network
    if "features" in _section(layers, "network") or net.name not in _HALVED:
        return None
    features = tuple(width // 2 for width in net.features)
    if features[0] < _LEAST_FEATURES:
        return None
    return the_plan.model_copy(update={"network": net.model_copy(update={"features": features})})


def _section(layers: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    section = layers.get(name, {})
    return section if isinstance(section, Mapping) else {}
