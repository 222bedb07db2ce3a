"""The loop of a run: give cases to workers, enter what comes back, and outlive what kills a worker."""

from __future__ import annotations

import shutil
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from medseg.cohort.folder import StudyFolder
from medseg.cohort.ledger import Ledger
from medseg.cohort.lock import StudyLock
from medseg.cohort.records import CaseResult, CaseTask, LostCase
from medseg.cohort.resume import DUPLICATE
from medseg.cohort.workers.case_worker import remove_outputs
from medseg.cohort.workers.executor import Executor
from medseg.errors import WriteFailed
from medseg.verdict import Verdict

# How often a case may kill its worker while it has it to itself.
_DEATHS_ALONE = 2
_WAIT_S = 0.2
_LEAST_FREE_BYTES = 32_000_000


@dataclass(slots=True)
class Coordinator:
    """Takes tasks through an executor into a ledger.

    Parameters
    ----------
    order
        Each case's position in the manifest: of cases with one input the first runs.
    identity
        What the results are made with, as `resume.identity`.
    report
        Called with the number of cases that are finished.
    """

    ledger: Ledger
    lock: StudyLock
    folder: StudyFolder
    executor: Executor
    identity: str
    order: dict[str, int]
    report: Callable[[int], None]
    _finished: int = 0
    _in_flight: dict[str, CaseTask] = field(default_factory=dict)
    _suspects: deque[CaseTask] = field(default_factory=deque)
    _deaths_alone: Counter[str] = field(default_factory=Counter)

    def run(self, tasks: Sequence[CaseTask]) -> None:
        """Until every task has a result. Whatever ends it early, what came in before is in the ledger."""
        pending = deque(tasks)
        self.report(0)
        while pending or self._suspects or self._in_flight:
            started = self._start(pending)
            came = self.executor.wait(_WAIT_S if self._in_flight else 0)
            self.lock.check()
            alone = len(self._in_flight) == 1
            results: list[CaseResult] = []
            for one in came:
                if isinstance(one, LostCase):
                    results += self._lost(one.case_id, alone)
                elif self._lacked_room(one, alone):
                    self._suspects.append(self._in_flight.pop(one.case_id))
                else:
                    results.append(one)
            if results or started:
                self._enter(results, started)

    def _start(self, pending: deque[CaseTask]) -> list[str]:
        """Give out what the workers can hold. A case that may have killed a worker, or that found too little
        memory beside others, runs alone.
        """
        started: list[CaseTask] = []
        if self._suspects:
            if not self._in_flight:
                started.append(self._suspects.popleft())
        else:
            while pending and len(self._in_flight) + len(started) < self.executor.capacity:
                started.append(pending.popleft())
        for task in started:
            self._in_flight[task.case_id] = task
            self.executor.submit(task)
        return [task.case_id for task in started if task.unless_sha256 is None]

    def _lacked_room(self, result: CaseResult, alone: bool) -> bool:
        """Whether a case may have found too little memory only because of the cases beside it."""
        return self.executor.crowded and not alone and "out-of-memory" in result.verdict.codes

    def _lost(self, case_id: str, alone: bool) -> list[CaseResult]:
        """A case whose worker died: run it alone, to know whether it was the one; give up in the end."""
        self._deaths_alone[case_id] += alone
        if self._deaths_alone[case_id] < _DEATHS_ALONE:
            self._suspects.append(self._in_flight.pop(case_id))
            return []
        text = (
            f"the worker died {_DEATHS_ALONE} times while it had this case to itself: most likely memory ran "
            "out; set --max-memory, or run the study again on a computer with more"
        )
        return [CaseResult(case_id, "failed", Verdict.of("failed", "worker-died", text))]

    def _enter(self, results: Sequence[CaseResult], started: Sequence[str]) -> None:
        """One transaction for all that has come in; then outputs go that no longer stand for anything."""
        entered: list[CaseResult] = []
        for result in results:
            self._in_flight.pop(result.case_id)
            entered.extend(self._first_of_its_input(result, entered))
        self.ledger.record(entered, self.identity, [s for s in started if s in self._in_flight])
        for result in entered:
            if result.state == "failed":
                remove_outputs(self.folder, result.case_id)
        self._finished += len(results)
        self.report(self._finished)
        if any("write-failed" in result.verdict.codes for result in entered):
            self._stop_on_a_full_disk()

    def _stop_on_a_full_disk(self) -> None:
        """Raise `WriteFailed` where no case can be written any more: the others would be computed in vain."""
        free = shutil.disk_usage(self.folder.path).free
        if free < _LEAST_FREE_BYTES:
            raise WriteFailed(
                f"{self.folder.path.name}: the disk is full ({free / 1e6:.0f} MB free): free some space and "
                "run the same command; it goes on where it stopped"
            )

    def _first_of_its_input(self, result: CaseResult, before: list[CaseResult]) -> list[CaseResult]:
        """The result, or in its place a failure, where another done case has the same input.

        The first in the manifest stays, also if its result comes in later: then the other one is taken back.
        """
        if result.state != "done" or result.input_sha256 is None:
            return [result]
        rivals = {
            one.case_id: one.input_stamp
            for one in before
            if one.state == "done" and one.input_sha256 == result.input_sha256
        }
        rivals |= dict(self.ledger.same_input(result.input_sha256))
        rivals.pop(result.case_id, None)
        first = min(rivals, key=lambda case_id: self.order[case_id], default=None)
        if first is not None and self.order[first] < self.order[result.case_id]:
            return [_duplicate(result, first)]
        before[:] = [one for one in before if one.case_id not in rivals]
        taken_back = (
            CaseResult(case_id, "failed", input_sha256=result.input_sha256, input_stamp=known)
            for case_id, known in sorted(rivals.items())
        )
        return [*(_duplicate(one, result.case_id) for one in taken_back), result]


def _duplicate(result: CaseResult, first: str) -> CaseResult:
    text = f"has the same contents as case {first!r}, which comes first and was run"
    return replace(
        result,
        state="failed",
        verdict=Verdict.of("failed", DUPLICATE, text),
        output_stamp=None,
        rows=(),
    )
