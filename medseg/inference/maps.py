"""Maps of how sure the network is: where they go, box by box, while the labels are being made."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from medseg.plans import Plan

# Voxels of background that are handed over at once.
_AT_ONCE = 2**20

Box = tuple[slice, slice, slice]


class Maps(Protocol):
    """Receives maps on the scan's own grid, one box at a time; every voxel once, in no promised order.

    ``names`` says which of ``"probabilities"`` and ``"entropy"`` are wanted.
    """

    names: frozenset[str]

    def restart(self) -> None:
        """Forget what has come: the scan is computed again, with another plan, and every voxel comes anew."""
        ...

    def write(self, name: str, box: Box, values: NDArray[np.float32]) -> None:
        """Take a box: probabilities (K, i, j, k), one per output channel; or entropy (i, j, k) in nats."""
        ...


class CroppedMaps:
    """Maps of a scan of which only a box is looked at: boxes within it are moved to their place in the scan.

    Parameters
    ----------
    maps
        Of the whole scan.
    box
        What is looked at.
    shape
        Of the whole scan.
    plan
        Says how many output channels there are, and whether one of them is the background's.
    """

    def __init__(self, maps: Maps, box: Box, shape: tuple[int, int, int], plan: Plan) -> None:
        self.names = maps.names
        self._maps, self._box, self._shape = maps, box, shape
        self._background = np.zeros((len(plan.output_names), 1, 1, 1), np.float32)
        if not plan.regions:
            self._background[0] = 1

    def restart(self) -> None:
        """Forget what has come."""
        self._maps.restart()

    def write(self, name: str, box: Box, values: NDArray[np.float32]) -> None:
        """Take a box, counted from the first voxel of what is looked at."""
        i, j, k = (
            slice(part.start + whole.start, part.stop + whole.start)
            for part, whole in zip(box, self._box, strict=True)
        )
        self._maps.write(name, (i, j, k), values)

    def write_outside(self) -> None:
        """Give every voxel outside of the box once: surely background, and of no region."""
        for box in _outside(self._box, self._shape):
            size = tuple(part.stop - part.start for part in box)
            for name in sorted(self.names):
                if name == "probabilities":
                    values = np.broadcast_to(self._background, (len(self._background), *size))
                else:
                    values = np.broadcast_to(np.float32(0), size)
                self._maps.write(name, box, values)


def _outside(box: Box, shape: tuple[int, int, int]) -> Iterator[Box]:
    """Boxes, none of them large, that share out what of an array lies outside of a box."""
    for axis in range(3):
        for side in (slice(0, box[axis].start), slice(box[axis].stop, shape[axis])):
            if side.start == side.stop:
                continue
            # Along the axes before, only as far as the box goes: the rest has had its turn.
            parts = [slice(0, n) for n in shape]
            parts[:axis], parts[axis] = box[:axis], side
            i, j, k = parts
            planes = max(1, _AT_ONCE // ((j.stop - j.start) * (k.stop - k.start)))
            for first in range(i.start, i.stop, planes):
                yield slice(first, min(first + planes, i.stop)), j, k
