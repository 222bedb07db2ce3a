"""What a scanner does to the truth: voxel size and slices, bias field, noise, display."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from medseg.plans import SynthesisPlan
from medseg.preprocess.normalise import RANGE_PERCENTILES
from medseg.training.synthesis.draws import Draws
from medseg.training.synthesis.fields import along_axes, spread

_SAMPLES = 2**15  # voxels per image whose percentiles are taken
_SIGMA_PER_MM = 0.42  # a Gaussian whose full width at half maximum is the voxel's size


def voxel_sizes(spacing: Sequence[float], plan: SynthesisPlan, draws: Draws) -> Tensor:
    """Voxel size in mm per axis (B, 3): the patch's own, coarser in all directions, or thick slices."""
    own = torch.tensor(list(spacing), device=draws.device).expand(draws.batch, 3)
    kind = draws.uniform(0, 1)
    sizes = own.clone()
    coarse = kind < plan.coarse_probability
    drawn = draws.factor(*plan.coarse_mm).reshape(-1, 1) * draws.factor(0.9, 1.1, 3)
    sizes = torch.where(coarse[:, None], torch.maximum(drawn, own), sizes)
    slices = (kind >= plan.coarse_probability) & (kind < plan.coarse_probability + plan.slices_probability)
    thick = torch.nn.functional.one_hot(draws.integer(3), 3).bool() & slices[:, None]
    in_plane = torch.maximum(draws.factor(0.8, 1.3).reshape(-1, 1).expand(-1, 3), own)
    sizes = torch.where(slices[:, None], in_plane, sizes)
    return torch.where(thick, torch.maximum(draws.factor(*plan.slices_mm).reshape(-1, 1), own), sizes)


def acquire(
    image: Tensor, spacing: Sequence[float], sizes: Tensor, plan: SynthesisPlan, draws: Draws
) -> Tensor:
    """An image (B, X, Y, Z) seen at voxels of ``sizes`` mm (B, 3), with a bias field and noise."""
    size = image.shape[1:]
    image = image * bias_field(size, plan, draws)
    amplitude = draws.uniform(0, plan.noise).square() / max(plan.noise, 1e-6) * 255
    pairs = [sampling(n, sizes[:, axis] / spacing[axis], draws) for axis, n in enumerate(size)]
    image = along_axes(image, [down for down, _ in pairs])
    noise = draws.normal(*size) * amplitude.reshape(-1, 1, 1, 1)
    image = (image + noise).abs()
    if plan.spike_probability > 0:
        image = image + _spike(size, plan, draws)
    return along_axes(image, [up for _, up in pairs])


def to_range(image: Tensor, plan: SynthesisPlan, draws: Draws) -> Tensor:
    """Images scaled to 0..1 as `normalise` does for ``range``, then raised to a random power."""
    flat = image.reshape(draws.batch, -1)
    at = torch.randint(flat.shape[1], (_SAMPLES,), generator=draws.generator, device=draws.device)
    ordered = flat[:, at].sort(1).values
    low, high = (ordered[:, round(q / 100 * (_SAMPLES - 1))].reshape(-1, 1, 1, 1) for q in RANGE_PERCENTILES)
    # Scans hold more or less air and fat than these patches, so their percentiles lie elsewhere.
    high = low + (high - low).clamp(min=1e-3) * draws.factor(0.8, 1.15).reshape(-1, 1, 1, 1)
    image = ((image - low) / (high - low)).clamp(0, 1)
    exponent = torch.exp(draws.normal() * plan.gamma).reshape(-1, 1, 1, 1)
    return image**exponent


def field_of_view(size: Sequence[int], probability: float, draws: Draws) -> Tensor:
    """bool (B, *size): what the scan shows. A cropped one ends up to half of the way in, on some sides."""
    inside = torch.ones(1, dtype=torch.bool, device=draws.device)
    cropped = draws.chosen(probability)
    for axis, n in enumerate(size):
        side = draws.chosen(0.35, 2) & cropped[:, None]
        share = draws.uniform(0.02, 0.5, 2) * side
        at = torch.arange(n, device=draws.device)[None]
        within = (at >= share[:, :1] * n) & (at < (1 - share[:, 1:]) * n)
        shape = [draws.batch, 1, 1, 1]
        shape[1 + axis] = n
        inside = inside & within.reshape(shape)
    return inside


def sampling(size: int, ratio: Tensor, draws: Draws, coarse: int | None = None) -> tuple[Tensor, Tensor]:
    """Down to voxels ``ratio`` (B,) times as large, and back: (B, coarse, size) and (B, size, coarse).

    ``coarse`` is the number of voxels that there is room for, ``size`` if None. Down, the point spread is
    Gaussian; rows that a coarse image does not have are zero. Back, it is linear, and the outermost voxels
    are repeated, as preprocessing does.
    """
    device = draws.device
    at = torch.arange(size, device=device, dtype=torch.float32)
    row = torch.arange(size if coarse is None else coarse, device=device, dtype=torch.float32)
    ratio = ratio.reshape(-1, 1)
    count = torch.floor((size - 1) / ratio) + 1
    first = (size - 1 - (count - 1) * ratio) / 2
    centre = first + row[None] * ratio
    sigma = (_SIGMA_PER_MM * ratio * draws.uniform(0.75, 1.25, 1)).clamp(min=0.3)[:, :, None]
    down = torch.exp(-0.5 * ((at[None, None, :] - centre[:, :, None]) / sigma) ** 2)
    down = down / down.sum(2, keepdim=True).clamp(min=1e-6)
    down = down * (row[None] < count)[:, :, None]
    where = ((at[None] - first) / ratio).clamp(min=0)
    where = torch.minimum(where, count - 1)
    up = (1 - (where[:, :, None] - row[None, None, :]).abs()).clamp(min=0)
    return down, up


def bias_field(size: Sequence[int], plan: SynthesisPlan, draws: Draws) -> Tensor:
    if plan.bias_field == 0:
        return torch.ones((), device=draws.device)
    knots = int(draws.host.integers(3, 6))
    field = spread(draws.normal(knots, knots, knots), size)
    return torch.exp(field * draws.uniform(0, plan.bias_field).reshape(-1, 1, 1, 1))


def _spike(size: Sequence[int], plan: SynthesisPlan, draws: Draws) -> Tensor:
    chosen = draws.chosen(plan.spike_probability).float() * draws.uniform(5, 25)
    phase = draws.uniform(0, 2 * math.pi).reshape(-1, 1, 1, 1)
    for axis, n in enumerate(size):
        at = torch.arange(n, device=draws.device, dtype=torch.float32)
        shape = [1, 1, 1, 1]
        shape[1 + axis] = n
        phase = phase + draws.uniform(-0.8, 0.8).reshape(-1, 1, 1, 1) * at.reshape(shape)
    return torch.cos(phase) * chosen.reshape(-1, 1, 1, 1)
