"""Any number of cases, in one process or several; memory does not grow with how many they are."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
from collections import deque
from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Protocol

from medseg.errors import UsageError
from medseg.evaluation.cases import CaseScores, score_case
from medseg.evaluation.settings import Settings
from medseg.labels import LabelSet
from medseg.verdict import Verdict

# Cases handed out ahead of the one whose turn it is, per process: a long case does not stop the others.
_AHEAD = 4

CasePair = tuple[str, Path, Path]


class _Score(Protocol):
    def __call__(self, case: str, predicted: Path, reference: Path) -> CaseScores: ...


def evaluate_pairs(
    pairs: Iterable[CasePair],
    settings: Settings | None = None,
    *,
    labels: LabelSet | None = None,
    workers: int = 1,
) -> Generator[CaseScores, None, None]:
    """Score pairs of files as they come, in their order.

    Parameters
    ----------
    pairs
        ``(case, predicted, reference)``, taken a few at a time.
    settings
        What to measure; `Settings()` unless told.
    labels
        The labels to score, as in `evaluate`.
    workers
        Processes. With more than one they are spawned, so a script has to guard what it does by
        ``if __name__ == "__main__":``. Results and their order are those of one.

    Yields
    ------
    CaseScores
        Of each pair. One that cannot be compared carries a verdict that says why, ``failed`` with the code
        ``worker-died`` where its process was killed (by the system, for want of memory, say), even alone.

    Raises
    ------
    UsageError
        If ``workers`` is less than one.
    """
    if workers < 1:
        raise UsageError(f"workers {workers}: expected 1 or more")
    score = partial(score_case, settings=settings or Settings(), labels=labels)
    if workers == 1:
        return (score(case, Path(pred), Path(ref)) for case, pred, ref in pairs)
    return _in_processes(pairs, score, workers)


@dataclass(frozen=True, slots=True)
class _Waiting:
    pair: CasePair
    result: Future[CaseScores]


def _in_processes(
    pairs: Iterable[CasePair], score: _Score, workers: int
) -> Generator[CaseScores, None, None]:
    coming = iter(pairs)
    pool = _pool(workers)
    queue: deque[_Waiting] = deque()
    try:
        while True:
            for pair in islice(coming, _AHEAD * workers - len(queue)):
                queue.append(_Waiting(pair, _submit(pool, score, pair)))
            if not queue:
                return
            try:
                scores = queue[0].result.result()
            except BrokenProcessPool:
                pool.shutdown(cancel_futures=True)
                yield from _one_by_one(queue, score)
                queue.clear()
                pool = _pool(workers)
            else:
                queue.popleft()
                yield scores
    finally:
        pool.shutdown(cancel_futures=True)


def _one_by_one(queue: Iterable[_Waiting], score: _Score) -> Generator[CaseScores, None, None]:
    """After a process died: any case under way may have been its end, and alone it can be no other's."""
    pool = _pool(1)
    try:
        for waiting in queue:
            result = waiting.result
            try:
                if not result.done() or result.cancelled() or result.exception() is not None:
                    result = _submit(pool, score, waiting.pair)
                scores = result.result()
            except BrokenProcessPool:
                pool.shutdown(cancel_futures=True)
                pool = _pool(1)
                text = (
                    "the process that compared it was killed, perhaps for want of memory; the others went on"
                )
                scores = CaseScores(waiting.pair[0], (), Verdict.of("failed", "worker-died", text))
            yield scores
    finally:
        pool.shutdown(cancel_futures=True)


def _submit(pool: ProcessPoolExecutor, score: _Score, pair: CasePair) -> Future[CaseScores]:
    case, predicted, reference = pair
    try:
        with _interrupts_held():  # a process may be started for it
            return pool.submit(score, case, Path(predicted), Path(reference))
    except BrokenProcessPool as error:  # said again when it is this case's turn
        broken: Future[CaseScores] = Future()
        broken.set_exception(error)
        return broken


def _pool(workers: int) -> ProcessPoolExecutor:
    return ProcessPoolExecutor(
        workers, mp_context=multiprocessing.get_context("spawn"), initializer=_begin_worker
    )


@contextmanager
def _interrupts_held() -> Iterator[None]:
    """Ctrl-C waits, here and in a process that is started meanwhile until it is ready to end silently."""
    if sys.platform == "win32":
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _begin_worker() -> None:
    """A worker ends at once and silently: on Ctrl-C, and when the process that started it is gone."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    if sys.platform != "win32":
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
