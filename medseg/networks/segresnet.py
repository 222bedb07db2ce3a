"""SegResNet by MONAI (Myronenko, "3D MRI brain tumor segmentation ...", BrainLes 2018)."""

from __future__ import annotations

from typing import Any

from monai.networks.nets import SegResNetDS
from torch import Tensor, nn

from medseg.networks.blocks import convolution
from medseg.plans import Plan
from medseg.plans.architectures import waiting_stages

_BLOCKS = (1, 2, 2, 4)  # of a stage, as published; further stages have as many as the last


class SegResNet(SegResNetDS):
    """MONAI's SegResNetDS, with the heads of deep supervision apart, so that inference leaves them out.

    In training a list: full resolution, then as many lower ones as the plan supervises. The other tensors are
    MONAI's own, name by name.
    """

    def __init__(self, plan: Plan) -> None:
        super().__init__(**segresnet_arguments(plan))
        net, ones = plan.network, (1,) * plan.dimensions
        self.deep_supervision_heads = nn.ModuleList(
            convolution(net.features[n], len(plan.output_names), ones, bias=True)
            for n in range(1, 1 + net.deep_supervision)
        )

    def forward(self, x: Tensor) -> Tensor | list[Tensor]:
        skips = self.encoder(x)
        decoded = [skips.pop()]
        levels: list[Any] = list(self.up_layers)  # ModuleDicts
        for level in levels:
            decoded.append(level["blocks"](level["upsample"](decoded[-1]) + skips.pop()))
        logits: Tensor = levels[-1]["head"](decoded[-1])
        if not self.training:
            return logits
        coarser = zip(self.deep_supervision_heads, decoded[-2::-1], strict=False)
        return [logits, *(head(features) for head, features in coarser)]


def segresnet_arguments(plan: Plan) -> dict[str, Any]:
    """What MONAI's own SegResNetDS takes to be this network, as plain values (JSON)."""
    net = plan.network
    stages = len(net.features)
    wait = waiting_stages(net.strides) or 0
    # MONAI takes voxel sizes: axes whose voxels are 2**wait times as long wait so many stages.
    resolution = [1 if step == 2 else 2**wait for step in net.strides[1]] if wait else None
    return {
        "spatial_dims": plan.dimensions,
        "init_filters": net.features[0],
        "in_channels": plan.input_channels,
        "out_channels": len(plan.output_names),
        "norm": "instance",
        "blocks_down": [_BLOCKS[min(n, len(_BLOCKS) - 1)] for n in range(stages)],
        "dsdepth": 1,
        "resolution": resolution,
    }


def build_segresnet(plan: Plan) -> nn.Module:
    """The network of a plan, which was checked when it was read."""
    return SegResNet(plan)
