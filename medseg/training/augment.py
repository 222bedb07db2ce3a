"""Random changes of a training batch, as tensor operations on the batch's device.

Every draw comes from one generator seeded by the caller, so a step's augmentation can be repeated.
Left stays left: where a flip is allowed, labels with a partner on the other side are swapped with it.

On a CPU whatever this module does is time taken from the network, so nothing is computed that a draw left
out: a patch that is not moved is cut out, and what moves one is a single interpolation of image and labels.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from medseg.plans import AugmentationPlan, Plan
from medseg.training.draws import chosen, noise_generator, uniform
from medseg.training.intensities import change_intensities
from medseg.training.knots import enlarged, knot_positions

# Up to this many classes the label is moved as shares per class (smooth borders); beyond, by nearest voxel.
_MOST_CLASSES_AS_SHARES = 8


def augment(images: Tensor, classes: Tensor, plan: Plan, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Augment a batch and crop it to the patch.

    Parameters
    ----------
    images, classes
        float32 (B, C, *size) and uint8 (B, *size), size at least the patch and longer by an even number.
    generator
        On the CPU, wherever the batch is: a decision that a GPU drew would have to be waited for.

    Returns
    -------
    float32 (B, C, *patch) and int64 (B, *patch).
    """
    move = _draw_move(len(images), plan, generator)
    here = noise_generator(generator, images.device)
    images, classes = _moved(images, classes, plan, move, here)
    return change_intensities(images, plan.augmentation, generator, here), classes


def swapped_classes(plan: Plan) -> list[int]:
    """For each class index, the ignore class included, the index that a left-right flip turns it into."""
    mirrored = plan.label_set.mirrored_ids
    swapped = [plan.class_ids.index(mirrored.get(label, label)) for label in plan.class_ids]
    return swapped if plan.ignore_class is None else [*swapped, plan.ignore_class]


@dataclass(frozen=True, slots=True)
class _Move:
    """Where each patch goes: what is seen at offset x from the patch's centre lies at ``matrix x + shift``.

    All on the CPU. ``moves`` bool (B,): false where a patch is at most flipped. ``flips`` (B, d) of 1 and -1.
    ``matrix`` (B, d, d), flips included; ``shift`` (B, d) in voxels; ``bend`` (B,), the standard deviation
    of the elastic displacement in voxels.
    """

    moves: Tensor
    flips: Tensor
    matrix: Tensor
    shift: Tensor
    bend: Tensor


def _draw_move(batch: int, plan: Plan, generator: torch.Generator) -> _Move:
    how, dimensions = plan.augmentation, plan.dimensions
    moves = chosen(batch, how.spatial_probability, generator)
    angles = torch.stack(
        [uniform(batch, -math.radians(a), math.radians(a), generator) for a in how.rotation_degrees], 1
    )
    low, high = how.scale
    scale = torch.exp(uniform(batch, math.log(low), math.log(high), generator))
    shift = torch.stack([uniform(batch, -1.0, 1.0, generator) for _ in range(dimensions)], 1)
    flips = torch.ones(batch, dimensions)
    for axis in how.flip_axes:
        flips[:, axis] = 1 - 2 * chosen(batch, 0.5, generator).float()
    matrix = _rotation(angles, dimensions) * flips[:, None, :] / scale[:, None, None]
    bend = uniform(batch, 0.0, how.elastic_voxels, generator)
    return _Move(moves, flips, matrix, shift * how.translation_voxels, bend)


def _rotation(angles: Tensor, dimensions: int) -> Tensor:
    """Rotation matrices (B, d, d) from angles in radians: about axes 0, 1, 2 in turn, or in the plane."""
    batch = len(angles)
    planes = ((0, 1),) if dimensions == 2 else ((1, 2), (0, 2), (0, 1))
    total = torch.eye(dimensions).expand(batch, -1, -1)
    for n, (a, b) in enumerate(planes):
        turn = torch.eye(dimensions).repeat(batch, 1, 1)
        cosine, sine = torch.cos(angles[:, n]), torch.sin(angles[:, n])
        turn[:, a, a], turn[:, b, b], turn[:, a, b], turn[:, b, a] = cosine, cosine, -sine, sine
        total = total @ turn
    return total


