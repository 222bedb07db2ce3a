"""A U-Net that works from half resolution on: a strided stem, residual stages, a light full resolution.

At full resolution a U-Net spends most of its time and memory on its thinnest features. Here the first
convolution already steps; the logits of half resolution are enlarged, and one light block of full resolution
adds what they lack at the borders: to every class, or only to tell a few large classes apart where half
resolution says that it is one of them. Batch normalisation folds into the convolutions for inference.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from medseg.errors import PlanInvalid
from medseg.networks.sides import PairedSides
from medseg.plans import Plan

Step = tuple[int, ...]


class StemUNet(nn.Module):
    """Logits (B, K, *size) from images (B, C, *size).

    In training a list: full resolution, then half, quarter ... as many as ``heads``. With ``sides`` those
    have the channels that `PairedSides` describes; in evaluation the logits always have one per class.
    """

    refined: Tensor | None
    spread: Tensor | None

    def __init__(
        self,
        dimensions: int,
        channels: int,
        classes: int,
        features: Sequence[int],
        strides: Sequence[Step],
        heads: int,
        sides: PairedSides | None,
        refined: Sequence[int] = (),
    ) -> None:
        """``refined`` are the channels that full resolution tells apart; empty: it adds to all."""
        super().__init__()
        self.sides = sides
        self._supervised = heads > 0
        outputs = classes if sides is None else sides.channels
        down, up, merge = [], [], []
        before = channels
        for width, stride in zip(features[1:], strides[1:], strict=True):
            down.append(
                nn.Sequential(_normed(dimensions, before, width, stride), _Residual(dimensions, width))
            )
            before = width
        for coarse, fine, stride in zip(
            features[:1:-1], features[-2:0:-1], list(strides)[:1:-1], strict=True
        ):
            up.append(_enlarge(dimensions, coarse, fine, stride))
            merge.append(
                nn.Sequential(
                    _normed(dimensions, 2 * fine, fine, _ones(dimensions)), _normed(dimensions, fine, fine)
                )
            )
        self.down, self.up, self.merge = nn.ModuleList(down), nn.ModuleList(up), nn.ModuleList(merge)
        self.full = nn.Sequential(
            _enlarge(dimensions, 2 * features[1], features[0], strides[1]),
            _norm(dimensions, features[0]),
            _activation(),
            _normed(dimensions, features[0], features[0]),
        )
        self._factors = tuple(float(step) for step in strides[1])
        convolution = nn.Conv2d if dimensions == 2 else nn.Conv3d
        self.head = convolution(features[0], len(refined) or outputs, 1)
        # Picks the refined channels as a convolution of kernel 1, which a runtime does faster than slices.
        picked = functional.one_hot(torch.tensor(list(refined), dtype=torch.int64), outputs).float()
        kernel = [1] * dimensions
        self.register_buffer("refined", picked.reshape(*picked.shape, *kernel) if refined else None)
        back = picked.T.reshape(*picked.T.shape, *kernel).clone()
        self.register_buffer("spread", back if refined else None)
        self.coarse_head = convolution(features[1], outputs, 1)
        self.deep_supervision_heads = nn.ModuleList(
            convolution(width, outputs, 1) for width in features[2 : 1 + heads]
        )
        _initialise(self)
        if not refined:
            # Full resolution begins with what half resolution knows, and keeps it while that trains alone.
            for parameter in self.head.parameters():
                nn.init.zeros_(parameter)

    def forward(self, x: Tensor, finest: int = 0) -> Tensor | list[Tensor]:
        """``finest`` leaves out the heads before it, and what only they need (training only)."""
        skips = []
        for stage in self.down:
            x = stage(x)
            skips.append(x)
        decoded = [x]
        for enlarge, merge, skip in zip(self.up, self.merge, skips[-2::-1], strict=True):
            decoded.append(merge(torch.cat([enlarge(decoded[-1]), skip], 1)))
        finest_first = decoded[::-1]
        if not self.training:
            logits = self._at_full(finest_first[0], skips[0])
            return logits if self.sides is None else self.sides.expand(logits)
        results = []
        if finest == 0:
            results.append(self._at_full(finest_first[0], skips[0]))
        for number, head in enumerate(self._lower_heads(), start=1):
            if number >= finest:
                results.append(head(finest_first[number - 1]))
        return results

    def _lower_heads(self) -> list[nn.Module]:
        return [self.coarse_head, *self.deep_supervision_heads] if self._supervised else []

    def _at_full(self, decoded: Tensor, skip: Tensor) -> Tensor:
        fine: Tensor = self.head(self.full(torch.cat([decoded, skip], 1)))
        coarse = self.coarse_head(decoded)
        mode = "bilinear" if coarse.ndim == 4 else "trilinear"
        # By factors, not to a size: its ONNX graph is then the same for any.
        coarse = functional.interpolate(coarse, scale_factor=self._factors, mode=mode)
        return coarse + fine if self.refined is None else self._split(coarse, fine)

    def _split(self, coarse: Tensor, fine: Tensor) -> Tensor:
        """p(class) = p(one of the refined) by half resolution, times p(class of these) by full resolution."""
        assert self.refined is not None
        assert self.spread is not None
        convolve = functional.conv2d if coarse.ndim == 4 else functional.conv3d
        before = convolve(coarse, self.refined)
        total = before.logsumexp(1, keepdim=True) - fine.logsumexp(1, keepdim=True)
        return coarse + convolve(fine + total - before, self.spread)


class _Residual(nn.Module):
    """Two convolutions whose result is added to their input (He et al., CVPR 2016)."""

    def __init__(self, dimensions: int, width: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            _normed(dimensions, width, width),
            _convolution(dimensions, width, width, _ones(dimensions)),
            _norm(dimensions, width),
        )

    def forward(self, x: Tensor) -> Tensor:
        return functional.leaky_relu(x + self.body(x), 0.01, inplace=True)


def build_stem_unet(plan: Plan) -> nn.Module:
    """The network of a plan: ``features[0]`` are those of full resolution, the rest those of the stages.

    Raises
    ------
    PlanInvalid
        If the plan asks for what this network does not have: fewer than three stages, a first stride,
        kernels of other sizes, dropout.
    """
    net, dimensions = plan.network, plan.dimensions
    if len(net.features) < 3:
        raise PlanInvalid(f"network.features: {len(net.features)} stages, a stem_unet needs at least 3")
    if any(step != 1 for step in net.strides[0]):
        raise PlanInvalid(f"network.strides: the first is {net.strides[0]}, expected ones: it is the image's")
    if any(size != 3 for kernel in net.kernel_sizes for size in kernel) or net.dropout:
        raise PlanInvalid("network: a stem_unet has kernels of 3 and no dropout; leave both out")
    if net.paired_sides and plan.regions:
        raise PlanInvalid("network.paired_sides: regions overlap and have no sides; leave one of both out")
    sides = PairedSides.of(plan) if net.paired_sides else None
    return StemUNet(
        dimensions,
        plan.input_channels,
        len(plan.output_names),
        net.features,
        net.strides,
        net.deep_supervision,
        sides,
        _refined(plan, sides),
    )


def _refined(plan: Plan, sides: PairedSides | None) -> list[int]:
    """The network's channels of ``network.refine_labels``, ascending."""
    index = [plan.class_ids.index(label) for label in plan.network.refine_labels]
    return sorted({n if sides is None else int(sides.merged[n]) for n in index})


