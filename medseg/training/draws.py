"""What is drawn for the samples of a batch: which are changed, and by how much."""

from __future__ import annotations

import torch
from torch import Tensor


def chosen(batch: int, probability: float, generator: torch.Generator) -> Tensor:
    """Bool (B,): each true with the probability."""
    return torch.rand(batch, generator=generator) < probability


def uniform(batch: int, low: float, high: float, generator: torch.Generator) -> Tensor:
    """float32 (B,), even between low and high."""
    return torch.rand(batch, generator=generator) * (high - low) + low


def noise_generator(generator: torch.Generator, device: torch.device) -> torch.Generator:
    """A generator for whole images on their device: the one given, or one seeded from it."""
    if device.type == "cpu":
        return generator
    seed = int(torch.randint(2**62, (), generator=generator))
    return torch.Generator(device=device).manual_seed(seed)
