"""The correction session: one case whose label array is edited, and every edit is kept. No Qt, no viewer.

Nobody has to tell the session what was painted. It holds a second copy of the array as of the last `sync`;
what differs from it is a new edit, and goes to the journal on the disk (`napari_medseg.recovery.journal`).
A thread compares what was announced by `changed` at once, and everything every half second, as napari's
own undo and writes to the array announce nothing.

Memory beyond the array: the copy, and some 50 MB while a very large edit is recorded. `save` takes one more
copy for as long as it writes. What can be undone lies in the journal.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import medseg
from medseg import LabelMap, LabelSet, UsageError
from medseg.volume import Source, present_ids
from napari_medseg.editing.boxes import Box
from napari_medseg.recovery import provenance
from napari_medseg.recovery.change_notes import ChangeNotes
from napari_medseg.recovery.differences import in_memory_order, ranges_of
from napari_medseg.recovery.known_scan import NO_SCAN, KnownScan
from napari_medseg.recovery.recorder import MayChange, Recorder
from napari_medseg.recovery.session_files import START, SessionFacts, start_blocks
from napari_medseg.recovery.session_folders import SessionLock, remove_folder

COMPARE_EVERY_S = 0.5  # half of the second within which an edit is to be on the disk
_SYNC_GAP_S = 0.1  # an edit is recorded at once, the next ones together: a stroke announces itself often


class _Limit:
    """Which voxels may change; ``holds`` once everything that was there before it is recorded."""

    __slots__ = ("holds", "may")

    def __init__(self, may: MayChange | None) -> None:
        self.may = may
        self.holds = False


class CorrectionSession:
    """One case while it is corrected; made by `recovery.sessions.open_session` and `recover`.

    All methods may be called from any thread. `changed`, `begin_step` and `end_step` never wait for the disk
    or for a comparison.

    Attributes
    ----------
    array
        The label array (I, J, K) that is edited, by whoever likes: unsigned integers.
    facts
        The case: grid, files, when it began.
    folder
        Where the session lies.
    failure
        Why the last edits could not be written, None where all is well. The thread goes on trying.
    notices
        What is to be known about a recovered session.
    put_back
        Called, from any thread, after `keep_to` took a change back.
    """

    def __init__(
        self,
        folder: Path,
        lock: SessionLock,
        array: NDArray[Any],
        recorder: Recorder,
        source: Source,
        notices: tuple[str, ...] = (),
    ) -> None:
        self.folder = folder
        self.array = array
        self.notices = notices
        self.failure: Exception | None = None
        self.put_back: Callable[[], None] | None = None
        self._limit = _Limit(None)
        self._has_put_back = False
        self._recorder = recorder
        self._source = source
        self._session_lock = lock
        steps = (*recorder.history.applied, *recorder.history.undone)
        self._notes = ChangeNotes(max((step.number for step in steps), default=0))
        self._busy = threading.RLock()  # the recorder: one at a time
        self._woken = threading.Event()
        self._closing = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def facts(self) -> SessionFacts:
        """The case: grid, files, when it began."""
        return self._recorder.facts

    def changed(self, box: Box | None = None) -> None:
        """Something changed within a box (slices of i, j, k), or somewhere. Takes microseconds."""
        facts = self._recorder.facts
        self._notes.add(ranges_of(box, facts.geometry.shape, facts.order))
        if not self._woken.is_set():  # which is quicker: a stroke tells of a change at every move
            self._woken.set()

    def begin_step(self) -> None:
        """What changes from here to `end_step` is one step of undo: a stroke begins."""
        self._notes.begin()

    def end_step(self) -> None:
        """The step ends. Without steps, changes within half a second of each other are undone together."""
        self._notes.end()

    def keep_to(self, may: MayChange | None) -> None:
        """From here on, take back what changes elsewhere than it ``may``; None lets everything change.

        It holds for what nobody told of by `changed` or made a step of: a script, another plugin, a view
        that is not ours. Who tells of a change keeps it to limits himself, as he knows what it painted over;
        undo and redo are free. What was there before this call and is not recorded yet must not be taken
        back: it holds once everything was compared, which takes half a second at most.
        """
        self._limit = _Limit(may)

    @contextmanager
    def step(self) -> Iterator[None]:
        """A command as one step: nothing from before or behind gets into it. Compares everything, twice."""
        self.sync(everything=True)
        self.begin_step()
        try:
            yield
        finally:
            self.sync(everything=True)
            self.end_step()

    def sync(self, *, everything: bool = False) -> int:
        """Record what changed where it was announced, or anywhere; returns how many voxels.

        When this returns it is on the disk. A voxel that is written to meanwhile is in this record or in the
        next.

        Raises
        ------
        WriteFailed
            The journal cannot be written. Nothing is lost yet: the next call tries again.
        """
        with self._busy:
            count, limit = 0, self._limit
            try:
                for step, ranges in self._notes.take().items():
                    count += self._recorder.record(ranges, partial(int, step))
                if everything:
                    record = self._recorder.record
                    count += record(self._recorder.everything, self._notes.step_now, self._may_change)
                    limit.holds = True
                self._recorder.journal.flush()
            except OSError:
                self._notes.add(self._recorder.everything)
                raise
            finally:
                self._tell()
            return count

    def undo(self) -> Box | None:
        """Take back the last step, down to the session's start; the box that changed, None without a step."""
        with self._busy:
            self.sync(everything=True)
            self.end_step()
            return self._recorder.undo()

    def redo(self) -> Box | None:
        """Make the step again that was undone last; the box that changed, None if there is none."""
        with self._busy:
            self.sync(everything=True)
            self.end_step()
            return self._recorder.redo()

    @property
    def can_undo(self) -> bool:
        """Whether there is a step to take back."""
        return bool(self._recorder.history.applied or self._notes)

    @property
    def can_redo(self) -> bool:
        """Whether there is a step to make again: one was undone, and nothing was done since."""
        return bool(self._recorder.history.undone) and not self._notes

    @property
    def labels(self) -> LabelSet:
        """The label set; ids that were painted and have no name yet are not in it."""
        return self._recorder.labels

    def set_labels(self, labels: LabelSet) -> None:
        """Name labels, from here on; a recovered session knows it. Undo leaves names alone."""
        with self._busy:
            self._recorder.set_labels(labels)

    @property
    def scans(self) -> tuple[KnownScan, ...]:
        """The scans that the labels are corrected on: the one that it began with, and those chosen later."""
        return self._recorder.scans

    @property
    def scan(self) -> KnownScan:
        """The first of them, for names and for what is opened again."""
        return self.scans[0] if self.scans else NO_SCAN

    def add_scan(self, scan: KnownScan) -> None:
        """Keep that another scan was chosen, on the same grid; a recovered session knows it.

        Nothing happens for one that is known already, and for one of which nothing is known.

        Raises
        ------
        WriteFailed
            The journal cannot be written.
        """
        with self._busy:
            self._recorder.add_scan(scan)

    def label_map(self) -> LabelMap:
        """The array with its grid and names, sharing its memory; ids without a name get one."""
        labels = with_painted(self.labels, self.array)
        return LabelMap(self.array, self.facts.geometry, labels, self._source)

    def attach(self, array: NDArray[Any]) -> None:
        """Edit another array (I, J, K) from here on: somebody replaced the layer's. Its content is an edit.

        Raises
        ------
        UsageError
            Its shape or type is not that of the session, or it is read-only.
        """
        check_editable(array, self.facts.geometry.shape, self.facts.dtype)
        with self._busy:
            self.array = array
            self._recorder.attach(array)  # the next comparison of everything finds what differs

    @property
    def is_modified(self) -> bool:
        """Whether there are edits that were not saved; `sync` first to count those that nobody announced."""
        return bool(self._notes) or self.has_unsaved_steps

    @property
    def has_unsaved_steps(self) -> bool:
        """Whether steps were not saved: without what was announced and may turn out to be no change."""
        return self._recorder.history.position != self._recorder.saved

    def save(self, path: Path, *, who: str | None = None, overwrite: bool = False) -> Path:
        """Write the labels on the scan's own grid, and `napari_medseg.recovery.provenance` beside them.

        Painting may go on meanwhile: what is written is the array as it is when the call begins.

        Parameters
        ----------
        path
            Its extension chooses the format, see `medseg.write`.
        who
            Free text for the provenance.
        overwrite
            Whether an existing file is replaced.

        Raises
        ------
        UsageError, WriteFailed
            As `medseg.write`; `WriteFailed` of the journal, too.
        """
        recorder = self._recorder
        with self._busy:
            self.sync(everything=True)
            now, labels, scans = recorder.shadow.copy(), recorder.labels, recorder.scans
            position, edits = recorder.history.position, len(recorder.history.applied)
            seconds = recorder.clock.seconds
        data = in_memory_order(now, self.facts.order)
        labels = with_painted(labels, data)
        medseg.write(LabelMap(data, self.facts.geometry, labels, self._source), path, overwrite=overwrite)
        start = start_blocks(self.folder / START, self.facts)
        provenance.write(
            path,
            self.folder.name,
            self.facts,
            scans=scans,
            names={one.id: one.name for one in (*self.facts.labels, *labels)},
            changed=provenance.changed_voxels(start, now.ravel()),
            who=who,
            edits=edits,
            active_seconds=seconds,
            saved=time.time(),
        )
        with self._busy:
            recorder.set_saved(position)
        return path

    def start(self, on_failure: Callable[[Exception], None] | None = None) -> None:
        """Begin to watch the array. ``on_failure`` is called from the thread, once for a row of failures."""
        if self._thread is None:
            arguments = (on_failure,)
            self._thread = threading.Thread(
                target=self._watch, args=arguments, name="medseg session", daemon=True
            )
            self._thread.start()

    def close(self, *, discard: bool = False) -> None:
        """End the session. Its folder goes if all was saved or ``discard`` is set, else it can be recovered.

        Raises
        ------
        WriteFailed
            The last edits cannot be written. The session stays open, unwatched.
        """
        self._closing.set()
        self._woken.set()
        if self._thread is not None:
            self._thread.join()
        with self._busy:
            if not discard:
                self.sync(everything=True)
            self._recorder.journal.close()
            if discard or not self.is_modified:
                remove_folder(self.folder, self._session_lock)
            else:
                self._session_lock.release()

    def _may_change(
        self, old: NDArray[Any], voxels: tuple[NDArray[np.int64], ...]
    ) -> NDArray[np.bool_] | None:
        limit = self._limit  # as it is now: what is painted once it was lifted stays
        if limit.may is None or not limit.holds or self._notes.are_awaited:
            return None
        where = limit.may(old, voxels)
        self._has_put_back |= where is not None and not where.all()
        return where

    def _tell(self) -> None:
        has_put_back, self._has_put_back = self._has_put_back, False
        if has_put_back and self.put_back is not None:
            self.put_back()

    def _watch(self, on_failure: Callable[[Exception], None] | None) -> None:
        due = time.monotonic() + COMPARE_EVERY_S
        while not self._closing.is_set():
            self._woken.wait(max(0.0, due - time.monotonic()))
            self._woken.clear()
            everything = time.monotonic() >= due
            if everything:
                due = time.monotonic() + COMPARE_EVERY_S
            try:
                self.sync(everything=everything)
                self.failure = None
            except Exception as error:  # noqa: BLE001 - whoever watches the session is told
                told, self.failure = self.failure, error
                if told is None and on_failure is not None:
                    on_failure(error)
            self._closing.wait(_SYNC_GAP_S)


def with_painted(labels: LabelSet, data: NDArray[Any]) -> LabelSet:
    """The label set with a name for every id of an array: ``label 7``, else ``label 7 (new)``."""
    painted = [i for i in present_ids(data) if i not in labels.ids]
    colours = LabelSet.from_ids([*labels.ids, *painted])
    taken = set(labels.names)
    added = []
    for i in painted:
        name = f"label {i}"
        while name in taken:
            name += " (new)"
        taken.add(name)
        added.append(medseg.Label(i, name, colours[i].colour))
    return LabelSet((*labels.labels, *added), labels.background)


def check_editable(array: NDArray[Any], shape: tuple[int, int, int], dtype: np.dtype[Any]) -> None:
    """Refuse an array that a session cannot edit.

    Raises
    ------
    UsageError
        Its shape or type is another one, or it is read-only.
    """
    if array.shape != shape or array.dtype != dtype:
        raise UsageError(f"the label array is {array.dtype} {array.shape}, expected {dtype} {shape}")
    if not array.flags.writeable:
        raise UsageError("the label array is read-only, so nothing can be corrected: give a copy of it")
