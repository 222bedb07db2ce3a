"""One worker process on this computer, started when it has its first case, and anew when it died."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from queue import SimpleQueue
from threading import Thread
from typing import Any, BinaryIO, cast

import medseg
from medseg.cohort.records import CaseTask, WorkerSetup
from medseg.cohort.workers.process import receive, send

_END_S = 5.0


class Child:
    """A process that takes cases, and whose answers go into a queue as ``(child, generation, answer)``.

    An answer is what the process sent, or None where it is gone. A process that was let go is not of the
    child's present generation any more: `heeds` says whether its answers still count.
    """

    def __init__(self, setup: WorkerSetup, answers: SimpleQueue[tuple[Child, int, Any]]) -> None:
        self._setup = setup
        self._answers = answers
        self._process: subprocess.Popen[bytes] | None = None
        self._generation = 0
        self.in_flight: set[str] = set()

    def submit(self, task: CaseTask) -> None:
        """Give a case to the process."""
        if self._process is None:
            self._process = self._start()
        self.in_flight.add(task.case_id)
        with suppress(OSError):  # it has just died: the end of its answers tells what is lost
            send(cast(BinaryIO, self._process.stdin), task)

    def heeds(self, generation: int) -> bool:
        """Whether an answer is of the process that runs now."""
        return generation == self._generation

    def lost(self) -> list[str]:
        """Ids of the cases that a process took with it; the next case starts another."""
        self.close()
        cases = sorted(self.in_flight)
        self.in_flight.clear()
        return cases

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
                self._answers.put((self, generation, receive(answers)))
        except EOFError:
            self._answers.put((self, generation, None))
        finally:
            answers.close()


def worker_environment() -> dict[str, str]:
    """This process's, in which another Python finds this medseg, wherever it was imported from."""
    home = str(Path(medseg.__file__).resolve().parent.parent)
    known = os.environ.get("PYTHONPATH")
    return {**os.environ, "PYTHONPATH": os.pathsep.join([home, known] if known else [home])}
