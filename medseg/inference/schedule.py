"""In which order windows run, and which voxels are finished after each: no voxels here, only indices.

Windows are visited in slabs: along a first axis, within a slab in rows along a second, within a row
along the third. After every window there is a box of voxels of the network's grid that no later window
touches, and a box of voxels of the scan's own grid that depend on finished voxels only.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from medseg.geometry import Geometry
from medseg.inference.windows import axis_starts
from medseg.preprocess import AxisTable, axis_tables

Step = tuple[int, int, int]
Box = tuple[slice, slice, slice]
Order = tuple[int, int, int]

# The most is carried from window to window in a row, and copied fastest if it is cut along the array's first
# axis: of orders that carry about as little, one that comes first here is taken.
_ORDERS: tuple[Order, ...] = ((2, 1, 0), (1, 2, 0), (2, 0, 1), (0, 2, 1), (1, 0, 2), (0, 1, 2))
_ABOUT = 1.02


@dataclass(frozen=True, slots=True, eq=False)
class AxisSchedule:
    """One axis of the network's grid, padded to at least the patch. Step t is the t-th window along it.

    Attributes
    ----------
    size, patch, pad
        Voxels of the padded axis, of a window, and of padding before the scan's first voxel.
    starts
        First voxel of each window.
    keep
        First voxel that step t or a later one still needs, be it for interpolation only.
    ends
        One past the last voxel that no step after t touches.
    native
        Voxels of the scan's own axis that can be computed after step t, and not before.
    table
        Their neighbours in the padded network axis, and weights.
    """

    size: int
    patch: int
    pad: int
    starts: tuple[int, ...]
    keep: tuple[int, ...]
    ends: tuple[int, ...]
    native: tuple[slice, ...]
    table: AxisTable

    @property
    def stops(self) -> tuple[int, ...]:
        """One past the last voxel of each window."""
        return tuple(start + self.patch for start in self.starts)

    @property
    def carried(self) -> int:
        """The most voxels that lie between what one step finishes and where its window ends."""
        return max(
            (stop - keep for stop, keep in zip(self.stops[:-1], self.keep[1:], strict=True)), default=0
        )

    @property
    def worked(self) -> int:
        """The most voxels that a step has in hand."""
        return max(stop - keep for stop, keep in zip(self.stops, self.keep, strict=True))


@dataclass(frozen=True, slots=True, eq=False)
class Schedule:
    """The windows of a scan in the order in which they run.

    Attributes
    ----------
    axes
        The three axes of the network's grid, in the array's order.
    order
        Their numbers from the slowest loop to the fastest.
    native_axes
        The network's axis that each axis of the scan's own grid lies along.
    """

    axes: tuple[AxisSchedule, AxisSchedule, AxisSchedule]
    order: Order
    native_axes: Order

    @property
    def counts(self) -> tuple[int, int, int]:
        """Windows along each axis of the array."""
        i, j, k = (len(axis.starts) for axis in self.axes)
        return i, j, k

    @property
    def windows(self) -> int:
        """Windows in all."""
        return int(np.prod(self.counts))

    @property
    def patch(self) -> tuple[int, int, int]:
        """Size of a window."""
        i, j, k = (axis.patch for axis in self.axes)
        return i, j, k

    @property
    def slowest_native_axis(self) -> int:
        """The axis of the scan's own grid along which slabs follow each other."""
        return self.native_axes.index(self.order[0])

    @property
    def overlapping(self) -> bool:
        """Whether a voxel may lie in two windows."""
        return any(
            later < stop
            for axis in self.axes
            for later, stop in zip(axis.starts[1:], axis.stops, strict=False)
        )

    def steps(self) -> Iterator[Step]:
        """Each window's step along the array's axes, in the order in which they run."""
        slow, middle, fast = (range(len(self.axes[axis].starts)) for axis in self.order)
        for along in itertools.product(slow, middle, fast):
            at = dict(zip(self.order, along, strict=True))
            yield at[0], at[1], at[2]

    def corner(self, at: Step) -> Step:
        """First voxel of a window in the scan on the network's grid; negative where it lies in padding."""
        i, j, k = (axis.starts[t] - axis.pad for axis, t in zip(self.axes, at, strict=True))
        return i, j, k

    def native_box(self, at: Step) -> Box | None:
        """Voxels of the scan's own grid that a step finishes; None if there are none."""
        i, j, k = (self.axes[axis].native[at[axis]] for axis in self.native_axes)
        return None if any(s.start == s.stop for s in (i, j, k)) else (i, j, k)


def schedule(network: Geometry, native: Geometry, patch: Sequence[int], overlap: float) -> Schedule:
    """Plan the windows over a scan on the network's grid, and the way back to its own grid.

    A scan smaller than the patch is padded evenly. The order of the axes is that which carries the
    fewest voxels from window to window; it depends on shapes alone, never on memory.
    """
    native_axes, tables = axis_tables(network, native)
    by_network = {axis: tables[n] for n, axis in enumerate(native_axes)}
    axes = tuple(
        _axis(size, edge, overlap, by_network[n])
        for n, (size, edge) in enumerate(zip(network.shape, patch, strict=True))
    )
    three = (axes[0], axes[1], axes[2])
    return Schedule(three, _best(three, _ORDERS), native_axes)


def along_native_axis(plan: Schedule, native_axis: int) -> Schedule:
    """The same windows, slab by slab along a given axis of the scan's own grid."""
    slowest = plan.native_axes[native_axis]
    return replace(plan, order=_best(plan.axes, [order for order in _ORDERS if order[0] == slowest]))


def _best(axes: Sequence[AxisSchedule], orders: Sequence[Order]) -> Order:
    least = min(carried_voxels(axes, order) for order in orders)
    return next(order for order in orders if carried_voxels(axes, order) <= _ABOUT * least)


def carried_voxels(axes: Sequence[AxisSchedule], order: Sequence[int]) -> int:
    """Voxels carried at most: from slab to slab, from row to row, and from window to window."""
    slow, middle, fast = (axes[axis] for axis in order)
    return (
        slow.carried * middle.size * fast.size
        + slow.worked * middle.carried * fast.size
        + slow.worked * middle.worked * fast.carried
    )


def _axis(length: int, patch: int, overlap: float, table: AxisTable) -> AxisSchedule:
    size = max(length, patch)
    pad = (size - length) // 2
    starts = axis_starts(size, patch, overlap)
    ends = [*starts[1:], size]
    low, high = table.low + pad, table.high + pad
    step_of = np.searchsorted(ends, high, side="right")
    native = [_run(np.flatnonzero(step_of == t)) for t in range(len(starts))]
    # A later step may need a finished voxel as the lower neighbour of one it finishes.
    keep, needed = [], size
    for t in reversed(range(len(starts))):
        needed = int(min(needed, low[native[t]].min(initial=size)))
        keep.append(min(starts[t], needed))
    return AxisSchedule(
        size=size,
        patch=patch,
        pad=pad,
        starts=tuple(starts),
        keep=tuple(reversed(keep)),
        ends=tuple(ends),
        native=tuple(native),
        table=AxisTable(low, high, table.weight),
    )


def _run(indices: NDArray[np.intp]) -> slice:
    """Indices without gaps as a slice: positions along an axis only rise or only fall."""
    return slice(int(indices[0]), int(indices[-1]) + 1) if indices.size else slice(0, 0)
