"""Where in a label map each voxel of a training patch comes from: affine, then a smooth diffeomorphism."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from medseg.plans import SynthesisPlan
from medseg.training.synthesis.draws import Draws
from medseg.training.synthesis.fields import spread

_VELOCITY_STEP = 4  # voxels between the points at which the velocity field is integrated
_SQUARINGS = 5


def deformed_points(
    patch: Sequence[int],
    spacing: Sequence[float],
    centres: Tensor,
    flipped: Tensor,
    plan: SynthesisPlan,
    draws: Draws,
) -> list[Tensor]:
    """Voxel coordinates in the label maps, one (B, *patch) per axis, for every voxel of the patches.

    Parameters
    ----------
    patch
        Size of the patch; ``spacing`` its voxels in mm, which are the maps' own.
    centres
        (B, 3): the voxel of each map that an unmoved patch has in its middle.
    flipped
        bool (B,): mirror along axis 0.
    """
    device = draws.device
    step = torch.tensor(list(spacing), device=device)
    matrix = _affine(plan, draws)
    matrix[:, :, 0] *= torch.where(flipped, -1.0, 1.0)[:, None]
    matrix = matrix * step[None, None, :] / step[None, :, None]  # voxels to mm, then back
    shift = draws.uniform(-1, 1, 3) * plan.shift_mm / step
    moved = _displacement(patch, spacing, plan, draws)
    points = []
    axes = [torch.arange(n, device=device, dtype=torch.float32) - (n - 1) / 2 for n in patch]
    shapes = ((1, -1, 1, 1), (1, 1, -1, 1), (1, 1, 1, -1))
    for row in range(3):
        point = (centres[:, row] + shift[:, row]).reshape(-1, 1, 1, 1)
        for column in range(3):
            offset = axes[column].reshape(shapes[column]) + moved[column]
            point = point + matrix[:, row, column].reshape(-1, 1, 1, 1) * offset
        points.append(point)
    return points


def nearest_voxels(points: Sequence[Tensor], extents: Tensor) -> tuple[Tensor, Tensor]:
    """Where in a flat map (C order) the voxel nearest to each point lies, and whether there is one.

    Parameters
    ----------
    points
        Voxel coordinates, one (B, *patch) per axis.
    extents
        int64 (B, 3): sizes of the maps.

    Returns
    -------
    position : int64 (B, *patch)
        Of a point outside of its map the position of a voxel at its edge.
    inside : bool (B, *patch)
    """
    inside = torch.ones((), dtype=torch.bool, device=extents.device)
    position = torch.zeros((), dtype=torch.int64, device=extents.device)
    for axis, point in enumerate(points):
        nearest, extent = point.round().long(), extents[:, axis].reshape(-1, 1, 1, 1)
        inside = inside & (nearest >= 0) & (nearest < extent)
        position = position * extent + torch.minimum(nearest.clamp(min=0), extent - 1)
    return position, inside


def _affine(plan: SynthesisPlan, draws: Draws) -> Tensor:
    """(B, 3, 3) in mm: rotations about the three axes, a scale per axis, shear."""
    angles = draws.uniform(-1, 1, 3) * math.radians(plan.rotation_degrees)
    total = torch.diag_embed(draws.factor(*plan.scale, 3))
    shear = draws.uniform(-plan.shear, plan.shear, 3, 3) * (1 - torch.eye(3, device=draws.device))
    total = (torch.eye(3, device=draws.device) + shear) @ total
    for n, (a, b) in enumerate(((1, 2), (0, 2), (0, 1))):
        turn = torch.eye(3, device=draws.device).repeat(draws.batch, 1, 1)
        cosine, sine = torch.cos(angles[:, n]), torch.sin(angles[:, n])
        turn[:, a, a], turn[:, b, b], turn[:, a, b], turn[:, b, a] = cosine, cosine, -sine, sine
        total = turn @ total
    return total


def _displacement(
    patch: Sequence[int], spacing: Sequence[float], plan: SynthesisPlan, draws: Draws
) -> list[Tensor]:
    """Displacements in voxels, one (B, *patch) per axis.

    A stationary velocity field is integrated by scaling and squaring (Arsigny et al., MICCAI 2006), so
    that tissue neither folds nor tears.
    """
    if plan.deformation_mm == 0:
        return [torch.zeros(1, device=draws.device).reshape(1, 1, 1, 1)] * 3
    size = [math.ceil(n / _VELOCITY_STEP) + 1 for n in patch]
    low, high = plan.deformation_spacing_mm
    between = low * (high / low) ** draws.host.random()
    knots = [max(3, round(n * s / between) + 1) for n, s in zip(patch, spacing, strict=True)]
    amplitude = draws.uniform(0, plan.deformation_mm).reshape(-1, 1, 1, 1)
    field = torch.stack(
        [spread(draws.normal(*knots) * amplitude / s, size) / _VELOCITY_STEP for s in spacing], 1
    )
    field = field / 2**_SQUARINGS
    half = torch.tensor([(n - 1) / 2 for n in size], device=draws.device)
    unmoved = torch.stack(
        torch.meshgrid(*(torch.linspace(-1, 1, n, device=draws.device) for n in size), indexing="ij"), -1
    )
    for _ in range(_SQUARINGS):
        where = (unmoved + field.movedim(1, -1) / half).flip(-1)
        field = field + functional.grid_sample(
            field, where, mode="bilinear", padding_mode="border", align_corners=True
        )
    # The coarse grid's corners lie on the patch's.
    full = functional.interpolate(field, size=list(patch), mode="trilinear", align_corners=True)
    scale = [(n - 1) / (m - 1) for n, m in zip(patch, size, strict=True)]
    return [full[:, axis] * scale[axis] for axis in range(3)]
