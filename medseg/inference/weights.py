"""The weights of all windows over a finished box: what its sums are divided by."""

from __future__ import annotations

import itertools
from collections import OrderedDict

import numpy as np
from numpy.typing import NDArray

from medseg.inference.schedule import Schedule, Step

Array = NDArray[np.float32]

# Boxes inside a scan look alike: a few sums of weights serve almost all of them.
_REMEMBERED = 27


class WeightSums:
    """Sums of window weights, computed box by box from where the windows lie.

    Parameters
    ----------
    schedule
        The windows.
    weights
        (*patch), those of one window.
    ran
        Whether each window ran (counts of windows along the array's axes); None if all did.
    """

    def __init__(self, schedule: Schedule, weights: Array, ran: NDArray[np.bool_] | None) -> None:
        self._schedule, self._weights, self._ran = schedule, weights, ran
        self._known: OrderedDict[tuple[object, ...], Array] = OrderedDict()

    def box(self, at: Step) -> Array:
        """Sums of weights (x, y, z) over the box that the window at this step finishes; not to be changed."""
        along = [
            [t for t in range(step + 1) if axis.stops[t] > axis.keep[step]]
            for axis, step in zip(self._schedule.axes, at, strict=True)
        ]
        size = tuple(axis.ends[t] - axis.keep[t] for axis, t in zip(self._schedule.axes, at, strict=True))
        offsets = tuple(
            tuple(axis.starts[t] - axis.keep[step] for t in steps)
            for axis, steps, step in zip(self._schedule.axes, along, at, strict=True)
        )
        ran = None if self._ran is None else self._ran[np.ix_(*along)]
        key = (size, offsets, None if ran is None else ran.tobytes())
        if key in self._known:
            self._known.move_to_end(key)
            return self._known[key]
        total = np.zeros(size, np.float32)
        for index in itertools.product(*(range(len(steps)) for steps in along)):
            if ran is None or ran[index]:
                self._add(total, [offsets[axis][n] for axis, n in enumerate(index)])
        self._known[key] = total
        if len(self._known) > _REMEMBERED:
            self._known.popitem(last=False)
        return total

    def _add(self, total: Array, offset: list[int]) -> None:
        """Add one window's weights where it meets the box."""
        spans = [
            (max(0, start), min(length, start + edge), start)
            for start, length, edge in zip(offset, total.shape, self._weights.shape, strict=True)
        ]
        box = tuple(slice(first, stop) for first, stop, _ in spans)
        total[box] += self._weights[tuple(slice(first - start, stop - start) for first, stop, start in spans)]
