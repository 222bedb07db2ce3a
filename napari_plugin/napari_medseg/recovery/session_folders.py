"""Where open sessions lie on the disk, one folder each, and whose they are.

A folder ``<case>-<time>-<random>`` appears whole under the sessions' folder, and goes when its session is
saved and closed. The file ``<folder>.lock`` beside it is locked by the process that has the session open; the
system drops the lock when that process ends, however it ends.
"""

from __future__ import annotations

import os
import re
import secrets
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from medseg import UsageError
from medseg.io.files import remove_stale, temporary_path

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

VARIABLE = "MEDSEG_SESSIONS"
_LONGEST_NAME = 60


def sessions_folder() -> Path:
    """Where sessions lie: ``MEDSEG_SESSIONS``, else the system's place for what programs leave behind.

    ``$XDG_STATE_HOME/medseg/sessions`` (``~/.local/state``) on Linux, ``~/Library/Application Support`` on
    macOS, ``%LOCALAPPDATA%`` on Windows. The folder need not exist.
    """
    if named := os.environ.get(VARIABLE, "").strip():
        return Path(named).expanduser()
    try:
        home = Path.home()
    except RuntimeError as error:
        raise UsageError(f"no home folder to keep sessions in: set {VARIABLE} to a folder") from error
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA") or str(home / "AppData" / "Local")
    elif sys.platform == "darwin":
        base = str(home / "Library" / "Application Support")
    else:
        base = os.environ.get("XDG_STATE_HOME") or str(home / ".local" / "state")
    return Path(base) / "medseg" / "sessions"


class SessionLock:
    """The right to write to a session, held by one object of one process until `release`.

    Raises
    ------
    UsageError
        Another window, of this process or another, has the session open.
    """

    def __init__(self, folder: Path) -> None:
        self._path = _lock_path(folder)
        self._file = self._path.open("ab")
        try:
            if sys.platform == "win32":
                self._file.seek(0)
                msvcrt.locking(self._file.fileno(), msvcrt.LK_NBLCK, 1)
            else:
                fcntl.flock(self._file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self._file.close()
            raise UsageError(
                f"{folder.name}: this session is open in another window; close it there first"
            ) from error

    def release(self, *, remove: bool = False) -> None:
        """Let others have the session; ``remove`` also takes away the file, for a session that is gone."""
        self._file.close()
        if remove:
            self._path.unlink(missing_ok=True)


def is_open(folder: Path) -> bool:
    """Whether a living process has the session open."""
    try:
        SessionLock(folder).release()
    except UsageError:
        return True
    return False


def free_name(root: Path, case: str, now: float) -> Path:
    """A new folder's path: the case, the time (UTC), and what nobody else has drawn."""
    word = re.sub(r"[^A-Za-z0-9._-]+", "-", case).strip(".-")[:_LONGEST_NAME] or "case"
    stamp = time.strftime("%Y%m%dT%H%M%S", time.gmtime(now))
    return root / f"{word}-{stamp}-{secrets.token_hex(4)}"


@contextmanager
def new_folder(folder: Path) -> Iterator[Path]:
    """A temporary folder to fill with flushed files, that becomes ``folder`` when the block ends well.

    Only its user may read it: it names files, and they may name patients.
    """
    folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    remove_stale(folder.parent)
    temporary = temporary_path(folder)
    temporary.mkdir(mode=0o700)
    try:
        yield temporary
        temporary.rename(folder)
        _flush_folder(folder.parent)
    finally:
        if temporary.exists():
            shutil.rmtree(temporary)


def remove_folder(folder: Path, lock: SessionLock) -> None:
    """Remove a session whose lock is held and whose journal is closed, in one step for whoever looks on."""
    temporary = temporary_path(folder)
    folder.rename(temporary)
    shutil.rmtree(temporary)
    lock.release(remove=True)


def session_folders(root: Path) -> list[Path]:
    """The folders of sessions, open and unfinished ones, by name."""
    if not root.is_dir():
        return []
    return sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))


def _flush_folder(folder: Path) -> None:
    if sys.platform == "win32":
        return  # Windows cannot open a folder; the rename itself is journalled there
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _lock_path(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.lock")
