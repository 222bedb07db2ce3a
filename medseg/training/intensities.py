"""Random changes of a batch's intensities, each for the samples that drew it alone."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional

from medseg.plans import AugmentationPlan
from medseg.training.draws import chosen, uniform
from medseg.training.knots import enlarged

_BIAS_KNOTS = 4


def change_intensities(
    images: Tensor, how: AugmentationPlan, generator: torch.Generator, noise: torch.Generator
) -> Tensor:
    """Noise, blur, brightness, contrast, low resolution, bias field, gamma, in this order.

    Images (B, C, *size) are normalised (mean about 0, standard deviation about 1), so amplitudes are in
    units of the standard deviation. They are changed in place.

    Parameters
    ----------
    generator
        On the CPU: draws which samples are changed, and by how much.
    noise
        On the images' device: draws voxels and knots.
    """
    changes: list[tuple[tuple[float, float], Callable[[Tensor, float], Tensor]]] = []
    if how.noise > 0:
        changes.append(((0.0, how.noise), partial(_add_noise, generator=noise)))
    if how.blur_voxels > 0:
        changes.append(((0.3, max(0.3, how.blur_voxels)), _blur))
    if how.brightness > 0:
        changes.append(((-how.brightness, how.brightness), torch.add))
    if how.contrast[0] < how.contrast[1]:
        changes.append((how.contrast, _stretch))
    if how.low_resolution[1] > 1:
        changes.append((how.low_resolution, _coarsen))
    if how.bias_field > 0:
        changes.append(((how.bias_field, how.bias_field), partial(_shade, generator=noise)))
    if how.gamma[0] < how.gamma[1]:
        changes.append((how.gamma, _gamma))
    batch = len(images)
    for (low, high), change in changes:
        happens = chosen(batch, how.intensity_probability, generator).tolist()
        amounts = uniform(batch, low, high, generator).tolist()
        for n in range(batch):
            if happens[n]:
                images[n : n + 1] = change(images[n : n + 1], amounts[n])
    return images


# Each takes one sample (1, C, *size) and an amount, and returns a new one.


def _add_noise(image: Tensor, spread: float, generator: torch.Generator) -> Tensor:
    noise = torch.randn(image.shape, generator=generator, device=image.device)
    return torch.add(image, noise, alpha=spread)


def _blur(image: Tensor, sigma: float) -> Tensor:
    """Gaussian blur, separable, borders repeated."""
    radius = max(1, math.ceil(3 * sigma))
    offsets = torch.arange(-radius, radius + 1, dtype=torch.float32)
    kernel = torch.exp(-0.5 * (offsets / sigma) ** 2)
    kernel = (kernel / kernel.sum()).to(image.device)
    dimensions, channels = image.ndim - 2, image.shape[1]
    convolve = functional.conv2d if dimensions == 2 else functional.conv3d
    for axis in range(dimensions):
        shape, padding = [1] * dimensions, [0] * (2 * dimensions)
        shape[axis] = len(kernel)
        padding[2 * (dimensions - 1 - axis)] = padding[2 * (dimensions - 1 - axis) + 1] = radius
        weight = kernel.reshape(1, 1, *shape).expand(channels, 1, *shape)
        image = convolve(functional.pad(image, padding, mode="replicate"), weight, groups=channels)
    return image


def _stretch(image: Tensor, factor: float) -> Tensor:
    """Contrast: distances from each channel's mean, times the factor."""
    mean = image.mean(dim=_voxels(image), keepdim=True)
    return torch.add(image * factor, mean, alpha=1 - factor)


def _coarsen(image: Tensor, factor: float) -> Tensor:
    """Through a grid ``factor`` times coarser and back."""
    mode = "bilinear" if image.ndim == 4 else "trilinear"
    coarse = [max(1, round(n / factor)) for n in image.shape[2:]]
    small = functional.interpolate(image, size=coarse, mode="nearest-exact")
    return functional.interpolate(small, size=image.shape[2:], mode=mode, align_corners=False)


def _shade(image: Tensor, amplitude: float, generator: torch.Generator) -> Tensor:
    """A smooth factor, on the intensities above each channel's lowest."""
    dimensions = image.ndim - 2
    knots = torch.randn(1, *[_BIAS_KNOTS] * dimensions, 1, generator=generator, device=image.device)
    field = torch.exp(enlarged(knots * amplitude, tuple(image.shape[2:])))
    low = image.amin(_voxels(image), keepdim=True)
    return (image - low) * field.movedim(-1, 1) + low


def _gamma(image: Tensor, exponent: float) -> Tensor:
    """Power of the intensities scaled to 0..1; mean and standard deviation are kept."""
    axes = _voxels(image)
    low, high = image.amin(axes, keepdim=True), image.amax(axes, keepdim=True)
    changed = ((image - low) / (high - low).clamp_min(1e-6)).clamp_(0, 1).pow_(exponent)
    std, mean = torch.std_mean(image, axes, keepdim=True)
    new_std, new_mean = torch.std_mean(changed, axes, keepdim=True)
    factor = std / new_std.clamp_min(1e-6)
    return changed.mul_(factor).add_(mean - new_mean * factor)


def _voxels(image: Tensor) -> tuple[int, ...]:
    return tuple(range(2, image.ndim))
