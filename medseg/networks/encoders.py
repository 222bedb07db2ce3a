"""Encoders for U-Net decoders by name: each is a rule that makes one stage after the other.

A stage takes the stage before it to its own resolution; what it gives skips to the decoder. So any encoder
can have any number of stages, strides, kernels and input channels. The published networks reduce a photograph
by four before their first block; here the first stage keeps the image's resolution, at which the borders of
a segmentation are drawn, and the published blocks follow from the second on (VGG's and LeNet's from the
first).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from medseg.networks.blocks import Step, bottleneck, residual, unit, units


@dataclass(frozen=True, slots=True)
class Stage:
    """What a stage is to be.

    Attributes
    ----------
    number
        0 is that of the image's resolution.
    before
        Channels that come in.
    features
        The plan's number of features for this stage.
    stride, kernel
        Per axis. A stride is also the size of the pooling, where there is one.
    dropout
        Share of features left out after each convolution while training.
    """

    number: int
    before: int
    features: int
    stride: Step
    kernel: Step
    dropout: float


StageRule = Callable[[Stage], tuple[nn.Module, int]]
"""Makes a stage, and says how many channels come out of it."""


@dataclass(frozen=True, slots=True)
class EncoderKind:
    """An encoder, and how many convolutions a stage of the decoder that fits it has."""

    stage: StageRule
    decoder_convolutions: int = 2


def plain(stage: Stage) -> tuple[nn.Module, int]:
    """Two convolutions, the first of which steps: nnU-Net's (Isensee et al., Nature Methods 18, 2021)."""
    made = units(stage.before, stage.features, stage.kernel, stage.stride, stage.dropout, 2)
    return made, stage.features


def plain_residual(stage: Stage) -> tuple[nn.Module, int]:
    """The same, added to its input (``network.residual``)."""
    made = residual(stage.before, stage.features, stage.kernel, stage.stride, stage.dropout)
    return made, stage.features


def resnet(counts: tuple[int, ...], *, expansion: int = 1) -> StageRule:
    """He et al., CVPR 2016: so many residual blocks per stage; the last number holds for further stages too.

    With an ``expansion`` the blocks are bottlenecks, whose results have so many times the plan's features.
    """

    def rule(stage: Stage) -> tuple[nn.Module, int]:
        if stage.number == 0:
            return unit(
                stage.before, stage.features, stage.kernel, stage.stride, stage.dropout
            ), stage.features
        width, ones = stage.features * expansion, (1,) * len(stage.stride)
        blocks = []
        for n in range(_count(counts, stage.number - 1)):
            before, stride = (stage.before, stage.stride) if n == 0 else (width, ones)
            if expansion == 1:
                blocks.append(residual(before, width, stage.kernel, stride, stage.dropout))
            else:
                blocks.append(bottleneck(before, stage.features, width, stage.kernel, stride, stage.dropout))
        return nn.Sequential(*blocks), width

    return rule


def vgg(counts: tuple[int, ...]) -> StageRule:
    """Simonyan and Zisserman, ICLR 2015: pooling, then so many convolutions."""

    def rule(stage: Stage) -> tuple[nn.Module, int]:
        count, ones = _count(counts, stage.number), (1,) * len(stage.stride)
        made = units(stage.before, stage.features, stage.kernel, ones, stage.dropout, count)
        return nn.Sequential(_pooling(stage.stride), made), stage.features

    return rule


def googlenet(stage: Stage) -> tuple[nn.Module, int]:
    """Szegedy et al., CVPR 2015: pooling, then two, five and two inception modules; two in further stages."""
    ones = (1,) * len(stage.stride)
    if stage.number == 0:
        return unit(stage.before, stage.features, stage.kernel, stage.stride, stage.dropout), stage.features
    made: list[nn.Module] = []
    if stage.number == 1:
        made = [
            unit(stage.before, stage.features, ones, None, stage.dropout),
            unit(stage.features, stage.features, stage.kernel, None, stage.dropout),
        ]
    else:
        for n in range(_count((2, 5, 2), stage.number - 2)):
            before = stage.before if n == 0 else stage.features
            made.append(_Inception(before, stage.features, stage.kernel, stage.dropout))
    return nn.Sequential(_pooling(stage.stride), *made), stage.features


def lenet5(stage: Stage) -> tuple[nn.Module, int]:
    """LeCun et al., Proc. IEEE 86, 1998: mean pooling, then one convolution of 5."""
    wide = tuple(size + 2 if size > 1 else 1 for size in stage.kernel)
    ones = (1,) * len(wide)
    pool: Callable[..., nn.Module] = nn.AvgPool2d if len(wide) == 2 else nn.AvgPool3d
    made = unit(stage.before, stage.features, wide, None, stage.dropout)
    return nn.Sequential(nn.Identity() if stage.stride == ones else pool(stage.stride), made), stage.features


class _Inception(nn.Module):
    """Four branches side by side, with the shares of features that module 3a of GoogLeNet gives them.

    The convolution of 5 is two of 3, which see as much for less (Szegedy et al., CVPR 2016).
    """

    def __init__(self, before: int, after: int, kernel: Step, dropout: float) -> None:
        super().__init__()
        ones = (1,) * len(kernel)
        single, double, pooled = after // 4, max(1, after // 8), max(1, after // 8)
        middle = after - single - double - pooled
        inner, inner_double = max(1, 3 * after // 8), max(1, after // 16)
        pool: Callable[..., nn.Module] = nn.MaxPool2d if len(kernel) == 2 else nn.MaxPool3d
        self.branches = nn.ModuleList(
            [
                unit(before, single, ones, None, dropout),
                nn.Sequential(
                    unit(before, inner, ones, None, dropout), unit(inner, middle, kernel, None, dropout)
                ),
                nn.Sequential(
                    unit(before, inner_double, ones, None, dropout),
                    unit(inner_double, double, kernel, None, dropout),
                    unit(double, double, kernel, None, dropout),
                ),
                nn.Sequential(
                    pool(kernel, stride=1, padding=tuple(size // 2 for size in kernel)),
                    unit(before, pooled, ones, None, dropout),
                ),
            ]
        )

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([branch(x) for branch in self.branches], 1)


def _pooling(stride: Step) -> nn.Module:
    if all(step == 1 for step in stride):
        return nn.Identity()
    pool: Callable[..., nn.Module] = nn.MaxPool2d if len(stride) == 2 else nn.MaxPool3d
    return pool(stride)


def _count(counts: tuple[int, ...], number: int) -> int:
    return counts[min(number, len(counts) - 1)]


ENCODERS: dict[str, EncoderKind] = {
    "plain": EncoderKind(plain),
    "resnet18": EncoderKind(resnet((2, 2, 2, 2))),
    "resnet34": EncoderKind(resnet((3, 4, 6, 3))),
    "resnet50": EncoderKind(resnet((3, 4, 6, 3), expansion=4)),
    "vgg11": EncoderKind(vgg((1, 1, 2, 2, 2))),
    "vgg16": EncoderKind(vgg((2, 2, 3, 3, 3))),
    "googlenet": EncoderKind(googlenet),
    "lenet5": EncoderKind(lenet5, decoder_convolutions=1),
}
"""By ``network.encoder``."""
