"""Sessions begin, are found again after a crash, and are recovered or thrown away."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import medseg
from medseg import LabelMap, LabelSet, MedsegError, UsageError, Volume
from medseg.errors import NotFound
from medseg.io.files import sha256_files
from medseg.volume import Source
from napari_medseg.recovery.differences import Difference, in_memory_order, memory_order, put
from napari_medseg.recovery.history import History, WorkClock
from napari_medseg.recovery.journal import (
    EDIT,
    REDO,
    SAVED,
    UNDO,
    Contents,
    Journal,
    damaged,
    read_edit,
    read_journal,
)
from napari_medseg.recovery.known_scan import NO_SCAN, KnownScan
from napari_medseg.recovery.recorder import Recorder
from napari_medseg.recovery.session_files import (
    JOURNAL,
    START,
    SessionFacts,
    labels_from_json,
    read_start,
    start_blocks,
    write_journal,
    write_start,
)
from napari_medseg.recovery.session_folders import (
    SessionLock,
    free_name,
    is_open,
    new_folder,
    remove_folder,
    session_folders,
    sessions_folder,
)
from napari_medseg.session import CorrectionSession, check_editable

DAMAGED_COPY = "journal.damaged"


@dataclass(frozen=True, slots=True)
class UnfinishedSession:
    """A session that no living process has open, and that was not closed with all saved.

    Parameters
    ----------
    folder
        For `recover` and `discard`.
    case, labels_path
        As in `SessionFacts`.
    scan
        The files of the scan that it began with.
    started, last_edit
        Seconds since 1970; without an edit, when it began.
    changed_voxels
        That differ from the start.
    damage
        What is wrong with its files, None where they are whole. The edits before it can be recovered, unless
        ``changed_voxels`` is None: then nothing can.
    """

    folder: Path
    case: str
    scan: tuple[Path, ...]
    labels_path: Path | None
    started: float
    last_edit: float
    changed_voxels: int | None
    damage: str | None


@dataclass(frozen=True, slots=True, eq=False)
class _Found:
    """A session as its files have it. ``array`` is in memory order."""

    facts: SessionFacts
    contents: Contents
    labels: LabelSet
    history: History
    clock: WorkClock
    saved: int
    array: NDArray[Any]


def open_session(
    labels: LabelMap,
    *,
    case: str,
    scan: KnownScan = NO_SCAN,
    labels_path: Path | None = None,
    model: Mapping[str, str | None] | None = None,
    root: Path | None = None,
) -> CorrectionSession:
    """Begin to correct a label map, whose array is edited in place from then on.

    Parameters
    ----------
    labels
        Its source decides on which grid, bit for bit, the result is written: that of the file that was read,
        or of the scan where the labels begin empty.
    case
        A name for the user.
    scan
        The scan that the labels are corrected on, if there is one.
    labels_path
        The file that the labels were read from.
    model
        ``name`` and ``sha256`` of the model that made the labels, where no sidecar of theirs tells.
    root
        Where sessions lie; None for `sessions_folder`.

    Returns
    -------
    CorrectionSession
        Not watched yet: `CorrectionSession.start` does that.

    Raises
    ------
    UsageError
        The array is read-only.
    """
    data = labels.data
    check_editable(data, labels.geometry.shape, data.dtype)
    now = time.time()
    order = memory_order(data)
    folder = free_name(root or sessions_folder(), case, now)
    with new_folder(folder) as temporary:
        facts = SessionFacts(
            case=case,
            geometry=labels.geometry,
            labels=labels.labels,
            dtype=data.dtype.newbyteorder("="),
            order=order,
            scan=scan,
            labels_path=None if labels_path is None else Path(labels_path).absolute(),
            labels_sha256=None if labels_path is None else sha256_files([labels_path]),
            start_sha256=write_start(temporary / START, in_memory_order(data, order)),
            started=now,
            model=model,
        )
        write_journal(temporary / JOURNAL, facts)
        lock = SessionLock(folder)  # before the folder is seen
    contents = read_journal(folder / JOURNAL)
    journal = Journal(folder / JOURNAL, contents.end, contents.checksum)
    recorder = Recorder(data, facts, journal, History(), WorkClock(now), labels.labels)
    return CorrectionSession(folder, lock, data, recorder, labels.source)


def unfinished_sessions(root: Path | None = None) -> list[UnfinishedSession]:
    """What can be recovered, the last edited first. Sessions that are open somewhere are left out.

    So are those in which nothing is to be recovered, whose folders are removed: all was saved, or the labels
    are as they were at the start and were never saved in between. Damaged ones stay.
    """
    listed = []
    for folder in session_folders(root or sessions_folder()):
        if not is_open(folder):
            one, is_needless = _describe(folder)
            if not is_needless:
                listed.append(one)
            elif (lock := _lock_if_free(folder)) is not None:
                # Another window may have edited in it, or removed it, since it was read.
                if folder.is_dir() and _describe(folder)[1]:
                    remove_folder(folder, lock)
                else:
                    lock.release(remove=not folder.is_dir())
    return sorted(listed, key=lambda one: -one.last_edit)


def recover(folder: Path, *, before_damage: bool = False) -> CorrectionSession:
    """Open a session again as it was, with all that could be undone and redone.

    Parameters
    ----------
    folder
        As `unfinished_sessions` lists it.
    before_damage
        Take a damaged journal as if it ended before the damage; a copy, ``journal.damaged``, stays beside it.

    Raises
    ------
    NotFound
        There is no such session.
    UsageError
        It is open in another window.
    InputRefused
        ``journal-damaged``: the message names the record.
    """
    _check_exists(folder)
    lock = SessionLock(folder)
    try:
        found = _read(folder)
        path = folder / JOURNAL
        if found.contents.damage is not None:
            if not before_damage:
                cure = f"before_damage=True recovers the {len(found.contents.records)} records before it"
                raise damaged(path, f"{found.contents.damage}; {cure}")
            shutil.copyfile(path, folder / DAMAGED_COPY)
        source, notices = _source(found.facts)
        journal = Journal(path, found.contents.end, found.contents.checksum)
        if found.contents.torn_bytes:
            notices += ("the last edit was not written whole when the session ended, and is left out",)
        array = in_memory_order(found.array, found.facts.order)
        history, clock, labels = found.history, found.clock, found.labels
        others = map(KnownScan.from_json, found.contents.scans)
        recorder = Recorder(array, found.facts, journal, history, clock, labels, found.saved, others)
    except BaseException:  # also where memory ends or somebody interrupts: the session stays recoverable
        lock.release()
        raise
    return CorrectionSession(folder, lock, array, recorder, source, notices)


def discard(folder: Path) -> None:
    """Remove a session and all of its edits. Errors are `NotFound` and `UsageError`, as of `recover`."""
    _check_exists(folder)
    remove_folder(folder, SessionLock(folder))


def _check_exists(folder: Path) -> None:
    if not folder.is_dir():
        raise NotFound(f"{folder.name}: no such session; it was saved, discarded, or is in another folder")


def _lock_if_free(folder: Path) -> SessionLock | None:
    try:
        return SessionLock(folder)
    except UsageError:  # opened in another window meanwhile
        return None


def _describe(folder: Path) -> tuple[UnfinishedSession, bool]:
    """A session, and whether nothing of it would be missed."""
    try:
        found = _read(folder)
        changed = _count_changed(folder, found)
    except (MedsegError, OSError) as error:
        modified = folder.stat().st_mtime
        return UnfinishedSession(folder, folder.name, (), None, modified, modified, None, str(error)), False
    facts = found.facts
    # Where it was saved, even labels as at the start may differ from the file that holds the result.
    was_saved = any(record.kind == SAVED for record in found.contents.records)
    all_saved = found.history.position == found.saved
    is_needless = found.contents.damage is None and (all_saved or (not changed and not was_saved))
    described = UnfinishedSession(
        folder,
        facts.case,
        facts.scan.files,
        facts.labels_path,
        facts.started,
        found.clock.last,
        changed,
        found.contents.damage,
    )
    return described, is_needless


def _read(folder: Path) -> _Found:
    """Read a session's files and make its edits again."""
    path = folder / JOURNAL
    if not path.is_file():
        raise damaged(path, "there is no such file")
    contents = read_journal(path)
    facts = SessionFacts.from_json(contents.header, path)
    array = read_start(folder / START, facts)
    history, clock, saved = History(), WorkClock(facts.started), 0
    with path.open("rb") as file:

        def edits(offsets: Iterable[int]) -> Iterator[Difference]:
            for offset in offsets:
                file.seek(offset)
                yield read_edit(file, offset, facts.dtype)

        for record in contents.records:
            if record.kind in (EDIT, UNDO, REDO):
                clock.tick(record.time)
            if record.kind == SAVED:
                saved = record.saved
            elif record.kind == EDIT:
                history.add(record.step, record.offset)
                for edit in edits([record.offset]):
                    put(array, edit.indices, edit.new)
            elif record.kind == UNDO:
                for edit in edits(reversed(history.undo().edits)):
                    put(array, edit.indices, edit.old)
            elif record.kind == REDO:
                for edit in edits(history.redo().edits):
                    put(array, edit.indices, edit.new)
    labels = facts.labels if contents.labels is None else labels_from_json(contents.labels)
    return _Found(facts, contents, labels, history, clock, saved, array)


def _count_changed(folder: Path, found: _Found) -> int:
    flat, first, count = found.array.ravel(), 0, 0
    for block in start_blocks(folder / START, found.facts):
        count += int(np.count_nonzero(block != flat[first : first + len(block)]))
        first += len(block)
    return count


def _source(facts: SessionFacts) -> tuple[Source, tuple[str, ...]]:
    """Where the labels came from, read again: headers are not kept, as they may hold patient data.

    What was allowed for the scan is allowed for labels on its grid, too.
    """
    opening = facts.scan.opening
    readers: list[tuple[Path, Callable[[Path], LabelMap | Volume]]] = []
    if facts.labels_path is not None:
        readers.append((facts.labels_path, partial(medseg.read_labels, allow=opening.allow)))
    if facts.scan.files:
        read_scan = partial(medseg.read, series=opening.series, allow=opening.allow)
        readers.append((facts.scan.files[0], read_scan))
    for path, read in readers:
        try:
            item = read(path)
        except MedsegError:  # gone, or replaced by what cannot be read: the next one, or the notice
            continue
        if item.geometry == facts.geometry:
            return item.source, ()
    if not readers:
        return Source(), ()
    return Source(), ("the session's files are gone or altered: its grid is written from the numbers kept",)
