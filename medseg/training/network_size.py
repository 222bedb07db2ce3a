"""How wide and deep the planner makes a network of each kind, and how much memory it reckons with."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from medseg.plans.architectures import ARCHITECTURES, grown_features

PerStage = tuple[tuple[int, ...], ...]
Topology = Callable[[Sequence[int], Sequence[float]], tuple[PerStage, PerStage]]
"""Size of a patch in voxels and spacing in mm, to strides and kernel sizes per stage (none: 3 everywhere)."""

_LEAST_EDGE = 4
_SEGRESNET_HALVINGS = (2, 4)
_MOST_OF_LENET = 64


@dataclass(frozen=True, slots=True)
class NetworkSize:
    """What the planner proposes for a kind of network before it knows the patch.

    Attributes
    ----------
    features
        Of the finest stage.
    memory
        Bytes that training takes per voxel and feature of the finest stage, relative to the plain U-Net.
    topology
        The strides for a patch; None: the planner's own rule, which any U-Net follows.
    """

    name: str
    features: int
    memory: float
    topology: Topology | None
    most: int | None = None

    def of_stages(self, stages: int, dimensions: int) -> tuple[int, ...]:
        """Features of each stage."""
        grown = grown_features(self.name, self.features, stages, dimensions)
        return grown if self.most is None else tuple(min(one, self.most) for one in grown)


# What autograd keeps for the backward pass, counted without computing it: per voxel and feature, over that of
# the plain U-Net; in 2D or 3D, whichever is larger. Gates add less than a hundredth.
_MEMORY = {
    "plain": 1.0,
    "resnet18": 1.2,
    "resnet34": 1.5,
    "resnet50": 3.6,
    "vgg11": 1.0,
    "vgg16": 1.2,
    "googlenet": 1.4,
    "lenet5": 0.7,
    "segresnet": 1.2,
    "unet_plus_plus": 3.5,
    "swin_unetr": 5.3,
}


def network_size(asked: Any, on_gpu: bool) -> NetworkSize:
    """The size for what a recipe or override says of the network: its ``name`` and ``encoder`` count.

    What is no such section, and names that no network has, are for the plan to refuse.
    """
    asked = asked if isinstance(asked, Mapping) else {}
    name, encoder = str(asked.get("name", "unet")), str(asked.get("encoder", "plain"))
    usual = 32 if on_gpu else 16
    if name == "swin_unetr":
        return NetworkSize(name, 24 if on_gpu else 12, _MEMORY[name], _always_halving(name))
    if name == "unet_plus_plus":
        return NetworkSize(name, usual, _MEMORY[name], _always_halving(name))
    if name == "segresnet":
        return NetworkSize(name, usual, _MEMORY[name], segresnet_topology)
    if encoder == "lenet5":
        return NetworkSize(name, usual // 2, _MEMORY[encoder], None, _MOST_OF_LENET)
    return NetworkSize(name, usual, _MEMORY.get(encoder, 1.0), None)


def segresnet_topology(size: Sequence[int], spacing: Sequence[float]) -> tuple[PerStage, PerStage]:
    """Every axis halves at every stage; but where voxels are more than twice as long as elsewhere, it waits
    until they are no more than that.

    Three to five stages, as many as leave each axis four voxels.
    """
    finest = min(spacing)
    ratios = [one / finest for one in spacing]
    wait = max((math.ceil(math.log2(ratio)) - 1 for ratio in ratios if ratio > 2), default=0)
    least, most = _SEGRESNET_HALVINGS
    halvings = min(
        most,
        *(
            max(0, int(math.log2(edge / _LEAST_EDGE))) + (wait if ratio > 2 else 0)
            for edge, ratio in zip(size, ratios, strict=True)
        ),
    )
    strides = [
        tuple(1 if ratio > 2 and stage < wait else 2 for ratio in ratios)
        for stage in range(max(least, halvings))
    ]
    return ((1,) * len(ratios), *strides), ()


def _always_halving(name: str) -> Topology:
    """All axes, as often as the architecture has stages for; a patch can be no smaller than that."""
    stages = ARCHITECTURES[name].stages or 1

    def topology(size: Sequence[int], spacing: Sequence[float]) -> tuple[PerStage, PerStage]:
        ones, twos = (1,) * len(size), (2,) * len(spacing)
        return (ones, *[twos] * (stages - 1)), ()

    return topology
