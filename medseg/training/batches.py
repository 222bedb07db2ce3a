"""Where a step's batch comes from: patches of scans, augmented, or images made from label maps.

Either way it is a function of seed, step and process, so that a resumed run sees the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from medseg.plans import Plan
from medseg.training.augment import augment
from medseg.training.cache import CachedCase
from medseg.training.difficulty import Difficulty
from medseg.training.sampling import Prefetcher
from medseg.training.synthesis import Synthesiser


class Batches(Protocol):
    """Gives batches on the training's device."""

    def batch(self, step: int, fraction: float) -> tuple[Tensor, Tensor]:
        """Images float32 (B, C, *patch) and class indices int64 (B, *patch) of a step.

        ``fraction`` is the share of the training that is done.
        """
        ...

    @property
    def drawn(self) -> Sequence[int]:
        """The case of each patch in the batch that was given last, by number; none where images are made."""
        ...


@contextmanager
def open_batches(
    cases: Sequence[CachedCase],
    plan: Plan,
    device: torch.device,
    rank: int,
    difficulty: Difficulty | None = None,
) -> Iterator[Batches]:
    """The batches of a plan for one process; ``difficulty`` tells which cases are drawn more often."""
    if plan.synthesis is not None:
        yield _Made(cases, plan, plan.synthesis.widen_until, device, rank)
        return
    with Prefetcher(cases, plan, rank, difficulty) as patches:
        yield _Read(patches, plan, device, rank)


class _Read:
    """Patches, read ahead on a thread, augmented on the device."""

    def __init__(self, patches: Prefetcher, plan: Plan, device: torch.device, rank: int) -> None:
        self._patches, self._plan, self._device, self._rank = patches, plan, device, rank
        self._generator = torch.Generator()

    def batch(self, step: int, fraction: float) -> tuple[Tensor, Tensor]:  # noqa: ARG002 - the same all along
        self._generator.manual_seed(step_seed(self._plan, step, self._rank))
        parts = self._patches.batch(step)
        images, classes = (torch.from_numpy(part).to(self._device) for part in parts)
        return augment(images, classes, self._plan, self._generator)

    @property
    def drawn(self) -> Sequence[int]:
        return self._patches.drawn


class _Made:
    """Images made on the device, where all label maps lie."""

    def __init__(
        self, cases: Sequence[CachedCase], plan: Plan, widen_until: float, device: torch.device, rank: int
    ) -> None:
        self._plan, self._widen_until, self._rank = plan, widen_until, rank
        self.drawn: Sequence[int] = ()
        self._synthesiser = Synthesiser([case.classes for case in cases], plan, device)

    def batch(self, step: int, fraction: float) -> tuple[Tensor, Tensor]:
        widening = min(1.0, fraction / self._widen_until) if self._widen_until > 0 else 1.0
        return self._synthesiser.batch(step_seed(self._plan, step, self._rank), widening)


def step_seed(plan: Plan, step: int, rank: int) -> int:
    """What everything random in a step follows from."""
    return int(np.random.SeedSequence((plan.schedule.seed, step, rank)).generate_state(1)[0])
