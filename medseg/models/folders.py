"""A folder that appears whole under its name, or not at all."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from medseg.errors import UsageError


@contextmanager
def whole_folder(folder: Path, *, marker: str) -> Iterator[Path]:
    """A temporary sibling of ``folder`` to write into, renamed to it on a clean exit, else removed.

    A folder that is already there is replaced if it holds the file ``marker`` (it was made by the same
    function) or is empty.

    Raises
    ------
    UsageError
        If ``folder`` exists and holds something else.
    """
    _refuse_other_content(folder, marker)
    folder.parent.mkdir(parents=True, exist_ok=True)
    part = folder.parent / f".{folder.name}.{os.getpid()}-{secrets.token_hex(4)}.part"
    part.mkdir()
    try:
        yield part
        _take_name(part, folder)
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise


def write_synced(path: Path, content: bytes) -> None:
    """Write a file of such a folder through to the disk, its parents as needed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())


def _take_name(part: Path, folder: Path) -> None:
    """Rename; a folder cannot be replaced in one step, so an old one steps aside first."""
    if not folder.exists():
        part.rename(folder)
        return
    old = part.with_suffix(".old")
    folder.rename(old)
    try:
        part.rename(folder)
    except OSError:
        old.rename(folder)
        raise
    shutil.rmtree(old)


def _refuse_other_content(folder: Path, marker: str) -> None:
    if folder.is_dir() and ((folder / marker).is_file() or not any(folder.iterdir())):
        return
    if folder.exists():
        raise UsageError(
            f"{folder}: exists and is not an earlier export (no {marker} in it): choose another folder"
        )
