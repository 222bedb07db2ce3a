"""A few decoding processes, started when first needed and kept, that no stream can take the reader down with.

Each child (`decoder`) is asked by one thread at a time, over pipes. One that crashes, answers too late or
says nonsense is ended and replaced; only the frame it had in hand is lost.
"""

from __future__ import annotations

import atexit
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, cast

from medseg.io.dicom import decoder
from medseg.io.dicom.codestream import BadPixels
from medseg.io.dicom.decoder import Request

_MOST_CHILDREN = 8
# Imports of a codec, on a busy computer with a cold disk.
_LOAD_SECONDS = 60.0
_SECONDS, _SECONDS_PER_BYTE = 4.0, 1.5e-7
_PIPE_BYTES = 1 << 20
_F_SETPIPE_SZ = 1031
_ONE_THREAD = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS": "1",
    "MALLOC_ARENA_MAX": "1",
}


class ChildLost(Exception):
    """A child's pipe broke: it is dead, or was ended because its time was over."""


class Child:
    """One decoding process."""

    def __init__(self, command: Sequence[str]) -> None:
        # The child makes the folder where it needs one, and both sides remove it.
        self._scratch = Path(tempfile.gettempdir()) / f"medseg-{secrets.token_hex(8)}"
        self._loaded: set[int] = set()
        self.process = subprocess.Popen(
            [*command, str(self._scratch)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,
            env=os.environ | _ONE_THREAD | {"PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
            # Away from the terminal: Ctrl-C is the parent's to act upon.
            start_new_session=os.name == "posix",
            creationflags=_windows_flags(),
        )
        self._requests = cast(BinaryIO, self.process.stdin)
        self._replies = cast(BinaryIO, self.process.stdout)
        _widen(self._requests)
        _widen(self._replies)

    @property
    def alive(self) -> bool:
        """Whether the process has not ended."""
        return self.process.poll() is None

    def decode(self, request: Request, stream: bytes, pixels: memoryview, seconds: float) -> None:
        """Have one stream decoded into ``pixels``.

        Raises
        ------
        BadPixels
            The decoder refused the stream.
        ChildLost
            The process died, or took longer than ``seconds``, and is now ended.
        """
        if request.codec not in self._loaded:
            self._ask(Request(decoder.LOAD, request.codec), b"", memoryview(b""), _LOAD_SECONDS)
            self._loaded.add(request.codec)
        self._ask(request, stream, pixels, seconds)

    def _ask(self, request: Request, stream: bytes, pixels: memoryview, seconds: float) -> None:
        answered = False
        timer = threading.Timer(seconds, self.process.kill)
        timer.daemon = True
        timer.start()
        try:
            self._write(request._replace(length=len(stream)).pack())
            self._write(stream)
            status, length = decoder.REPLY.unpack(self._read(decoder.REPLY.size))
            if status == decoder.DONE and length == len(pixels):
                self._read_into(pixels)
            elif status in (decoder.FAILED, decoder.OUT_OF_MEMORY) and length <= 64:
                problem = self._read(length).decode("ascii", "replace")
                answered = status == decoder.FAILED
                raise BadPixels(f"the pixels cannot be decoded ({problem})")
            else:
                raise ChildLost
            answered = True
        except OSError:
            raise ChildLost from None
        finally:
            timer.cancel()
            timer.join()
            if not answered:
                self.close()

    def _write(self, content: bytes) -> None:
        view = memoryview(content)
        while view:
            view = view[self._requests.write(view) :]

    def _read(self, count: int) -> bytes:
        found = bytearray(count)
        self._read_into(memoryview(found))
        return bytes(found)

    def _read_into(self, view: memoryview) -> None:
        while view:
            count = self._replies.readinto(view)  # type: ignore[attr-defined]
            if not count:
                raise ChildLost
            view = view[count:]

    def close(self) -> None:
        """End the process, and what it may have left."""
        self.process.kill()
        self.process.wait()
        self._requests.close()
        self._replies.close()
        shutil.rmtree(self._scratch, ignore_errors=True)

    def forget(self) -> None:
        """In a forked copy of the parent the process is not ours: let go of the pipes, touch nothing else."""
        self._requests.close()
        self._replies.close()
        self.process.returncode = 0  # so that nobody waits for another process' child


class Pool:
    """Children that wait for frames; any number of threads may ask.

    Parameters
    ----------
    command
        The program of a child; `decoder` unless told.
    limit
        The largest number of children.
    """

    def __init__(self, command: Sequence[str] | None = None, limit: int | None = None) -> None:
        self._command = tuple(command or (sys.executable, "-P", "-W", "ignore", str(decoder.__file__)))
        self.limit = limit or _processors()
        self._free = threading.Semaphore(self.limit)
        self._idle: list[Child] = []
        self._all: set[Child] = set()

    def decode(self, request: Request, stream: bytes, pixels: memoryview) -> None:
        """Have one stream decoded into ``pixels``, exactly as many bytes as these are.

        Raises
        ------
        BadPixels
            ``undecodable``: the decoder refused it, died over it, or took too much time or memory.
        """
        seconds = _SECONDS + _SECONDS_PER_BYTE * (len(pixels) + len(stream))
        with self._child() as child:
            try:
                child.decode(request, stream, pixels, seconds)
            except ChildLost:
                raise BadPixels(
                    "the pixels cannot be decoded: the decoder died, or took too much time or memory"
                ) from None

    @contextmanager
    def _child(self) -> Iterator[Child]:
        """A living child, for this thread alone."""
        with self._free:
            child = self._take()
            try:
                yield child
            finally:
                if child.alive:
                    self._idle.append(child)
                else:
                    child.close()
                    self._all.discard(child)

    def _take(self) -> Child:
        while True:
            try:
                child = self._idle.pop()
            except IndexError:
                break
            if child.alive:
                return child
            child.close()
            self._all.discard(child)
        try:
            child = Child(self._command)
        except OSError:
            raise BadPixels("the process that decodes compressed pixels cannot be started here") from None
        self._all.add(child)
        return child

    @property
    def children(self) -> tuple[Child, ...]:
        """The children there are now."""
        return tuple(self._all)

    def close(self) -> None:
        """End all children."""
        self._idle.clear()
        while self._all:
            self._all.pop().close()

    def forget(self) -> None:
        """In a forked copy of the parent: let go of children that are not its own."""
        for child in self._all:
            child.forget()


def _processors() -> int:
    """How many children may run at once. A worker process of some pool gets one: its siblings have theirs."""
    workers = sys.modules.get("multiprocessing.process")
    if workers is not None and workers.parent_process() is not None:
        return 1
    if hasattr(os, "sched_getaffinity"):
        return min(_MOST_CHILDREN, len(os.sched_getaffinity(0)))
    return min(_MOST_CHILDREN, os.cpu_count() or 1)


def _windows_flags() -> int:
    """No console window, and no Ctrl-C from the parent's."""
    if sys.platform == "win32":
        return subprocess.CREATE_NO_WINDOW | subprocess.CREATE_NEW_PROCESS_GROUP
    return 0


def _widen(pipe: BinaryIO) -> None:
    """Let a whole frame into a pipe at once, where the system can; it is only faster."""
    if sys.platform == "linux":
        import fcntl

        with suppress(OSError):  # the user's share of pipe memory is used up
            fcntl.fcntl(pipe, _F_SETPIPE_SZ, _PIPE_BYTES)


_lock = threading.Lock()
_shared: list[Pool] = []


def shared() -> Pool:
    """The pool of this process, made at the first call and kept to the end."""
    with _lock:
        if not _shared:
            _shared.append(Pool())
            atexit.register(_close_shared)
        return _shared[0]


def _close_shared() -> None:
    while _shared:
        _shared.pop().close()


def _forget_shared() -> None:
    global _lock
    _lock = threading.Lock()
    while _shared:
        _shared.pop().forget()


if hasattr(os, "register_at_fork"):
    # A forked worker (PyTorch's data loader makes such) must neither use nor keep open its parent's pipes.
    os.register_at_fork(after_in_child=_forget_shared)
