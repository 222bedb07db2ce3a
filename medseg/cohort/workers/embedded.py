"""One worker process on this computer, started anew when it dies."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import deque
from contextlib import suppress
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any, BinaryIO, cast

import medseg
from medseg.cohort.records import CaseResult, CaseTask, LostCase, WorkerSetup
from medseg.cohort.workers.process import THREADS, receive, send
from medseg.cohort.workers.stages import Stage
from medseg.errors import MedsegError
from medseg.pipeline.options import Progress

_END_S = 5.0


class EmbeddedExecutor:
    """Runs cases in a child process, so that a case that kills it leaves the coordinator alive.

    ``progress`` is called by `wait` with the stages of the case that is computed.
    """

    def __init__(self, setup: WorkerSetup, progress: Progress | None = None) -> None:
        self._setup = setup
        self._progress = progress
        self._stages: deque[Stage] = deque()
        self._messages: SimpleQueue[tuple[int, Any]] = SimpleQueue()
        self._in_flight: set[str] = set()
        self._generation = 0
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def capacity(self) -> int:
        """One more than the process has threads: the next one waits there."""
        return THREADS + 1

    def submit(self, task: CaseTask) -> None:
        """Give a case to the process."""
        if self._process is None:
            self._process = self._start()
        self._in_flight.add(task.case_id)
        with suppress(
            OSError
        ):  # it has just died: `wait` finds the end of its answers, and tells what is lost
            send(cast(BinaryIO, self._process.stdin), task)

    def wait(self, seconds: float) -> list[CaseResult | LostCase]:
        """Results, and the cases of a process that died."""
        # Those of the last call: an exception in the midst of this one would take results with it.
        while self._stages:
            stage = self._stages.popleft()
            if self._progress is not None:
                self._progress(stage.stage, stage.done, stage.total)
        found: list[CaseResult | LostCase] = []
        try:
            self._take(*self._messages.get(timeout=seconds), found)
            while True:
                self._take(*self._messages.get_nowait(), found)
        except Empty:
            return found

    def close(self) -> None:
        """End the process."""
        if self._process is None:
            return
        process, self._process = self._process, None
        self._generation += 1
        with suppress(OSError):  # it is gone already
            cast(BinaryIO, process.stdin).close()  # it ends itself
        try:
            process.wait(_END_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def _take(self, generation: int, message: Any, found: list[CaseResult | LostCase]) -> None:
        if generation != self._generation:
            return
        if isinstance(message, MedsegError):
            raise message
        if message is None:  # the process is gone
            self.close()
            found.extend(LostCase(case_id) for case_id in sorted(self._in_flight))
            self._in_flight.clear()
            return
        if isinstance(message, Stage):
            self._stages.append(message)
            return
        self._in_flight.discard(message.case_id)
        found.append(message)

    def _start(self) -> subprocess.Popen[bytes]:
        self._generation += 1
        process = subprocess.Popen(
            # -P: modules that lie in the current folder are not meant
            [sys.executable, "-P", "-m", "medseg.cohort.workers.process"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=worker_environment(),
        )
        send(cast(BinaryIO, process.stdin), self._setup)
        arguments = (cast(BinaryIO, process.stdout), self._generation)
        Thread(target=self._listen, args=arguments, name="medseg hears its worker", daemon=True).start()
        return process

    def _listen(self, answers: BinaryIO, generation: int) -> None:
        try:
            while True:
                self._messages.put((generation, receive(answers)))
        except EOFError:
            self._messages.put((generation, None))
        finally:
            answers.close()


def worker_environment() -> dict[str, str]:
    """This process's, in which another Python finds this medseg, wherever it was imported from."""
    home = str(Path(medseg.__file__).resolve().parent.parent)
    known = os.environ.get("PYTHONPATH")
    return {**os.environ, "PYTHONPATH": os.pathsep.join([home, known] if known else [home])}
