"""Random numbers of one batch: large ones on its device, single ones on the host, which waits for nothing."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Draws:
    """Draws for ``batch`` samples; each method gives one row per sample, the same ones for the same seed."""

    batch: int
    generator: torch.Generator
    host: np.random.Generator

    @classmethod
    def seeded(cls, batch: int, seed: int, device: torch.device) -> Draws:
        """Draws that follow from a seed."""
        return cls(batch, torch.Generator(device=device).manual_seed(seed), np.random.default_rng(seed))

    @property
    def device(self) -> torch.device:
        """Where the numbers lie."""
        return self.generator.device

    def uniform(self, low: float, high: float, *shape: int) -> Tensor:
        """float32 (B, *shape), even between two values."""
        size = (self.batch, *shape)
        return torch.rand(size, generator=self.generator, device=self.device) * (high - low) + low

    def factor(self, low: float, high: float, *shape: int) -> Tensor:
        """float32 (B, *shape), even in the logarithm between two positive values."""
        return torch.exp(self.uniform(math.log(low), math.log(high), *shape))

    def normal(self, *shape: int) -> Tensor:
        """float32 (B, *shape), standard normal."""
        return torch.randn((self.batch, *shape), generator=self.generator, device=self.device)

    def chosen(self, probability: float | Tensor, *shape: int) -> Tensor:
        """bool (B, *shape): true with this probability."""
        return self.uniform(0.0, 1.0, *shape) < probability

    def integer(self, count: int, *shape: int) -> Tensor:
        """int64 (B, *shape), 0 to ``count`` - 1."""
        return torch.randint(count, (self.batch, *shape), generator=self.generator, device=self.device)

    def category(self, weights: Tensor) -> Tensor:
        """int64 (B,): an index drawn with these weights."""
        edges = torch.cumsum(weights, 0)
        drawn = self.uniform(0.0, 1.0) * edges[-1]
        return torch.searchsorted(edges, drawn, right=True).clamp(max=len(weights) - 1)
