"""U-Net++ by MONAI (Zhou et al., "UNet++: A Nested U-Net Architecture", DLMIA 2018)."""

from __future__ import annotations

import torch
from monai.networks.nets import BasicUNetPlusPlus
from monai.networks.nets.basic_unet import UpCat
from torch import Tensor, nn

from medseg.networks.blocks import convolution
from medseg.plans import Plan

_LEVELS = 5


class UNetPlusPlus(BasicUNetPlusPlus):
    """MONAI's BasicUNetPlusPlus, with only the heads that the plan asks for.

    In training a list: the logits, then those of the shallower U-Nets inside, the deepest of them first; all
    at full resolution.
    """

    def __init__(self, plan: Plan) -> None:
        net = plan.network
        super().__init__(
            spatial_dims=plan.dimensions,
            in_channels=plan.input_channels,
            out_channels=len(plan.output_names),
            features=(*net.features, net.features[0]),
            dropout=net.dropout,
        )
        for module in self.modules():
            if isinstance(module, UpCat):
                module.is_pad = (
                    False  # sizes are multiples of the strides; exporting knows no "where it differs"
                )
        del self.final_conv_0_1, self.final_conv_0_2, self.final_conv_0_3
        self.deep_supervision_heads = nn.ModuleList(
            convolution(net.features[0], len(plan.output_names), (1,) * plan.dimensions, bias=True)
            for _ in range(net.deep_supervision)
        )

    def forward(self, x: Tensor) -> Tensor | list[Tensor]:
        # grid[i][j]: resolution i after j upward steps; each takes all before it at its own resolution.
        grid: list[list[Tensor]] = [[] for _ in range(_LEVELS)]
        for level in range(_LEVELS):
            x = getattr(self, f"conv_{level}_0")(x)
            grid[level].append(x)
            for row, step in zip(range(level - 1, -1, -1), range(1, level + 1), strict=True):
                join = getattr(self, f"upcat_{row}_{step}")
                grid[row].append(join(grid[row + 1][step - 1], torch.cat(grid[row], 1)))
        *shallower, deepest = grid[0][1:]
        logits: Tensor = self.final_conv_0_4(deepest)
        if not self.training:
            return logits
        coarser = zip(self.deep_supervision_heads, shallower[::-1], strict=False)
        return [logits, *(head(features) for head, features in coarser)]


def build_unet_plus_plus(plan: Plan) -> nn.Module:
    """The network of a plan, which was checked when it was read."""
    return UNetPlusPlus(plan)
