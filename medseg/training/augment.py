"""Random changes of a training batch, as tensor operations on the batch's device.

Every draw comes from one generator seeded by the caller, so a step's augmentation can be repeated.
Left stays left: where a flip is allowed, labels with a partner on the other side are swapped with it.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from medseg.plans import AugmentationPlan, Plan

# Up to this many classes the label is moved as shares per class (smooth borders); beyond, by nearest voxel.
_MOST_CLASSES_AS_SHARES = 8


def augment(images: Tensor, classes: Tensor, plan: Plan, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Augment a batch and crop it to the patch.

    Parameters
    ----------
    images, classes
        float32 (B, C, *size) and uint8 (B, *size), size at least the patch.
    generator
        On the batch's device.

    Returns
    -------
    float32 (B, C, *patch) and int64 (B, *patch).
    """
    images, classes = _move(images, classes, plan, generator)
    images = _intensities(images, plan.augmentation, generator)
    return images, classes


def swapped_classes(plan: Plan) -> list[int]:
    """For each class index the index that a left-right flip turns it into."""
    mirrored = plan.label_set.mirrored_ids
    return [plan.class_ids.index(mirrored.get(label, label)) for label in plan.class_ids]


# ---------------------------------------------------------------- space


def _move(images: Tensor, classes: Tensor, plan: Plan, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    how = plan.augmentation
    batch, patch, size = len(images), plan.patch, tuple(images.shape[2:])
    dimensions = len(patch)
    moves = _chosen(batch, how.spatial_probability, generator)
    angles = torch.stack(
        [_uniform(batch, -math.radians(a), math.radians(a), generator) for a in how.rotation_degrees], 1
    )
    rotation = _rotation(angles * moves[:, None], dimensions)
    low, high = how.scale
    scale = torch.exp(_uniform(batch, math.log(low), math.log(high), generator) * moves)
    shift = torch.stack([_uniform(batch, -1.0, 1.0, generator) for _ in patch], 1)
    shift = shift * how.translation_voxels * moves[:, None]
    flips = torch.ones(batch, dimensions, device=images.device)
    for axis in how.flip_axes:
        flips[:, axis] = 1 - 2 * _chosen(batch, 0.5, generator)
    matrix = rotation * flips[:, None, :] / scale[:, None, None]
    # Voxel offsets from the centre of the patch -> offsets from the centre of what was read.
    grid = torch.stack(torch.meshgrid(*(_centred(n, images) for n in patch), indexing="ij"), -1)
    points = grid.reshape(1, -1, dimensions) @ matrix.transpose(1, 2) + shift[:, None]
    points = points.reshape(batch, *patch, dimensions)
    if how.elastic_voxels > 0:
        points = points + _displacement(batch, patch, how, moves, generator)
    half = torch.tensor([max(n - 1, 1) / 2 for n in size], device=images.device)
    where = (points / half).flip(-1)  # grid_sample wants (x, y, z) with the last axis first
    moved = functional.grid_sample(images, where, mode="bilinear", padding_mode="zeros", align_corners=True)
    moved_classes = _move_classes(classes, where, len(plan.class_ids))
    if plan.lateral_axis in how.flip_axes and plan.label_set.mirrored_ids:
        table = torch.tensor(swapped_classes(plan), device=images.device)
        mirrored = (flips[:, 0] < 0).reshape(-1, *[1] * dimensions)
        moved_classes = torch.where(mirrored, table[moved_classes], moved_classes)
    return moved, moved_classes


def _move_classes(classes: Tensor, where: Tensor, count: int) -> Tensor:
    if count > _MOST_CLASSES_AS_SHARES:
        nearest = functional.grid_sample(
            classes[:, None].float(), where, mode="nearest", padding_mode="zeros", align_corners=True
        )
        return nearest[:, 0].long()
    shares = torch.stack([(classes == index).float() for index in range(1, count)], 1)
    shares = functional.grid_sample(shares, where, mode="bilinear", padding_mode="zeros", align_corners=True)
    background = 1 - shares.sum(1, keepdim=True)
    return torch.cat([background, shares], 1).argmax(1)


def _rotation(angles: Tensor, dimensions: int) -> Tensor:
    """Rotation matrices (B, d, d) from angles in radians: about axes 0, 1, 2 in turn, or in the plane."""
    batch = len(angles)
    planes = ((0, 1),) if dimensions == 2 else ((1, 2), (0, 2), (0, 1))
    total = torch.eye(dimensions, device=angles.device).expand(batch, -1, -1)
    for n, (a, b) in enumerate(planes):
        turn = torch.eye(dimensions, device=angles.device).repeat(batch, 1, 1)
        cosine, sine = torch.cos(angles[:, n]), torch.sin(angles[:, n])
        turn[:, a, a], turn[:, b, b], turn[:, a, b], turn[:, b, a] = cosine, cosine, -sine, sine
        total = total @ turn
    return total


def _displacement(
    batch: int, patch: tuple[int, ...], how: AugmentationPlan, moves: Tensor, generator: torch.Generator
) -> Tensor:
    """Smooth displacements (B, *patch, d) in voxels: a coarse Gaussian field, enlarged linearly twice."""
    dimensions = len(patch)
    coarse = [max(3, math.ceil(n / how.elastic_spacing_voxels) + 1) for n in patch]
    field = torch.randn(batch, dimensions, *coarse, generator=generator, device=moves.device)
    amplitude = _uniform(batch, 0.0, how.elastic_voxels, generator) * moves
    field = field * amplitude.reshape(-1, *[1] * (dimensions + 1))
    mode = "bilinear" if dimensions == 2 else "trilinear"
    middle = [min(2 * n - 1, p) for n, p in zip(coarse, patch, strict=True)]
    field = functional.interpolate(field, size=middle, mode=mode, align_corners=True)
    field = functional.interpolate(field, size=list(patch), mode=mode, align_corners=True)
    return field.movedim(1, -1)


def _centred(size: int, like: Tensor) -> Tensor:
    return torch.arange(size, device=like.device, dtype=torch.float32) - (size - 1) / 2


# ---------------------------------------------------------------- intensities


def _intensities(images: Tensor, how: AugmentationPlan, generator: torch.Generator) -> Tensor:
    """Noise, blur, brightness, contrast, gamma, low resolution, bias field, each for some samples.

    Images are normalised (mean about 0, standard deviation about 1), so amplitudes are in units of the
    standard deviation.
    """
    batch, dimensions = len(images), images.ndim - 2
    wide = (-1, *[1] * (dimensions + 1))
    chance = how.intensity_probability

    def some() -> Tensor:
        return _chosen(batch, chance, generator).reshape(wide)

    def amount(low: float, high: float) -> Tensor:
        return _uniform(batch, low, high, generator).reshape(wide)

    if how.noise > 0:
        noise = torch.randn(images.shape, generator=generator, device=images.device)
        images = images + noise * amount(0.0, how.noise) * some()
    if how.blur_voxels > 0:
        images = _each(images, some(), amount(0.3, max(0.3, how.blur_voxels)), _blur)
    if how.brightness > 0:
        images = images + amount(-how.brightness, how.brightness) * some()
    if how.contrast[0] < how.contrast[1]:
        factor = torch.where(some() > 0, amount(*how.contrast), torch.ones((), device=images.device))
        mean = images.mean(dim=tuple(range(2, images.ndim)), keepdim=True)
        images = (images - mean) * factor + mean
    if how.low_resolution[1] > 1:
        images = _each(images, some(), amount(*how.low_resolution), _coarsen)
    if how.bias_field > 0:
        field = _bias(images, how.bias_field, generator)
        images = torch.where(some() > 0, _multiply(images, field), images)
    if how.gamma[0] < how.gamma[1]:
        images = torch.where(some() > 0, _gamma(images, amount(*how.gamma)), images)
    return images


def _gamma(images: Tensor, exponent: Tensor) -> Tensor:
    """Power of the intensities scaled to 0..1; mean and standard deviation are kept."""
    axes = tuple(range(2, images.ndim))
    low, high = images.amin(axes, keepdim=True), images.amax(axes, keepdim=True)
    span = (high - low).clamp_min(1e-6)
    changed = ((images - low) / span).clamp(0, 1) ** exponent
    mean, std = images.mean(axes, keepdim=True), images.std(axes, keepdim=True)
    new_mean, new_std = changed.mean(axes, keepdim=True), changed.std(axes, keepdim=True).clamp_min(1e-6)
    return (changed - new_mean) / new_std * std + mean


def _multiply(images: Tensor, field: Tensor) -> Tensor:
    low = images.amin(tuple(range(2, images.ndim)), keepdim=True)
    return (images - low) * field + low


def _bias(images: Tensor, amplitude: float, generator: torch.Generator) -> Tensor:
    dimensions = images.ndim - 2
    coarse = torch.randn(len(images), 1, *[4] * dimensions, generator=generator, device=images.device)
    mode = "bilinear" if dimensions == 2 else "trilinear"
    field = functional.interpolate(coarse, size=images.shape[2:], mode=mode, align_corners=True)
    return torch.exp(field * amplitude)


def _blur(image: Tensor, sigma: float) -> Tensor:
    """Gaussian blur of one sample (1, C, *size), separable, borders repeated."""
    radius = max(1, math.ceil(3 * sigma))
    offsets = torch.arange(-radius, radius + 1, device=image.device, dtype=torch.float32)
    kernel = torch.exp(-0.5 * (offsets / sigma) ** 2)
    kernel = kernel / kernel.sum()
    dimensions, channels = image.ndim - 2, image.shape[1]
    convolve = functional.conv2d if dimensions == 2 else functional.conv3d
    for axis in range(dimensions):
        shape, padding = [1] * dimensions, [0] * (2 * dimensions)
        shape[axis] = len(kernel)
        padding[2 * (dimensions - 1 - axis)] = padding[2 * (dimensions - 1 - axis) + 1] = radius
        weight = kernel.reshape(1, 1, *shape).expand(channels, 1, *shape)
        image = convolve(functional.pad(image, padding, mode="replicate"), weight, groups=channels)
    return image


def _coarsen(image: Tensor, factor: float) -> Tensor:
    """One sample (1, C, *size) through a grid ``factor`` times coarser and back."""
    mode = "bilinear" if image.ndim == 4 else "trilinear"
    coarse = [max(1, round(n / factor)) for n in image.shape[2:]]
    small = functional.interpolate(image, size=coarse, mode="nearest-exact")
    return functional.interpolate(small, size=image.shape[2:], mode=mode, align_corners=False)


def _each(
    images: Tensor, chosen: Tensor, amounts: Tensor, change: Callable[[Tensor, float], Tensor]
) -> Tensor:
    """Apply a per-sample change, with its own amount, to the chosen samples."""
    return torch.cat(
        [
            change(images[n : n + 1], float(amounts.flatten()[n]))
            if chosen.flatten()[n] > 0
            else images[n : n + 1]
            for n in range(len(images))
        ]
    )


def _chosen(batch: int, probability: float, generator: torch.Generator) -> Tensor:
    return (torch.rand(batch, generator=generator, device=generator.device) < probability).float()


def _uniform(batch: int, low: float, high: float, generator: torch.Generator) -> Tensor:
    return torch.rand(batch, generator=generator, device=generator.device) * (high - low) + low
