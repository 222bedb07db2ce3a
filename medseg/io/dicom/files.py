"""Every DICOM object at a path, its header read once: a folder, a file, a zip archive, a DICOMDIR.

Where an object is no scan, or no DICOM at all, it is set aside by name. A file that is named or marked like
DICOM and cannot be read counts as lost: it might be a slice, so that a series would have a hole.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from medseg.errors import InputRefused, MedsegError, NotFound
from medseg.io.dicom.archives import is_archive, members
from medseg.io.dicom.directory import is_directory, listed_files
from medseg.io.dicom.elements import BadHeader, Parsed, read_dataset
from medseg.io.dicom.frames import frames_of, object_kind
from medseg.io.dicom.objects import Found, Frame, Lost, SetAside, Source, name_in, path_in
from medseg.io.dicom.sources import FileSource, ZipMember
from medseg.io.files import DICOM_EXTENSIONS, begins_as_dicom, has_dicom_mark

Progress = Callable[[str, int, int], None]
Content = tuple[Frame, ...] | SetAside | Lost

# Threads hide the latency of disks and networks; parsing itself is one thread's work.
_THREADS = 4
_BATCH = 32


def scan(path: Path, progress: Progress | None = None) -> Found:
    """What DICOM there is at a path.

    Parameters
    ----------
    path
        A folder (searched with its subfolders; hidden ones left out), a zip archive, a DICOMDIR (the files
        it lists), or one file, which means all files beside it.
    progress
        Called with ``"headers"``, the number of files read and that of all; an exception cancels.

    Returns
    -------
    Found
        Frames and set-aside objects in the order of their paths, and what cannot be read or is not there.

    Raises
    ------
    NotFound
        If there is nothing at the path.
    InputRefused
        Where the path itself cannot be read: ``bad-header``, ``too-large``, ``outside-root`` (a DICOMDIR
        that leads out of its folder), ``unsupported-encoding`` (an encrypted archive), ``corrupt``,
        ``unreadable``.
    """
    if not path.exists():
        raise NotFound(f"{path}: no such file or folder")
    with _readable(path):
        sources, lost, whole, medium = _sources(path)
        found = _read_all(sources, lambda source: _read_or_lose(source, path, medium), progress)
    media = _lost_of_media(path, found) if path.is_dir() else ()
    return Found(
        frames=tuple(frame for item in found if isinstance(item, tuple) for frame in item),
        set_aside=tuple(item for item in found if isinstance(item, SetAside)),
        lost=(*lost, *(item for item in found if isinstance(item, Lost)), *media),
        whole=whole,
    )


def read_object(path: Path) -> Parsed:
    """The header of one file.

    Raises
    ------
    InputRefused
        ``bad-header`` or ``too-large`` if it cannot be read.
    """
    with _readable(path):
        source = FileSource.of(path)
        with interpreting(source):
            return read_dataset(source)


def read_source(source: Source) -> tuple[Frame, ...] | SetAside:
    """The frames of one object, or why it is set aside.

    Raises
    ------
    InputRefused
        ``bad-header`` if it is named or marked like DICOM and cannot be read.
    """
    if not source.size:
        return SetAside("empty", source)
    with _readable(source.path):
        try:
            parsed = read_dataset(source)
            code = object_kind(parsed)
            return SetAside(code, source) if code is not None else frames_of(source, parsed)
        except BadHeader as error:
            head = source.read(0, 132)
            name = (source.member if isinstance(source, ZipMember) else source.name).lower()
            if name.rpartition("/")[2] == "dicomdir":
                return SetAside("unreadable", source)
            if name.endswith(DICOM_EXTENSIONS) or has_dicom_mark(head):
                raise _refused(source, error) from None
            if not any(head):
                return SetAside("empty", source)
            return SetAside("unreadable" if begins_as_dicom(head) else "not-dicom", source)


@contextmanager
def interpreting(source: Source) -> Iterator[None]:
    """What is found wrong with an object's header, while it is read or asked, refuses the object."""
    try:
        yield
    except BadHeader as error:
        raise _refused(source, error) from None


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    """What the system does not let be read is refused by name."""
    try:
        yield
    except OSError as error:
        if isinstance(error, MedsegError):
            raise
        name = Path(error.filename).name if isinstance(error.filename, str) else path.name
        raise InputRefused(
            f"{name}: the system does not let it be read: {error.strerror}", code="unreadable", path=path
        ) from None


