"""Sums of overlapping windows, of which only what later windows overlap is kept.

Between two windows three things are carried: the end of the last window (to the next in the row), the
end of the last row, and the end of the last slab. Everything else has been handed over and dropped.
Written for numpy and torch alike: on a GPU the sums stay there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medseg.errors import OutOfMemory
from medseg.inference.cells import Cells, Piece, Region, Store
from medseg.inference.schedule import Schedule, Step
from medseg.inference.threads import Threads

Make = Callable[[tuple[int, ...]], Any]
# A piece, the part of it that is in use, and where that lies in the box in hand.
Move = tuple[Piece, Region, Region]


def make_float32(shape: tuple[int, ...]) -> NDArray[np.float32]:
    """An array of arbitrary values."""
    return np.empty(shape, np.float32)


class Sums:
    """The running sums of logits times window weights.

    Call `add` once per window, in the order of ``schedule.steps()``.

    Parameters
    ----------
    schedule
        The windows.
    channels
        K, the network's output channels.
    weights
        float32 (*patch), or None where windows do not overlap.
    store
        Keeps what is carried from slab to slab and from row to row, in its own type of number.
    xp
        `numpy` or `torch`.
    make
        Makes a float32 array of a shape; its values are arbitrary.
    threads
        To share the channels among. With torch there are none: a GPU adds all channels at once.
    """

    def __init__(
        self,
        schedule: Schedule,
        channels: int,
        weights: Any,
        store: Store,
        *,
        xp: Any = np,
        make: Make = make_float32,
        threads: Threads | None = None,
    ) -> None:
        self._schedule, self._weights, self._xp, self._channels = schedule, weights, xp, channels
        slow, middle, fast = self._axes = tuple(schedule.axes[axis] for axis in schedule.order)
        cuts = [{*axis.keep, *axis.stops} for axis in (middle, fast)]
        self._slabs = Cells(cuts, store)
        # The end of a row is kept in layers as thick as what goes from slab to slab, so that either can
        # take memory that the other has done with.
        self._layer = slow.carried if 4 * slow.carried >= slow.worked else slow.worked
        self._rows = Cells([set(range(0, slow.worked + self._layer, self._layer)), cuts[1]], store)
        self._window_end: _InHand | None = None
        self._threads = threads or Threads(1)
        self._groups = _groups(channels, self._threads.count if xp is np else 1)
        self._together = 1 if xp is np else channels
        worked = slow.worked * middle.worked * fast.worked
        self._scratch = [make((self._together * worked,)) for _ in self._groups]
        # A row for each channel: the end of the last window, which is read before it is written again, and
        # the finished box.
        self._hand = make((channels * hand_voxels(schedule),)).reshape(channels, -1)

    def add(self, at: Step, logits: Any) -> Any:
        """Add a window, and return what is finished by it.

        Parameters
        ----------
        at
            The window's step along the array's axes.
        logits
            float32 (K, *patch); None for a window that was skipped.

        Returns
        -------
        float32 (K, x, y, z): the sums of the box from ``keep[t]`` to ``ends[t]`` along each axis, in memory
        that the next call uses again; None where no window that ran touches the box.

        Raises
        ------
        OutOfMemory
            If a sum is too large for half precision.
        """
        slow, middle, fast = self._axes
        a, b, c = (at[axis] for axis in self._schedule.order)
        # The box in hand, in the scan: from what is still needed to the end of the window.
        (ka, ua, to_a), (kb, ub, to_b), (kc, uc, to_c) = (
            (axis.keep[t], axis.stops[t], axis.keep[t + 1] if t + 1 < len(axis.keep) else axis.stops[t])
            for axis, t in zip(self._axes, (a, b, c), strict=True)
        )
        # Up to here it holds sums of the windows before; what lies past is new to the row, the slab or all.
        ready_a = slow.stops[a - 1] if a else ka
        ready_b = middle.stops[b - 1] if b else kb
        ready_c = fast.stops[c - 1] if c else kc
        layers = slice(0, -(-(ua - ka) // self._layer) * self._layer)
        new_row = (layers, slice(ready_c, uc))
        new_to_slab = (slice(ready_b, ub), slice(ready_c, uc))
        from_row = self._rows.take(new_row) if b else []
        from_slab = self._slabs.take(new_to_slab) if a else []
        before = self._window_end if c else None
        self._window_end = None
        if logits is None and before is None and not from_row and not from_slab:
            return None

        # What leaves it: a finished box, the row's end, and what the next row and the next slab want.
        old_row = (layers, slice(kc, to_c))
        old_in_slab = (slice(kb, to_b), slice(kc, to_c))
        size = (slow.ends[a] - ka, middle.ends[b] - kb, fast.ends[c] - kc)
        end_shape = self._place(ua - ka, ub - kb, uc - to_c)
        end_room = int(np.prod(end_shape))
        if end_room:
            self._window_end = _InHand(self._hand, 0, end_shape)
        finished = _InHand(self._hand, end_room, self._place(*size))
        to_row = self._rows.make(old_row, self._row_shape) if to_b < ub else []
        to_slab = self._slabs.make(old_in_slab, self._slab_shape) if to_a < ua else []

        everything = self._at()
        sources: list[Move] = []
        if before is not None:
            sources.append((before, everything, self._at(c=slice(ready_c - kc))))
        for (planes, columns), piece in from_row:
            planes, ready = slice(planes.start, min(planes.stop, ua - ka)), slice(ready_b - kb)
            part = self._at(slice(planes.stop - planes.start), ready)
            sources.append((piece, part, self._at(planes, ready, _moved(columns, ready_c - kc))))
        for (rows, columns), piece in from_slab:
            ready = slice(ready_a - ka)
            place = self._at(ready, _moved(rows, ready_b - kb), _moved(columns, ready_c - kc))
            sources.append((piece, self._at(ready), place))
        window = self._at(
            *(
                slice(axis.starts[t] - axis.keep[t], None)
                for axis, t in zip(self._axes, (a, b, c), strict=True)
            )
        )
        targets: list[Move] = [(finished, everything, self._at(*(slice(n) for n in size)))]
        if self._window_end is not None:
            targets.append((self._window_end, everything, self._at(c=slice(to_c - kc, None))))
        for (planes, columns), piece in to_row:
            planes = slice(planes.start, min(planes.stop, ua - ka))
            part = self._at(slice(planes.stop - planes.start), slice(ub - to_b))
            targets.append((piece, part, self._at(planes, slice(to_b - kb, None), columns)))
        for (rows, columns), piece in to_slab:
            part = self._at(slice(ua - to_a))
            targets.append((piece, part, self._at(slice(to_a - ka, None), rows, columns)))

        whole = logits is not None and all(
            axis.starts[t] == axis.keep[t] for axis, t in zip(self._axes, (a, b, c), strict=True)
        )

        def work(group: int) -> None:
            box = self._view(self._scratch[group], (ua - ka, ub - kb, uc - kc), self._together)
            for start in range(*self._groups[group], self._together):
                k = slice(start, start + self._together)
                if not whole:
                    box[...] = 0
                if logits is not None and self._weights is None:
                    box[(slice(None), *window)] = logits[k]
                elif logits is not None:
                    self._xp.multiply(logits[k], self._weights, out=box[(slice(None), *window)])
                for piece, part, place in sources:
                    box[(slice(None), *place)] += piece.load(k, part)
                for piece, part, place in targets:
                    piece.save(k, part, box[(slice(None), *place)])

        self._run(work)
        self._rows.free(from_row)
        self._slabs.free(from_slab)
        return finished.load(slice(0, self._channels), everything)

    def _run(self, work: Callable[[int], None]) -> None:
        try:
            # A sum that half precision cannot hold must not become infinite.
            self._threads.map(work, range(len(self._groups)), over="raise")
        except FloatingPointError as error:
            raise OutOfMemory(
                "this network's logits are too large for half-precision sums: allow more memory, or ask for "
                "sums in f32"
            ) from error

    def _view(self, flat: Any, size: Sequence[int], channels: int) -> Any:
        """The first part of a flat array as (channels, x, y, z), sizes given in the order of the loops."""
        shape = (channels, *self._place(*size))
        return flat[: int(np.prod(shape))].reshape(shape)

    def _row_shape(self, cell: tuple[int, ...]) -> tuple[int, ...]:
        """Shape of what one cell of a row's end holds; all cells are as thick, whatever they hold."""
        layer, columns = cell
        return self._channels, *self._place(layer, self._axes[1].carried, columns)

    def _slab_shape(self, cell: tuple[int, ...]) -> tuple[int, ...]:
        """Shape of what one cell of a slab's end holds."""
        return self._channels, *self._place(self._axes[0].carried, *cell)

    def _place(self, *size: int) -> tuple[int, int, int]:
        """Sizes in the order of the loops as sizes in the order of the array."""
        by_axis = dict(zip(self._schedule.order, size, strict=True))
        return by_axis[0], by_axis[1], by_axis[2]

    def _at(self, a: slice = slice(None), b: slice = slice(None), c: slice = slice(None)) -> Region:
        """An index (x, y, z) from slices in the order of the loops."""
        by_axis = dict(zip(self._schedule.order, (a, b, c), strict=True))
        return by_axis[0], by_axis[1], by_axis[2]


