"""The plain U-Net, 2D or 3D: MONAI's DynUNet, which is nnU-Net's network."""

from __future__ import annotations

import torch
from monai.networks.nets import DynUNet
from torch import nn

from medseg.plans import Plan


class UNet(DynUNet):  # type: ignore[misc]  # MONAI ships no types
    """DynUNet whose deep-supervision heads stay at their own resolution.

    DynUNet enlarges every head to the full patch and stacks them, which costs memory for nothing: the
    loss is as well taken on a reduced label. The state dict is DynUNet's own, key by key.
    """

    def forward(self, x: torch.Tensor) -> torch.Tensor | list[torch.Tensor]:
        logits: torch.Tensor = self.output_block(self.skip_layers(x))
        if self.training and self.deep_supervision:
            return [logits, *self.heads]
        return logits


def build_unet(plan: Plan) -> nn.Module:
    """A U-Net with instance normalisation and leaky ReLU, sized by ``plan.network``."""
    net = plan.network
    return UNet(
        spatial_dims=plan.dimensions,
        in_channels=len(plan.channels),
        out_channels=len(plan.class_ids),
        kernel_size=net.kernel_sizes or [3] * len(net.features),
        strides=net.strides,
        upsample_kernel_size=net.strides[1:],
        filters=net.features,
        dropout=net.dropout or None,
        norm_name=("INSTANCE", {"affine": True}),
        deep_supervision=net.deep_supervision > 0,
        deep_supr_num=max(1, net.deep_supervision),
        res_block=net.residual,
    )
