"""Convolution, normalisation and activation, which the U-Nets' encoders and decoders are made of.

Instance normalisation and a leaky ReLU, in 2D or 3D (Isensee et al., Nature Methods 18, 2021): a batch of two
patches, as memory allows them, is too small for batch normalisation to count on.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import Tensor, nn

Step = tuple[int, ...]

_SLOPE = 0.01


def convolution(
    before: int, after: int, kernel: Step, stride: Step | None = None, *, bias: bool = False
) -> nn.Module:
    """A convolution that keeps the size, or divides it by ``stride``; its rank is that of ``kernel``."""
    kind: Callable[..., nn.Module] = nn.Conv2d if len(kernel) == 2 else nn.Conv3d
    padding = tuple(size // 2 for size in kernel)
    return kind(before, after, kernel, stride=stride or (1,) * len(kernel), padding=padding, bias=bias)


def enlargement(before: int, after: int, stride: Step) -> nn.Module:
    """A transposed convolution that multiplies the size by ``stride``."""
    kind: Callable[..., nn.Module] = nn.ConvTranspose2d if len(stride) == 2 else nn.ConvTranspose3d
    return kind(before, after, stride, stride=stride, bias=False)


def normalisation(width: int, dimensions: int) -> nn.Module:
    """Instance normalisation with weights."""
    kind: Callable[..., nn.Module] = nn.InstanceNorm2d if dimensions == 2 else nn.InstanceNorm3d
    return kind(width, affine=True)


def activation() -> nn.Module:
    """A leaky ReLU."""
    return nn.LeakyReLU(_SLOPE, inplace=True)


def unit(
    before: int,
    after: int,
    kernel: Step,
    stride: Step | None = None,
    dropout: float = 0.0,
    *,
    active: bool = True,
) -> nn.Sequential:
    """Convolution, dropout where there is any, normalisation, and activation unless told."""
    return nn.Sequential(
        convolution(before, after, kernel, stride),
        *([nn.Dropout(dropout)] if dropout else []),
        normalisation(after, len(kernel)),
        *([activation()] if active else []),
    )


def units(before: int, after: int, kernel: Step, stride: Step, dropout: float, count: int) -> nn.Sequential:
    """So many units in a row, the first of which steps."""
    rest = [unit(after, after, kernel, None, dropout) for _ in range(count - 1)]
    return nn.Sequential(unit(before, after, kernel, stride, dropout), *rest)


class Residual(nn.Module):
    """A chain of units whose result is added to their input (He et al., CVPR 2016).

    Where the size or the number of channels changes, the input goes through a convolution of kernel 1.
    """

    def __init__(self, body: Sequence[nn.Module], before: int, after: int, stride: Step) -> None:
        super().__init__()
        self.body = nn.Sequential(*body)
        ones = (1,) * len(stride)
        same = before == after and stride == ones
        self.shortcut = nn.Identity() if same else unit(before, after, ones, stride, active=False)
        self.activation = activation()

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.activation(self.body(x) + self.shortcut(x))
        return result


def residual(before: int, after: int, kernel: Step, stride: Step, dropout: float) -> Residual:
    """The block of ResNet-18 and 34: two convolutions."""
    body = (
        unit(before, after, kernel, stride, dropout),
        unit(after, after, kernel, None, dropout, active=False),
    )
    return Residual(body, before, after, stride)


def bottleneck(before: int, inner: int, after: int, kernel: Step, stride: Step, dropout: float) -> Residual:
    """The block of ResNet-50: a convolution between two of kernel 1, on fewer channels.

    The middle one steps, not the first, which would skip three of four voxels (torchvision's ResNet 1.5).
    """
    ones = (1,) * len(kernel)
    body = (
        unit(before, inner, ones, None, dropout),
        unit(inner, inner, kernel, stride, dropout),
        unit(inner, after, ones, None, dropout, active=False),
    )
    return Residual(body, before, after, stride)


def initialise(network: nn.Module) -> None:
    """Kernels as He et al. (ICCV 2015) draw them for a leaky ReLU, biases zero."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Conv3d | nn.ConvTranspose2d | nn.ConvTranspose3d):
            nn.init.kaiming_normal_(module.weight, _SLOPE)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