class _InHand:
    """Part of each channel's row of the array in hand, as a piece."""

    def __init__(self, rows: Any, first: int, shape: tuple[int, int, int]) -> None:
        self._rows, self._part, self._shape = rows, slice(first, first + int(np.prod(shape))), shape

    def load(self, channels: slice, part: Region) -> Any:
        return self._view(channels)[(slice(None), *part)]

    def save(self, channels: slice, part: Region, values: Any) -> None:
        self._view(channels)[(slice(None), *part)] = values

    def _view(self, channels: slice) -> Any:
        return self._rows[channels, self._part].reshape(channels.stop - channels.start, *self._shape)


def hand_voxels(schedule: Schedule) -> int:
    """Voxels, per channel, of the largest finished box and what its window leaves to the next in the row."""
    slow, middle, fast = (schedule.axes[axis] for axis in schedule.order)
    finished = [np.subtract(axis.ends, axis.keep) for axis in (slow, middle, fast)]
    worked = [np.subtract(axis.stops, axis.keep) for axis in (slow, middle)]
    left = np.subtract(fast.stops, [*fast.keep[1:], fast.stops[-1]])
    together = np.einsum("a,b,c->abc", *finished) + np.einsum("a,b,c->abc", *worked, left)
    return int(together.max())


def _groups(channels: int, threads: int) -> list[tuple[int, int]]:
    """Channels shared among threads: first and last plus one of each."""
    count = max(1, min(threads, channels))
    edges = [round(channels * n / count) for n in range(count + 1)]
    return list(pairwise(edges))


def _moved(part: slice, by: int) -> slice:
    return slice(part.start + by, part.stop + by)