def _moved(
    images: Tensor, classes: Tensor, plan: Plan, move: _Move, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    patch = plan.patch
    out = images.new_empty(*images.shape[:2], *patch)
    labels = classes.new_empty(len(images), *patch)
    moving = [n for n, moves in enumerate(move.moves.tolist()) if moves]
    first = [(n - p) // 2 for n, p in zip(images.shape[2:], patch, strict=True)]
    inner = tuple(slice(f, f + p) for f, p in zip(first, patch, strict=True))
    for n in sorted(set(range(len(images))) - set(moving)):
        axes = [axis - len(patch) for axis, flip in enumerate(move.flips[n].tolist()) if flip < 0]
        out[n] = images[n][(slice(None), *inner)].flip(axes)
        labels[n] = classes[n][inner].flip(axes)
    if moving:
        every = len(moving) == len(images)
        where = _places(move, moving, tuple(images.shape[2:]), patch, plan.augmentation, generator)
        pair = (images, classes) if every else (images[moving], classes[moving])
        count = len(plan.class_ids) + (plan.ignore_class is not None)
        out[moving], labels[moving] = _interpolated(*pair, where, count)
    labels = labels.long()
    lateral = plan.lateral_axis
    if lateral is not None and lateral in plan.augmentation.flip_axes and plan.label_set.mirrored_ids:
        table = torch.tensor(swapped_classes(plan), device=labels.device)
        for n in (move.flips[:, lateral] < 0).nonzero().flatten().tolist():
            labels[n] = table[labels[n]]
    return out, labels


def _places(
    move: _Move,
    moving: list[int],
    size: tuple[int, ...],
    patch: tuple[int, ...],
    how: AugmentationPlan,
    generator: torch.Generator,
) -> Tensor:
    """Where the voxels of moved patches lie in what was read, (M, *patch, d) as `grid_sample` wants it.

    Computed at the knots of the displacement alone: linear interpolation between them is what the
    displacement is, and an affine map is its own linear interpolation.
    """
    device, dimensions = generator.device, len(patch)
    spacing = how.elastic_spacing_voxels if how.elastic_voxels > 0 else None
    knots = torch.stack(torch.meshgrid(*knot_positions(patch, spacing, device), indexing="ij"), -1)
    wide = (len(moving), *[1] * dimensions, dimensions)
    points = knots.reshape(1, -1, dimensions) @ move.matrix[moving].transpose(1, 2).to(device)
    points = points.reshape(len(moving), *knots.shape) + move.shift[moving].reshape(wide).to(device)
    if spacing is not None:
        field = torch.randn(points.shape, generator=generator, device=device)
        points = points + field * move.bend[moving].reshape(-1, *[1] * (dimensions + 1)).to(device)
    half = torch.tensor([max(n - 1, 1) / 2 for n in size], device=device)
    # grid_sample wants -1..1 and (x, y, z) with the last axis first.
    return enlarged((points / half).flip(-1), patch)


def _interpolated(images: Tensor, classes: Tensor, where: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Images (M, C, *patch) and uint8 classes (M, *patch) at ``where``; of a tie the lower class wins."""
    if count > _MOST_CLASSES_AS_SHARES:
        moved = _sampled(images, where, "bilinear")
        return moved, _sampled(classes[:, None].float(), where, "nearest")[:, 0].to(torch.uint8)
    masks = {index: classes == index for index in range(1, count)}
    if not images.is_cuda:  # a GPU would have to be waited for
        masks = {index: mask for index, mask in masks.items() if mask.any()}
    channels = images.shape[1]
    moved = _sampled(torch.cat([images, *(mask[:, None] for mask in masks.values())], 1), where, "bilinear")
    shares = moved[:, channels:]
    largest = 1 - shares.sum(1)
    labels = torch.zeros(largest.shape, dtype=torch.uint8, device=images.device)
    for share, index in zip(shares.unbind(1), masks, strict=True):  # many times as fast as argmax
        labels.masked_fill_(share > largest, index)
        largest = torch.maximum(largest, share)
    return moved[:, :channels], labels


def _sampled(values: Tensor, where: Tensor, mode: str) -> Tensor:
    return functional.grid_sample(values, where, mode=mode, padding_mode="zeros", align_corners=True)
