"""Every DICOM object at a path, its header read once: a folder, a file, a zip archive, a DICOMDIR.

Where an object is no scan, or no DICOM at all, it is set aside by name. A file that is named or marked like
DICOM and cannot be read is refused: it might be a slice, so that the series would have a hole.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from medseg.errors import InputRefused, MedsegError, NotFound
from medseg.io.dicom.archives import is_archive, members
from medseg.io.dicom.directory import is_directory, listed_files
from medseg.io.dicom.elements import BadHeader, Parsed, read_dataset
from medseg.io.dicom.frames import frames_of, object_kind
from medseg.io.dicom.objects import Found, Frame, SetAside, Source
from medseg.io.dicom.sources import FileSource, ZipMember
from medseg.io.files import DICOM_EXTENSIONS, begins_as_dicom, has_dicom_mark

Progress = Callable[[str, int, int], None]

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
        Frames and set-aside objects in the order of their paths.

    Raises
    ------
    NotFound
        If there is nothing at the path.
    InputRefused
        ``bad-header``, ``too-large``, ``outside-root`` (a DICOMDIR that leads out of its folder),
        ``unsupported-encoding`` (an encrypted archive), ``corrupt``, ``unreadable``.
    """
    if not path.exists():
        raise NotFound(f"{path}: no such file or folder")
    with _readable(path):
        sources, missing, whole = _sources(path)
        found = _read_all(sources, progress)
        if path.is_dir():
            missing += _missing_of_media(found)
    return Found(
        frames=tuple(frame for item in found if not isinstance(item, SetAside) for frame in item),
        set_aside=tuple(item for item in found if isinstance(item, SetAside)),
        missing=missing,
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


def _sources(path: Path) -> tuple[Sequence[Source], tuple[str, ...], bool]:
    """What is to be read for a path, the names of what is missing, and `Found.whole`."""
    if path.is_dir():
        return *_in_folder(path, nested=True), True
    if is_archive(path):
        return members(path), (), True
    parsed = read_object(path)
    with interpreting(parsed.source):
        is_list = is_directory(parsed)
    if is_list:
        return *listed_files(path, parsed), True
    beside, missing = _in_folder(path.parent, nested=False)
    if not any(source.path == path or source.path.samefile(path) for source in beside):
        beside.append(FileSource.of(path))  # a hidden one
    return beside, missing, False


def _refused(source: Source, error: BadHeader) -> InputRefused:
    return InputRefused(
        f"{source.name}: its DICOM header cannot be read: {error}; copy or export it again",
        code=error.code,
        path=source.path,
    )


def _read_all(sources: Sequence[Source], progress: Progress | None) -> list[tuple[Frame, ...] | SetAside]:
    batches = [sources[at : at + _BATCH] for at in range(0, len(sources), _BATCH)]
    found: list[tuple[Frame, ...] | SetAside] = []
    with ThreadPoolExecutor(_THREADS) as pool:
        try:
            for batch in pool.map(lambda batch: [read_source(source) for source in batch], batches):
                found += batch
                if progress is not None:
                    progress("headers", len(found), len(sources))
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
    return found


def _in_folder(folder: Path, *, nested: bool) -> tuple[list[Source], tuple[str, ...]]:
    """The files of a folder by name, hidden ones left out, and the links in it that lead nowhere."""
    sources: list[Source] = []
    missing = []
    for entry in _entries(folder, nested):
        if entry.is_file():
            sources.append(FileSource(Path(entry.path), entry.stat().st_size))
        elif entry.is_symlink() and not entry.is_dir():
            missing.append(entry.name)
    return sources, tuple(missing)


def _missing_of_media(found: Sequence[tuple[Frame, ...] | SetAside]) -> tuple[str, ...]:
    """What the DICOMDIRs in a folder list and what is not there. Nothing else is taken from them."""
    missing: dict[str, None] = {}
    for item in found:
        if isinstance(item, SetAside) and item.code == "directory":
            path = item.source.path
            missing.update(dict.fromkeys(listed_files(path, read_object(path))[1]))
    return tuple(missing)


def _entries(folder: Path, nested: bool) -> Iterator[os.DirEntry[str]]:
    """The files under a folder. Links to folders are followed, each folder once: no link makes a ring."""
    waiting, known = [str(folder)], {os.path.realpath(folder)}
    while waiting:
        with os.scandir(waiting.pop()) as entries:
            found = sorted((e for e in entries if not e.name.startswith(".")), key=lambda e: e.name)
        folders = [entry for entry in found if entry.is_dir()]
        for entry in reversed(folders if nested else []):
            real = os.path.realpath(entry.path)
            if real not in known:
                known.add(real)
                waiting.append(entry.path)
        yield from (entry for entry in found if not entry.is_dir())
