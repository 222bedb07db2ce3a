"""A long-lived process that answers questions, under a time limit and with its memory in view.

Questions and answers are lines of JSON. A question that is not answered in time, or whose process takes too
much memory, ends with the process and all of its children killed; the next question starts a new one.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[3]
_LOOK_EVERY_S = 0.05
_MB = 1 << 20


class Overran(Exception):
    """No answer within the time limit."""


class Died(Exception):
    """The process ended instead of answering; the message says how."""


class Swelled(Exception):
    """The process and its children took more memory than it may."""


class Watched:
    """A worker process.

    Parameters
    ----------
    module
        What ``python -m`` runs: it answers every line of JSON on its standard input with one on its output.
    scratch
        An empty folder of its own: its temporary files go there.
    memory_limit
        Bytes of resident memory, children included, at which it is killed.
    """

    def __init__(self, module: str, scratch: Path, memory_limit: int) -> None:
        self.module, self.scratch, self.memory_limit = module, scratch, memory_limit
        self.peak = 0
        self.restarts = -1
        self._process: subprocess.Popen[bytes] | None = None
        scratch.mkdir(parents=True, exist_ok=True)

    def ask(self, question: dict[str, Any], limit_s: float) -> dict[str, Any]:
        """The answer; raises `Overran`, `Died` or `Swelled`, and then the process is gone."""
        process = self._running()
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.write(json.dumps(question).encode() + b"\n")
            process.stdin.flush()
            line = self._line(process, time.monotonic() + limit_s)
        except BrokenPipeError:
            line = b""
        except (Overran, Swelled):
            self.close()
            raise
        if not line:
            code = process.wait()
            self.close()
            raise Died(f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def close(self) -> None:
        """Kill the process and its children."""
        if self._process is not None:
            end(self._process)
            self._process = None

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            self.restarts += 1
            self._process = subprocess.Popen(
                [sys.executable, "-m", self.module],
                cwd=ROOT,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env={**os.environ, "TMPDIR": str(self.scratch), "OMP_NUM_THREADS": "1"},
            )
        return self._process

    def _line(self, process: subprocess.Popen[bytes], deadline: float) -> bytes:
        assert process.stdout is not None
        while True:
            ready, _, _ = select.select([process.stdout], [], [], _LOOK_EVERY_S)
            peak = peak_memory(process.pid)
            self.peak = max(self.peak, peak)
            if peak > self.memory_limit:
                raise Swelled(f"{peak // _MB} MB")
            if ready:
                return process.stdout.readline()
            if time.monotonic() > deadline:
                raise Overran


def end(process: subprocess.Popen[bytes]) -> None:
    """Kill a process and all of its descendants."""
    for pid in family(process.pid):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    process.wait()
    for stream in (process.stdin, process.stdout, process.stderr):
        if stream is not None:
            stream.close()


def family(pid: int) -> list[int]:
    """A process and its living descendants, in sessions of their own too; Linux only."""
    found, waiting = [], [pid]
    while waiting:
        one = waiting.pop()
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it ended meanwhile
            for task in Path(f"/proc/{one}/task").iterdir():
                waiting += map(int, (task / "children").read_text().split())
            found.append(one)
    return found


def peak_memory(pid: int) -> int:
    """Peak resident bytes of a process and its living descendants (0 once it is gone); Linux only.

    Peaks of several processes are added, whether or not they fell together: an upper bound.
    """
    total = 0
    for one in family(pid):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            _, found, rest = Path(f"/proc/{one}/status").read_text().partition("VmHWM:")
            total += int(rest.split(maxsplit=1)[0]) * 1024 if found else 0
    return total
