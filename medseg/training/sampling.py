"""Which patches a step sees: a function of seed, step and process, so that a resumed run sees the same."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from medseg.plans import Plan
from medseg.preprocess.patches import cut
from medseg.training.cache import CachedCase
from medseg.training.difficulty import Difficulty
from medseg.training.rarity import Rarity

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


@dataclass(frozen=True, slots=True)
class Place:
    """Where a patch is read: the case's number, and the patch's first voxel, which may lie outside."""

    case: int
    start: list[int]


def draw_batch(cases: Sequence[CachedCase], plan: Plan, step: int, rank: int = 0) -> Batch:
    """Patches (B, C, *size) float32 and class indices (B, *size) uint8 of one step."""
    return read_places(cases, plan, draw_places(Rarity.of(cases, plan), plan, step, rank))


def draw_places(
    rarity: Rarity, plan: Plan, step: int, rank: int = 0, chances: NDArray[np.float64] | None = None
) -> list[Place]:
    """Where the patches of one step are.

    Cases are drawn evenly, or by their ``chances`` (cases,). At least ``foreground_fraction`` of the batch
    (rounded up) is centred on a voxel of a class: by ``sampling.by`` one drawn evenly among those that
    the case has, or one drawn by how rare it is, in a case that has it. Before that, every patch is
    with the chance ``minority_fraction`` one of the rarest class.
    """
    generator = np.random.default_rng((plan.schedule.seed, step, rank))
    how, size, cases = plan.sampling, read_size(plan), rarity.cases
    centred = int(np.ceil(how.batch_size * how.foreground_fraction))
    places = []
    for n in range(how.batch_size):
        index: int | None = None
        minority = how.minority_fraction > 0 and generator.random() < how.minority_fraction
        if minority and rarity.rarest is not None:
            index = rarity.rarest
        elif n < centred and how.by == "frequency" and rarity.classes:
            index = int(generator.choice(rarity.classes, p=rarity.chances))
        if index is not None:
            number = _drawn(rarity.holders[index], chances, generator)
        else:
            number = _drawn(rarity.every, chances, generator)
            if n < centred and cases[number].locations:
                index = int(generator.choice(sorted(cases[number].locations)))
        places.append(Place(number, _start(cases[number], size, generator, index)))
    return places


def read_places(cases: Sequence[CachedCase], plan: Plan, places: Sequence[Place]) -> Batch:
    """Patches (B, C, *size) float32 and class indices (B, *size) uint8, zeros outside of a case."""
    size = read_size(plan)
    images = np.zeros((len(places), plan.input_channels, *size), np.float32)
    classes = np.zeros((len(places), *size), np.uint8)
    for n, place in enumerate(places):
        _read_patch(cases[place.case], place.start, images[n], classes[n], plan.grid.neighbours)
    return images, classes


def _drawn(
    numbers: NDArray[np.intp], chances: NDArray[np.float64] | None, generator: np.random.Generator
) -> int:
    """One of the cases ``numbers``, evenly or by its share of ``chances``."""
    if chances is None:
        return int(numbers[int(generator.integers(len(numbers)))])
    weights = chances[numbers]
    if weights.sum() == 0:  # none of these was hard, and no share is drawn evenly
        weights = np.ones(len(numbers))
    return int(generator.choice(numbers, p=weights / weights.sum()))


def _start(
    case: CachedCase, size: tuple[int, ...], generator: np.random.Generator, index: int | None
) -> list[int]:
    """First voxel of a patch on a voxel of class ``index``, or anywhere (None)."""
    shape = case.classes.shape
    if index is not None:
        voxels = case.locations[index]
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
    """Draws and reads the next batch on a thread while the network works on this one."""

    def __init__(
        self, cases: Sequence[CachedCase], plan: Plan, rank: int = 0, difficulty: Difficulty | None = None
    ) -> None:
        self._cases, self._plan, self._rank, self._difficulty = cases, plan, rank, difficulty
        self._rarity = Rarity.of(cases, plan)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="medseg-batches")
        self._next: tuple[int, list[Place], Future[Batch]] | None = None
        self.drawn: list[int] = []
        """The cases of the batch that was given last, by number."""

    def batch(self, step: int) -> Batch:
        """The batch of ``step``; starts reading that of ``step + 1``."""
        if self._next is not None and self._next[0] == step:
            _, places, reading = self._next
            drawn = reading.result()
        else:  # the first one of a run; of a resumed run, as it was drawn before the last update
            places = self._places(step, before_last=True)
            drawn = read_places(self._cases, self._plan, places)
        self.drawn = [place.case for place in places]
        following = self._places(step + 1)
        reading = self._thread.submit(read_places, self._cases, self._plan, following)
        self._next = step + 1, following, reading
        return drawn

    def _places(self, step: int, *, before_last: bool = False) -> list[Place]:
        hard = self._difficulty
        chances = None if hard is None else hard.chances(before_last=before_last)
        return draw_places(self._rarity, self._plan, step, self._rank, chances)

    def __enter__(self) -> Prefetcher:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._thread.shutdown(wait=True, cancel_futures=True)
