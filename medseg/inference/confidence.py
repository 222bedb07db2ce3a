"""How sure a network is of each structure as a whole: the Dice that it would expect of its own labels.

Per class c three sums over all voxels are gathered while boxes are finished, so that no array of classes x
scan is held: ``N`` voxels that are given c, ``P`` the softmax probability of c summed over all voxels, and
``A`` that probability summed over the voxels that are given c. If every voxel were c with the probability
that the network says, the labels would share ``A`` voxels with the truth on average, and the truth would
have ``P``: ``2 A / (P + N)`` is the Dice of those expectations. Borges, Pacheco and Silva (Soft Dice
Confidence, arXiv:2402.10665) bound how far such a score can be from the expected Dice itself, for voxels
that are independent. Voxels are not, and networks believe too much in themselves: the score ranks, and
`medseg.quality.fit_quality` learns what Dice it stands for.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medseg.inference.schedule import Box, Schedule, Step
from medseg.inference.threads import Threads

Array = NDArray[np.float32]
# (3, K): voxels, probability and intersection of every class.
TotalsByClass = NDArray[np.float64]

# Logits handled at once by a thread: they stay in its processor's cache.
_AT_ONCE = 2**18
# A class is left out of a tile where its probability is below 1e-8 in every voxel: over 256^3 voxels it can
# so lose 0.17 of a voxel in all.
_NEVER = float(np.log(1e8))


@dataclass(frozen=True, slots=True, eq=False)
class Confidence:
    """Sums over a scan from which each structure's score follows, in voxels.

    One model, or members whose windows are the same, are summed on the network's grid, where every voxel of
    the scan counts once, and a voxel's label is the class with the largest logit there: on another grid than
    the scan's own, that can differ from the label map in voxels at the border of a structure. Members on
    different grids are summed on the scan's own grid, with the labels of the label map.

    Attributes
    ----------
    ids
        What each class is in a label map: 0, then the labels ascending.
    voxels
        float64 (K,): voxels that are given the class; on a tie the first.
    probability
        float64 (K,): the class's probability summed over all voxels.
    intersection
        float64 (K,): the same over the voxels that are given the class.
    """

    ids: tuple[int, ...]
    voxels: NDArray[np.float64]
    probability: NDArray[np.float64]
    intersection: NDArray[np.float64]

    def with_background(self, voxels: int) -> Confidence:
        """The sums with so many voxels more at which nobody looked: background, as good as sure."""
        totals = np.stack([self.voxels, self.probability, self.intersection])
        totals[:, 0] += voxels
        return Confidence(self.ids, *totals)

    def soft_dice(self) -> dict[int, float | None]:
        """``2 A / (P + N)`` of each label, 0 to 1; None where no voxel is given the label."""
        sums = zip(self.ids, self.voxels, self.probability, self.intersection, strict=True)
        return {i: float(2 * a / (p + n)) if n > 0 else None for i, n, p, a in sums if i != 0}


def own_part(schedule: Schedule, at: Step, shape: Sequence[int]) -> Box | None:
    """Where in a finished box those voxels lie that no other box has too, and that are no padding.

    Over all steps these parts cover the network's grid, each voxel once. A box reaches back to what it
    needs for interpolation, which the boxes before it have had.

    Parameters
    ----------
    shape
        Of the network's grid for the scan, unpadded.

    Returns
    -------
    Slices within the box of the step, along the array's axes; None where there is no such voxel.
    """
    parts = []
    for axis, t, length in zip(schedule.axes, at, shape, strict=True):
        first, stop = max(axis.starts[t], axis.pad), min(axis.ends[t], axis.pad + length)
        if first >= stop:
            return None
        parts.append(slice(first - axis.keep[t], stop - axis.keep[t]))
    return parts[0], parts[1], parts[2]


def totals_of(logits: Array, threads: Threads) -> TotalsByClass:
    """Voxels, probability and intersection (3, K) of logits (K, x, y, z), which are not changed.

    The same numbers for any number of threads.
    """
    found = threads.map(_totals_of_tile, list(_tiles(logits)))
    return np.asarray(np.sum(found, axis=0), np.float64)


def totals_of_probabilities(probabilities: Array) -> TotalsByClass:
    """The same (3, K) of probabilities (K, i, j, k), one of which is decided for in every voxel."""
    flat = probabilities.reshape(len(probabilities), -1)
    winner = flat.argmax(axis=0)
    largest = np.take_along_axis(flat, winner[None], axis=0)[0]
    return _stacked(winner, largest, flat.sum(axis=1, dtype=np.float64))


def _tiles(logits: Array) -> Iterator[Array]:
    """Blocks of whole lines, small enough for a processor's cache; the same for any number of threads."""
    channels, x, y, z = logits.shape
    lines = max(1, _AT_ONCE // (channels * z))
    if lines >= y:
        for first in range(0, x, lines // y):
            yield logits[:, first : first + lines // y]
        return
    for plane in range(x):
        for first in range(0, y, lines):
            yield logits[:, plane : plane + 1, first : first + lines]


def _totals_of_tile(tile: Array) -> TotalsByClass:
    channels = len(tile)
    values = np.array(tile, order="C").reshape(channels, -1)  # a copy, which is worked on in place
    top = values.max(axis=0)
    # The probability of a class is at most exp(its logit - the largest logit).
    able = np.flatnonzero(values.max(axis=1) >= top.min() - _NEVER)
    if able.size < channels:
        values = values[able]
    # Of equal logits the first class wins: the one with the largest number, as they count down.
    number = np.arange(able.size, 0, -1, dtype=np.uint8 if able.size <= 255 else np.uint16)
    winner = able.size - ((values == top) * number[:, None]).max(axis=0).astype(np.intp)
    values -= top
    np.exp(values, out=values)
    largest = 1 / values.sum(axis=0)  # the winner's probability: its own term of the sum is 1
    totals = np.zeros((3, channels))
    totals[:, able] = _stacked(winner, largest, np.einsum("kn,n->k", values, largest))
    return totals


def _stacked(winner: NDArray[np.intp], largest: Array, probability: Any) -> TotalsByClass:
    """(3, K) from each voxel's class, its probability there, and every class's summed probability."""
    channels = len(probability)
    voxels = np.bincount(winner, minlength=channels)
    intersection = np.bincount(winner, weights=largest, minlength=channels)
    return np.stack([voxels, probability, intersection]).astype(np.float64)
