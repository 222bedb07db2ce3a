"""The right to run a study: one run at a time, also where two computers share the folder.

The lock is a file that is made anew (which network file systems do in one step too) and touched every two
seconds. It is left behind by a run that was killed: where its process is gone from this computer it is taken
over at once, else when nobody has touched it for ten seconds. Clocks of two computers are never compared.
"""

from __future__ import annotations

import json
import os
import secrets
import time
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Thread
from types import TracebackType

from medseg.errors import UsageError
from medseg.io.files import host_mark, is_alive

_TOUCH_EVERY_S = 2.0
_DEAD_AFTER_S = 10.0
_LOOK_EVERY_S = 0.2


class StudyBusy(UsageError):
    """Another run has the study."""


@dataclass(frozen=True, slots=True)
class _Holder:
    """Who has the lock, and when it was touched last."""

    token: str
    pid: int
    host: str
    touched_ns: int


class StudyLock:
    """Held from `__enter__` to `__exit__`; ``lost`` is set should another run have taken it meanwhile.

    Raises
    ------
    StudyBusy
        On entering, if another run has the study and lives.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._token = secrets.token_hex(8)
        self._ended = Event()
        self._thread = Thread(target=self._keep, name="medseg keeps the study's lock", daemon=True)
        self.lost = Event()

    def __enter__(self) -> StudyLock:
        while not self._make():
            holder = _read(self._path)
            if holder is None:
                continue  # it was given back in this moment
            if holder.host != host_mark() or is_alive(holder.pid):
                _watch(self._path, holder)
            self._put_aside(holder)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()
        holder = _read(self._path)
        if holder is not None and holder.token == self._token:
            self._path.unlink(missing_ok=True)

    def check(self) -> None:
        """Raise `StudyBusy` where another run has taken the study, as after a long sleep of this computer."""
        if self.lost.is_set():
            raise StudyBusy(
                f"{self._path.parent.name}: another run has taken this study, as this one seemed dead: "
                "stopped. What was finished before is kept"
            )

    def _make(self) -> bool:
        """Whether the file could be made: nobody has it now."""
        try:
            handle = os.open(self._path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644)
        except FileExistsError:
            return False
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            json.dump({"token": self._token, "pid": os.getpid(), "host": host_mark()}, file)
            file.flush()
            os.fsync(file.fileno())
        return True

    def _put_aside(self, dead: _Holder) -> None:
        """Take a dead run's lock away. Of several that try, one succeeds, and all go on to make their own."""
        aside = self._path.with_name(f".{self._path.name}.{self._token}")
        try:
            self._path.rename(aside)
        except FileNotFoundError:
            return
        taken = _read(aside)
        if taken is not None and taken.token != dead.token:
            # Another run was quicker, and this is its lock: back with it. It makes it anew itself if not.
            try:
                os.link(aside, self._path)
            except FileExistsError:
                pass
            finally:
                aside.unlink()
            raise _busy(self._path)
        aside.unlink()

    def _keep(self) -> None:
        while not self._ended.wait(_TOUCH_EVERY_S):
            holder = _read(self._path)
            if holder is None:
                self._make()
            elif holder.token != self._token:
                self.lost.set()
                return
            else:
                os.utime(self._path)  # takes no room on a full disk


def is_locked(path: Path) -> bool:
    """Whether a run seems to have the study: its lock is there, and its process is not known to be gone."""
    holder = _read(path)
    return holder is not None and (holder.host != host_mark() or is_alive(holder.pid))


def _watch(path: Path, holder: _Holder) -> None:
    """Return once the holder is known to be dead or gone.

    Raises
    ------
    StudyBusy
        If the lock is touched meanwhile.
    """
    until = time.monotonic() + _DEAD_AFTER_S
    while time.monotonic() < until:
        time.sleep(_LOOK_EVERY_S)
        now = _read(path)
        if now is None:
            return
        if now != holder:
            raise _busy(path)


def _busy(path: Path) -> StudyBusy:
    return StudyBusy(
        f"{path.parent.name}: this study is being run already; wait for it (`medseg cohort status`), or "
        "choose another -o"
    )


def _read(path: Path) -> _Holder | None:
    """None where there is no lock. Opened anew: network file systems look again only then."""
    try:
        with path.open(encoding="utf-8") as file:
            touched = os.fstat(file.fileno()).st_mtime_ns
            text = file.read()
    except FileNotFoundError:
        return None
    try:
        content = json.loads(text)
        return _Holder(content["token"], int(content["pid"]), content["host"], touched)
    except (ValueError, KeyError, TypeError):
        # Being written this moment, or by a run that died as it wrote it: only time tells.
        return _Holder("", 0, "", touched)
