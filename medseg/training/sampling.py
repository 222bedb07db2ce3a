"""Which patches a step sees: a function of seed, step and process, so that a resumed run sees the same."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from medseg.plans import Plan
from medseg.preprocess.patches import cut
from medseg.training.cache import CachedCase

Batch = tuple[NDArray[np.float32], NDArray[np.uint8]]

# Patches are read this much larger than the network's, so that a rotation or a shrinking brings real
# tissue into the corners instead of padding.
MARGIN = 1.2


def read_size(plan: Plan) -> tuple[int, ...]:
    """Size of the patches that are read, before augmentation crops them to ``plan.patch``.

    Each edge exceeds the patch by an even number, so that the untouched patch is its exact centre.
    """
    if plan.augmentation.spatial_probability == 0:
        return plan.patch
    return tuple(n + 2 * round(n * (MARGIN - 1) / 2) for n in plan.patch)


def draw_batch(cases: Sequence[CachedCase], plan: Plan, step: int, rank: int = 0) -> Batch:
    """Patches (B, C, *size) float32 and class indices (B, *size) uint8 of one step.

    Cases are drawn evenly. At least ``foreground_fraction`` of the batch (rounded up) is centred on a
    voxel of a class drawn evenly among those that the case has.
    """
    generator = np.random.default_rng((plan.schedule.seed, step, rank))
    size = read_size(plan)
    count = plan.sampling.batch_size
    centred = int(np.ceil(count * plan.sampling.foreground_fraction))
    images = np.zeros((count, plan.input_channels, *size), np.float32)
    classes = np.zeros((count, *size), np.uint8)
    for n in range(count):
        case = cases[int(generator.integers(len(cases)))]
        start = _start(case, size, generator, on_foreground=n < centred)
        _read_patch(case, start, images[n], classes[n], plan.grid.neighbours)
    return images, classes


def _start(
    case: CachedCase, size: tuple[int, ...], generator: np.random.Generator, on_foreground: bool
) -> list[int]:
    shape = case.classes.shape
    if on_foreground and case.locations:
        voxels = case.locations[int(generator.choice(sorted(case.locations)))]
        centre = [int(v) for v in voxels[int(generator.integers(len(voxels)))]]
        start = [c - n // 2 for c, n in zip(centre, size, strict=False)]
    else:
        centre = [int(generator.integers(n)) for n in shape]
        start = [
            int(generator.integers(min(0, s - n), max(0, s - n) + 1))
            for s, n in zip(shape, size, strict=False)
        ]
    # A patch never sticks out further than it must; what is smaller than the patch sits in its middle.
    placed = [
        -((n - s) // 2) if s <= n else min(max(first, 0), s - n)
        for first, s, n in zip(start, shape, size, strict=False)
    ]
    return placed if len(size) == 3 else [*placed, centre[2]]


def _read_patch(
    case: CachedCase,
    start: list[int],
    image: NDArray[np.float32],
    classes: NDArray[np.uint8],
    neighbours: int,
) -> None:
    size = classes.shape
    source: list[slice] = []
    target: list[slice] = []
    for first, n, extent in zip(start, size, case.classes.shape, strict=False):
        low, high = max(first, 0), min(first + n, extent)
        source.append(slice(low, high))
        target.append(slice(low - first, high - first))
    within: tuple[slice | int, ...] = (*source, start[2]) if len(size) == 2 else tuple(source)
    if neighbours:  # cut as inference cuts it
        image[...] = cut(case.image, start, (*size, 1), neighbours=neighbours)[..., 0]
    else:
        image[(slice(None), *target)] = case.image[(slice(None), *within)]
    classes[tuple(target)] = case.classes[within]


class Prefetcher:
    """Draws the next batch on a thread while the network works on this one."""

    def __init__(self, cases: Sequence[CachedCase], plan: Plan, rank: int = 0) -> None:
        self._cases, self._plan, self._rank = cases, plan, rank
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="medseg-batches")
        self._next: tuple[int, Future[Batch]] | None = None

    def batch(self, step: int) -> Batch:
        """The batch of ``step``; starts drawing that of ``step + 1``."""
        if self._next is not None and self._next[0] == step:
            drawn = self._next[1].result()
        else:
            drawn = draw_batch(self._cases, self._plan, step, self._rank)
        self._next = step + 1, self._thread.submit(draw_batch, self._cases, self._plan, step + 1, self._rank)
        return drawn

    def __enter__(self) -> Prefetcher:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._thread.shutdown(wait=True, cancel_futures=True)