def _normed(dimensions: int, before: int, after: int, stride: Step | None = None) -> nn.Sequential:
    return nn.Sequential(
        _convolution(dimensions, before, after, stride or _ones(dimensions)),
        _norm(dimensions, after),
        _activation(),
    )


def _convolution(dimensions: int, before: int, after: int, stride: Step) -> nn.Module:
    kind: Callable[..., nn.Module] = nn.Conv2d if dimensions == 2 else nn.Conv3d
    return kind(before, after, 3, stride=stride, padding=1, bias=False)


def _enlarge(dimensions: int, before: int, after: int, stride: Step) -> nn.Module:
    kind: Callable[..., nn.Module] = nn.ConvTranspose2d if dimensions == 2 else nn.ConvTranspose3d
    return kind(before, after, stride, stride=stride, bias=False)


def _norm(dimensions: int, width: int) -> nn.Module:
    kind = nn.BatchNorm2d if dimensions == 2 else nn.BatchNorm3d
    return kind(width)


def _activation() -> nn.Module:
    return nn.LeakyReLU(0.01, inplace=True)


def _ones(dimensions: int) -> Step:
    return (1,) * dimensions


def _initialise(network: nn.Module) -> None:
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Conv3d) and module.bias is None:
            nn.init.kaiming_normal_(module.weight, 0.01, mode="fan_out", nonlinearity="leaky_relu")