class _Sources(NamedTuple):
    """What is to be read for a path, what is lost already; `Found.whole` and `Lost.medium`."""

    sources: Sequence[Source]
    lost: tuple[Lost, ...] = ()
    whole: bool = True
    medium: Path | None = None


def _sources(path: Path) -> _Sources:
    if path.is_dir():
        return _Sources(*_in_folder(path, path, nested=True))
    if is_archive(path):
        return _Sources(members(path))
    parsed = read_object(path)
    with interpreting(parsed.source):
        is_list = is_directory(parsed)
    if is_list:
        return _Sources(*listed_files(path, parsed), medium=path.parent.resolve())
    beside, lost = _in_folder(path.parent, path, nested=False)
    if not any(source.path == path or source.path.samefile(path) for source in beside):
        beside.append(FileSource.of(path))  # a hidden one
    return _Sources(beside, lost, whole=False)


def _refused(source: Source, error: BadHeader) -> InputRefused:
    return InputRefused(
        f"{source.name}: its DICOM header cannot be read: {error}; copy or export it again",
        code=error.code,
        path=source.path,
    )


def _read_or_lose(source: Source, path: Path, medium: Path | None) -> Content:
    try:
        return read_source(source)
    except InputRefused as refusal:
        message = str(refusal).removeprefix(f"{source.name}: ")
        return Lost(refusal.code, name_in(source, path), message, source.path, medium)


def _read_all(
    sources: Sequence[Source], read: Callable[[Source], Content], progress: Progress | None
) -> list[Content]:
    batches = [sources[at : at + _BATCH] for at in range(0, len(sources), _BATCH)]
    found: list[Content] = []
    with ThreadPoolExecutor(_THREADS) as pool:
        try:
            for batch in pool.map(lambda batch: [read(source) for source in batch], batches):
                found += batch
                if progress is not None:
                    progress("headers", len(found), len(sources))
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
    return found


def _in_folder(folder: Path, path: Path, *, nested: bool) -> tuple[list[Source], tuple[Lost, ...]]:
    """The files of a folder by name, hidden ones left out, and what is named in it and cannot be had."""
    sources: list[Source] = []
    lost: list[Lost] = []
    for entry in _entries(folder, path, nested):
        if isinstance(entry, Lost):
            lost.append(entry)
            continue
        file = Path(entry.path)
        try:
            if entry.is_file():
                sources.append(FileSource(file, entry.stat().st_size))
            elif entry.is_symlink():
                lost.append(Lost("missing-files", path_in(file, path), "", file))
        except OSError as error:
            lost.append(_unreadable(file, path, error))
    return sources, tuple(lost)


def _unreadable(file: Path, path: Path, error: OSError) -> Lost:
    text = f"the system does not let it be read: {error.strerror}"
    return Lost("unreadable", path_in(file, path), text, file)


def _lost_of_media(path: Path, found: Sequence[Content]) -> tuple[Lost, ...]:
    """What the DICOMDIRs in a folder list and what is not there. Nothing else is taken from them."""
    lost: dict[Lost, None] = {}
    for item in found:
        if not isinstance(item, SetAside) or item.code != "directory":
            continue
        file = item.source.path
        below = file.parent.relative_to(path).as_posix()
        try:
            missing = listed_files(file, read_object(file))[1]
        except InputRefused as refusal:
            message = str(refusal).removeprefix(f"{file.name}: ")
            missing = (Lost(refusal.code, file.name, message, file),)
        for each in missing:
            name = each.name if below == "." else f"{below}/{each.name}"
            lost[replace(each, name=name, medium=file.parent)] = None
    return tuple(lost)


def _entries(folder: Path, path: Path, nested: bool) -> Iterator[os.DirEntry[str] | Lost]:
    """The files under a folder. Links to folders are followed, each folder once: no link makes a ring."""
    waiting, known = [str(folder)], {os.path.realpath(folder)}
    while waiting:
        place = waiting.pop()
        try:
            with os.scandir(place) as entries:
                found = sorted((e for e in entries if not e.name.startswith(".")), key=lambda e: e.name)
        except OSError as error:
            if place == str(folder):
                raise
            yield _unreadable(Path(place), path, error)
            continue
        folders = [entry for entry in found if _is_folder(entry)]
        for entry in reversed(folders if nested else []):
            real = os.path.realpath(entry.path)
            if real not in known:
                known.add(real)
                waiting.append(entry.path)
        yield from (entry for entry in found if entry not in folders)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False  # as a file it is then named as unreadable
