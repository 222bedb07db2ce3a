"""Worker processes on this computer, which share its processors between them."""

from __future__ import annotations

from collections import deque
from queue import Empty, SimpleQueue
from typing import Any

from medseg.cohort.records import CaseResult, CaseTask, LostCase, WorkerSetup
from medseg.cohort.workers.child import Child
from medseg.cohort.workers.process import THREADS
from medseg.cohort.workers.stages import Stage
from medseg.errors import MedsegError
from medseg.pipeline.options import Progress


class EmbeddedExecutor:
    """Runs cases in child processes, so that a case that kills its own leaves coordinator and others alive.

    ``progress`` is called by `wait` with the stages of the case that is computed; where there are several
    processes, with those of one of them, until it has no case left.
    """

    def __init__(self, setup: WorkerSetup, processes: int = 1, progress: Progress | None = None) -> None:
        self._progress = progress
        self._stages: deque[Stage] = deque()
        self._answers: SimpleQueue[tuple[Child, int, Any]] = SimpleQueue()
        self._children = [Child(setup, self._answers) for _ in range(processes)]
        self._told_of = self._children[0]

    @property
    def capacity(self) -> int:
        """For each process as many as it has threads; one more, to wait there, where it is the only one."""
        return THREADS + 1 if len(self._children) == 1 else THREADS * len(self._children)

    @property
    def crowded(self) -> bool:
        """Whether several cases at a time take of the same memory."""
        return len(self._children) > 1

    def submit(self, task: CaseTask) -> None:
        """Give a case to the process that has the fewest."""
        min(self._children, key=lambda child: len(child.in_flight)).submit(task)

    def wait(self, seconds: float) -> list[CaseResult | LostCase]:
        """Results, and the cases of processes that died."""
        # Those of the last call: an exception in the midst of this one would take results with it.
        while self._stages:
            stage = self._stages.popleft()
            if self._progress is not None:
                self._progress(stage.stage, stage.done, stage.total)
        found: list[CaseResult | LostCase] = []
        try:
            self._take(*self._answers.get(timeout=seconds), found)
            while True:
                self._take(*self._answers.get_nowait(), found)
        except Empty:
            return found

    def close(self) -> None:
        """End the processes."""
        for child in self._children:
            child.close()

    def _take(self, child: Child, generation: int, answer: Any, found: list[CaseResult | LostCase]) -> None:
        if not child.heeds(generation):
            return
        if isinstance(answer, MedsegError):
            raise answer
        if answer is None:  # the process is gone
            found.extend(LostCase(case_id) for case_id in child.lost())
            return
        if isinstance(answer, Stage):
            if not self._told_of.in_flight:
                self._told_of = child
            if child is self._told_of:
                self._stages.append(answer)
            return
        child.in_flight.discard(answer.case_id)
        found.append(answer)
