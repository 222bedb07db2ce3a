"""A label array, a copy of it, and the journal between them. For one thread at a time."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medseg import LabelSet
from napari_medseg.editing.boxes import Box
from napari_medseg.recovery.differences import (
    Difference,
    Ranges,
    blocks,
    box_of,
    difference,
    extent,
    in_memory_order,
    joined,
    put,
    ranges_of,
    union,
)
from napari_medseg.recovery.history import History, WorkClock
from napari_medseg.recovery.journal import (
    REDO,
    UNDO,
    Journal,
    edit_body,
    labels_body,
    mark_body,
    saved_body,
    scan_body,
)
from napari_medseg.recovery.known_scan import KnownScan
from napari_medseg.recovery.session_files import SessionFacts, labels_to_json

# Of N voxels: their ids before, and their indices along i, j and k. Which may change, None for all.
MayChange = Callable[[NDArray[Any], tuple[NDArray[np.int64], ...]], NDArray[np.bool_] | None]

_LARGEST_RECORD = 1 << 20  # voxels; a larger edit is several records of one step


class Recorder:
    """Keeps what is done to an array.

    Parameters
    ----------
    array
        The live array (I, J, K). Somebody else writes to it, perhaps while a method runs.
    facts
        Shape, type and memory order.
    journal, history, clock, labels, saved, other_scans
        Where the session stands: its journal open at the end, what can be undone, the time worked, the label
        set, the position that was saved last, and the scans that were chosen since it began.
    """

    def __init__(
        self,
        array: NDArray[Any],
        facts: SessionFacts,
        journal: Journal,
        history: History,
        clock: WorkClock,
        labels: LabelSet,
        saved: int = 0,
        other_scans: Iterable[KnownScan] = (),
    ) -> None:
        self.facts = facts
        self.journal = journal
        self.history = history
        self.clock = clock
        self.labels = labels
        self.saved = saved
        self.scans = tuple(one for one in (facts.scan, *other_scans) if one.is_known)
        self.everything = ranges_of(None, facts.geometry.shape, facts.order)
        self.attach(array)
        self.shadow = np.array(self._live, order="C")  # in memory order, as of the last record

    def attach(self, array: NDArray[Any]) -> None:
        """Watch another array of the same shape and type."""
        self._live = in_memory_order(array, self.facts.order)

    def record(self, ranges: Ranges, step: Callable[[], int], may: MayChange | None = None) -> int:
        """Write what differs within ranges to the journal; returns how many voxels.

        ``step`` is asked for the number of the step once a difference is found. Each differing voxel is read
        once: that value is recorded, and is what the next comparison is with. Voxels that ``may`` not change
        become in the array what they were, and are no difference.
        """
        parts: list[Difference] = []
        waiting = count = 0
        for block in blocks(ranges):
            part = difference(self.shadow, self._live, block)
            if part is not None and may is not None:
                part = self._put_back(part, may)
            if part is None:
                continue
            parts.append(part)
            waiting += len(part.indices)
            if waiting >= _LARGEST_RECORD:
                count += self._append(joined(parts), step())
                parts, waiting = [], 0
        return count + (self._append(joined(parts), step()) if parts else 0)

    def undo(self) -> Box | None:
        """Take back the last step; the box that changed, None if there is no step.

        All differences must have been recorded. The journal is told first: if that fails nothing happens.
        """
        if not self.history.applied:
            return None
        self._mark(UNDO)
        offsets = reversed(self.history.undo().edits)
        return self._put((edit.indices, edit.old) for edit in map(self._edit, offsets))

    def redo(self) -> Box | None:
        """Make the step again that was undone last; otherwise as `undo`."""
        if not self.history.undone:
            return None
        self._mark(REDO)
        offsets = self.history.redo().edits
        return self._put((edit.indices, edit.new) for edit in map(self._edit, offsets))

    def set_labels(self, labels: LabelSet) -> None:
        """Keep a new label set."""
        self.journal.append(labels_body(labels_to_json(labels), time.time()))
        self.journal.flush()
        self.labels = labels

    def add_scan(self, scan: KnownScan) -> None:
        """Keep a scan that was chosen, unless it is known already."""
        if scan.is_known and not any(scan.is_same(one) for one in self.scans):
            self.journal.append(scan_body(scan.to_json(), time.time()))
            self.journal.flush()
            self.scans = (*self.scans, scan)

    def set_saved(self, position: int) -> None:
        """Keep that what stood at a position of the history was saved."""
        self.journal.append(saved_body(position, time.time()))
        self.journal.flush()
        self.saved = position

    def _put_back(self, found: Difference, may: MayChange) -> Difference | None:
        """What of a difference stays; the rest is taken out of the array."""
        places = np.unravel_index(found.indices, self.shadow.shape)
        where = may(found.old, places[::-1] if self.facts.order == "F" else places)
        if where is None or where.all():
            return found
        put(self._live, found.indices[~where], found.old[~where])
        if not where.any():
            return None
        return Difference(found.indices[where], found.old[where], found.new[where])

    def _append(self, edit: Difference, step: int) -> int:
        now = time.time()
        offset = self.journal.append(edit_body(edit, step, now))
        put(self.shadow, edit.indices, edit.new)
        self.history.add(step, offset)
        self.clock.tick(now)
        return len(edit.indices)

    def _mark(self, kind: int) -> None:
        now = time.time()
        self.journal.append(mark_body(kind, now))
        self.journal.flush()
        self.clock.tick(now)

    def _edit(self, offset: int) -> Difference:
        return self.journal.read_edit(offset, self.facts.dtype)

    def _put(self, writes: Iterable[tuple[NDArray[np.int64], NDArray[Any]]]) -> Box:
        first, *others = self._extents(writes)
        for other in others:
            first = union(first, other)
        return box_of(first, self.facts.order)

    def _extents(self, writes: Iterable[tuple[NDArray[np.int64], NDArray[Any]]]) -> Iterable[Ranges]:
        for indices, values in writes:
            put(self._live, indices, values)
            put(self.shadow, indices, values)
            yield extent(indices, self.shadow.shape)
