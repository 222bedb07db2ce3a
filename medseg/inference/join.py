"""Ensembles whose members work on different grids: the mean of their probabilities on the scan's own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medseg.inference.schedule import Box

Array = NDArray[np.float32]


class Join:
    """Planes of the scan's own grid whose probabilities wait until every group has given its share.

    Parameters
    ----------
    shape
        Of the scan's own grid.
    axis
        Its axis along which planes are counted: the one along which all groups work their way.
    channels
        K, output channels.
    shares
        What each group's probabilities count, summing to 1.
    """

    def __init__(
        self, shape: tuple[int, int, int], axis: int, channels: int, shares: Sequence[float]
    ) -> None:
        self._axis, self._shares = axis, shares
        self._plane_shape = (channels, *(n for a, n in enumerate(shape) if a != axis))
        self._planes: dict[int, Array] = {}
        self._missing = np.full(shape[axis], len(shares))

    def add(self, group: int, box: Box, probabilities: Array) -> None:
        """Add a group's probabilities (K, i, j, k) of a box."""
        across = (slice(None), *(part for a, part in enumerate(box) if a != self._axis))
        share = np.float32(self._shares[group])
        for n, plane in enumerate(range(box[self._axis].start, box[self._axis].stop)):
            if plane not in self._planes:
                self._planes[plane] = np.zeros(self._plane_shape, np.float32)
            self._planes[plane][across] += share * probabilities.take(n, self._axis + 1)

    def complete(self, planes: slice) -> Iterator[tuple[Box, Array]]:
        """A group has given all of these planes: those that are whole now, as boxes (K, i, j, k)."""
        self._missing[planes] -= 1
        for plane in range(planes.start, planes.stop):
            if self._missing[plane] == 0:
                whole: list[Any] = [slice(0, n) for n in self._plane_shape[1:]]
                whole.insert(self._axis, slice(plane, plane + 1))
                yield (whole[0], whole[1], whole[2]), np.expand_dims(self._planes.pop(plane), self._axis + 1)
