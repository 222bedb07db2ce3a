"""Who does the cases: child processes, or Dask workers here or elsewhere."""

from __future__ import annotations

from medseg.cohort.records import WorkerSetup
from medseg.cohort.workers.embedded import EmbeddedExecutor
from medseg.cohort.workers.executor import Executor
from medseg.errors import UsageError
from medseg.pipeline.options import Progress

__all__ = ["Executor", "open_executor"]


def open_executor(
    setup: WorkerSetup,
    scheduler: str | None,
    workers: int | None,
    processes: int = 1,
    progress: Progress | None = None,
) -> Executor:
    """The workers that were asked for: those of a Dask scheduler, Dask workers here, else processes.

    Parameters
    ----------
    setup
        What all cases share.
    scheduler, workers
        As in `run_cohort`.
    processes
        How many there are without Dask.
    progress
        Called with the stages of the case under way, in the thread that calls `Executor.wait`, which passes
        its exceptions on. Only without Dask, whose workers do not tell theirs.

    Raises
    ------
    UsageError
        If both are asked for, the number is not positive, or no scheduler answers.
    MissingExtra
        If Dask is not installed.
    """
    if scheduler is not None and workers is not None:
        raise UsageError("a scheduler has its own workers: give --scheduler or --workers, not both")
    if workers is not None and workers < 1:
        raise UsageError(f"workers {workers}: expected at least 1")
    if scheduler is None and workers is None:
        return EmbeddedExecutor(setup, processes, progress)
    from medseg.cohort.workers.dask import DaskExecutor, local_cluster

    if scheduler is not None:
        return DaskExecutor(setup, scheduler)
    assert workers is not None
    return local_cluster(setup, workers)
