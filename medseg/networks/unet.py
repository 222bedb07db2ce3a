"""The U-Net, 2D or 3D; the plain one is MONAI's DynUNet, which is nnU-Net's network."""

from __future__ import annotations

from typing import Any

import torch
from monai.networks.nets import DynUNet
from torch import nn

from medseg.errors import PlanInvalid
from medseg.networks.encoder_unet import EncoderUNet
from medseg.plans import Plan


class UNet(DynUNet):
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
    """A U-Net with instance normalisation and leaky ReLU, sized by ``plan.network``.

    DynUNet where the encoder is plain and there are no gates: so are the models that exist.

    Raises
    ------
    PlanInvalid
        If the plan has fewer than three stages.
    """
    stages = len(plan.network.features)
    if stages < 3:
        raise PlanInvalid(
            f"network.features: {stages} stages, a unet needs at least 3; give features and strides"
        )
    if plan.network.encoder != "plain" or plan.network.attention_gates:
        return EncoderUNet(plan)
    return UNet(**dynunet_arguments(plan))


def dynunet_arguments(plan: Plan) -> dict[str, Any]:
    """What MONAI's own DynUNet takes to be this network, as plain values (JSON)."""
    net = plan.network
    return {
        "spatial_dims": plan.dimensions,
        "in_channels": plan.input_channels,
        "out_channels": len(plan.output_names),
        "kernel_size": [list(k) for k in net.kernel_sizes] or [3] * len(net.features),
        "strides": [list(s) for s in net.strides],
        "upsample_kernel_size": [list(s) for s in net.strides[1:]],
        "filters": list(net.features),
        "dropout": net.dropout or None,
        "norm_name": ["INSTANCE", {"affine": True}],
        "deep_supervision": net.deep_supervision > 0,
        "deep_supr_num": max(1, net.deep_supervision),
        "res_block": net.residual,
    }
