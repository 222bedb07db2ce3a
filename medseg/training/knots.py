"""Smooth fields as values at few knots, enlarged linearly to every voxel."""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn import functional


def knot_positions(patch: tuple[int, ...], spacing: float | None, device: torch.device) -> list[Tensor]:
    """Per axis the knots' positions in voxels from the patch's centre, the first and last voxel included.

    They lie at most ``spacing`` voxels apart, at least three per axis; without a spacing two do.
    """
    counts = [2 if spacing is None else max(3, math.ceil(n / spacing) + 1) for n in patch]
    return [
        torch.linspace(-(n - 1) / 2, (n - 1) / 2, count, device=device)
        for n, count in zip(patch, counts, strict=True)
    ]


def enlarged(values: Tensor, size: tuple[int, ...]) -> Tensor:
    """Values at knots (B, *knots, c), contiguous, at every voxel: (B, *size, c).

    Linear interpolation, first to twice as many knots less one and then to every voxel, which takes the
    edges off; along one axis after the other, so that it is a matter of small matrices.
    """
    for axis, n in enumerate(size[:-1], start=1):
        weights = _weights(values.shape[axis], n, values.device)
        values = torch.tensordot(values, weights, dims=([axis], [1])).movedim(-1, axis)
    *before, knots, components = values.shape
    weights = _weights(knots, size[-1], values.device)
    # As one product of matrices, which leaves the components last.
    weights = torch.kron(weights, torch.eye(components, device=values.device))
    flat = values.reshape(-1, knots * components) @ weights.T
    return flat.reshape(*before, size[-1], components)


@lru_cache(maxsize=64)
def _weights(knots: int, size: int, device: torch.device) -> Tensor:
    """(size, knots): what each knot counts at each voxel."""
    basis = torch.eye(knots, device=device)[None]
    for n in (min(2 * knots - 1, size), size):
        basis = functional.interpolate(basis, size=n, mode="linear", align_corners=True)
    return basis[0].T.contiguous()
