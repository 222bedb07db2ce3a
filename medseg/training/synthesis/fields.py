"""Smooth random fields, and linear maps along the axes of a volume."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def along_axes(volume: Tensor, matrices: Sequence[Tensor]) -> Tensor:
    """A linear map along each axis: (B, X, Y, Z) and three matrices (B or 1, N', N) to (B, X', Y', Z')."""
    x, y, z = matrices
    volume = torch.matmul(volume, z.transpose(1, 2)[:, None])
    volume = torch.matmul(y[:, None], volume)
    batch, i, j, k = volume.shape
    return torch.matmul(x, volume.reshape(batch, i, j * k)).reshape(batch, -1, j, k)


def enlarging(knots: int, size: int, device: torch.device) -> Tensor:
    """Cubic B-spline weights (1, size, knots) that spread ``knots`` values evenly over ``size`` voxels.

    Rows sum to one; beyond the last knot it is repeated.
    """
    at = torch.linspace(0, knots - 1, size, device=device)[:, None]
    low = torch.floor(at)
    weights = torch.zeros(size, knots, device=device)
    for offset in (-1, 0, 1, 2):
        knot = low + offset
        distance = (at - knot).abs()
        near = 2 / 3 - distance**2 + distance**3 / 2
        far = (2 - distance).clamp(min=0) ** 3 / 6
        weights.scatter_add_(1, knot.clamp(0, knots - 1).long(), torch.where(distance < 1, near, far))
    return weights[None]


def spread(coarse: Tensor, size: Sequence[int]) -> Tensor:
    """Coarse fields (B, x, y, z) to smooth ones (B, *size) by cubic B-splines."""
    device = coarse.device
    return along_axes(coarse, [enlarging(k, n, device) for k, n in zip(coarse.shape[1:], size, strict=True)])
