"""A U-Net whose encoder is chosen by name, with attention gates or without."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from medseg.networks.blocks import Step, convolution, enlargement, initialise, units
from medseg.networks.encoders import ENCODERS, Stage, plain_residual
from medseg.plans import Plan


class EncoderUNet(nn.Module):
    """Logits (B, K, *size) from images (B, C, *size).

    In training a list: full resolution, then as many lower ones as the plan supervises, finest first.
    """

    def __init__(self, plan: Plan) -> None:
        super().__init__()
        net = plan.network
        kind = ENCODERS[net.encoder]
        rule = plain_residual if net.residual else kind.stage
        kernels: tuple[Step, ...] = net.kernel_sizes or ((3,) * plan.dimensions,) * len(net.features)
        stages, widths = [], [plan.input_channels]
        for number, (features, stride, kernel) in enumerate(
            zip(net.features, net.strides, kernels, strict=True)
        ):
            made, width = rule(Stage(number, widths[-1], features, stride, kernel, net.dropout))
            stages.append(made)
            widths.append(width)
        self.encoder = nn.ModuleList(stages)
        decoder, coarse = [], widths[-1]
        for number in range(len(stages) - 2, -1, -1):
            features = net.features[number]
            merge = units(
                features + widths[number + 1],
                features,
                kernels[number],
                (1,) * plan.dimensions,
                net.dropout,
                kind.decoder_convolutions,
            )
            # What the image's own resolution shows is not yet worth weighing (Oktay et al., section 2).
            gated = net.attention_gates and number > 0
            decoder.append(
                _Decoder(coarse, widths[number + 1], features, net.strides[number + 1], merge, gated)
            )
            coarse = features
        self.decoder = nn.ModuleList(decoder)
        ones, outputs = (1,) * plan.dimensions, len(plan.output_names)
        self.head = convolution(net.features[0], outputs, ones, bias=True)
        self.deep_supervision_heads = nn.ModuleList(
            convolution(net.features[n], outputs, ones, bias=True) for n in range(1, 1 + net.deep_supervision)
        )
        initialise(self)

    def forward(self, x: Tensor) -> Tensor | list[Tensor]:
        skips = []
        for stage in self.encoder:
            x = stage(x)
            skips.append(x)
        decoded = [skips.pop()]
        for stage in self.decoder:
            decoded.append(stage(decoded[-1], skips.pop()))
        logits: Tensor = self.head(decoded[-1])
        if not self.training:
            return logits
        coarser = zip(self.deep_supervision_heads, decoded[-2::-1], strict=False)
        return [logits, *(head(features) for head, features in coarser)]


class _Decoder(nn.Module):
    """The coarser features enlarged, joined with those that skip, and convolved."""

    def __init__(
        self, coarse: int, skip: int, features: int, stride: Step, merge: nn.Module, gated: bool
    ) -> None:
        super().__init__()
        self.gate = AttentionGate(coarse, skip, stride) if gated else None
        self.enlarge = enlargement(coarse, features, stride)
        self.merge = merge

    def forward(self, coarse: Tensor, skip: Tensor) -> Tensor:
        if self.gate is not None:
            skip = self.gate(coarse, skip)
        result: Tensor = self.merge(torch.cat([self.enlarge(coarse), skip], 1))
        return result


class AttentionGate(nn.Module):
    """What skips, weighed 0 to 1 at each place by what the coarser features say of it.

    Additive attention on the coarser grid, enlarged linearly (Oktay et al., "Attention U-Net: Learning Where
    to Look for the Pancreas", MIDL 2018, equations 1 and 2).
    """

    def __init__(self, coarse: int, skip: int, stride: Step) -> None:
        super().__init__()
        ones, inner = (1,) * len(stride), max(1, skip // 2)
        kind: Callable[..., nn.Module] = nn.Conv2d if len(stride) == 2 else nn.Conv3d
        self.of_skip = kind(skip, inner, stride, stride=stride, bias=False)
        self.of_coarse = convolution(coarse, inner, ones, bias=True)
        self.weight = convolution(inner, 1, ones, bias=True)
        self.factors = tuple(float(step) for step in stride)

    def forward(self, coarse: Tensor, skip: Tensor) -> Tensor:
        seen = functional.relu(self.of_skip(skip) + self.of_coarse(coarse))
        weight = torch.sigmoid(self.weight(seen))
        mode = "bilinear" if skip.ndim == 4 else "trilinear"
        # By factors, not to a size: its ONNX graph is then the same for any.
        return skip * functional.interpolate(weight, scale_factor=self.factors, mode=mode)
