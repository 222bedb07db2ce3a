"""Exponential moving average of the weights: what is validated, kept and exported."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class WeightAverage:
    """``average <- d average + (1 - d) weights`` after every step, with d growing towards ``decay``.

    What batch normalisation has counted is averaged likewise: it belongs to the weights it was counted
    with. d is min(decay, (1 + n) / (10 + n)) at the n-th update, so that early weights are soon forgotten.
    A decay of 0 follows the weights exactly.
    """

    def __init__(self, module: nn.Module, decay: float) -> None:
        self._decay, self._updates = decay, 0
        self._tensors = [*module.parameters(), *(b for b in module.buffers() if b.is_floating_point())]
        self._values = [p.detach().clone() for p in self._tensors]

    @torch.no_grad()
    def update(self) -> None:
        """Take in the module's present weights."""
        self._updates += 1
        decay = min(self._decay, (1 + self._updates) / (10 + self._updates))
        torch._foreach_lerp_(self._values, self._tensors, 1 - decay)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """The module with the averaged weights; its own come back afterwards."""
        own = [p.detach().clone() for p in self._tensors]
        self._copy(self._values)
        try:
            yield
        finally:
            self._copy(own)

    def state(self) -> dict[str, object]:
        """What `load` needs to go on exactly."""
        return {"updates": self._updates, "values": self._values}

    def load(self, state: dict[str, object]) -> None:
        """Go on from a `state`."""
        updates, values = state["updates"], state["values"]
        if not isinstance(updates, int) or not isinstance(values, list):
            raise TypeError("not the state of a weight average")
        self._updates = updates
        for mine, stored in zip(self._values, values, strict=True):
            mine.copy_(stored)

    @torch.no_grad()
    def _copy(self, values: list[Tensor]) -> None:
        for parameter, value in zip(self._tensors, values, strict=True):
            parameter.copy_(value)
