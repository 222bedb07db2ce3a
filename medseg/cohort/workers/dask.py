"""Workers of a Dask cluster: an existing one by its address, or one on this computer."""

from __future__ import annotations

import logging
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from functools import lru_cache, partial
from queue import Empty, SimpleQueue
from tempfile import TemporaryDirectory
from typing import Any

from medseg.cohort.records import CaseResult, CaseTask, LostCase, WorkerSetup
from medseg.cohort.workers.case_worker import CaseWorker
from medseg.cohort.workers.child import worker_environment
from medseg.errors import MedsegError, MissingExtra, UsageError

try:
    from distributed import Client, LocalCluster
    from distributed.scheduler import KilledWorker
except ImportError as error:  # pragma: no cover - the test environment has it
    raise MissingExtra(
        "--scheduler and --workers need Dask: pip install 'medseg[cluster]'; without them medseg runs on "
        "this computer"
    ) from error

_START_S = 60
_END_S = 10
# In a local worker: one reads, one computes, one writes. Computing itself has all the worker's cores.
_THREADS = 3


class DaskExecutor:
    """Runs cases on the workers of a Dask scheduler.

    Workers must see the study's folder and the inputs under the same paths, and have medseg installed.
    Where a GPU is asked for, a case goes to workers with the resource ``GPU`` (``dask worker --resources
    "GPU=1"``), one at a time for each unit of it.

    Raises
    ------
    UsageError
        If no scheduler answers there, or it has no workers that could take a case.
    """

    def __init__(
        self,
        setup: WorkerSetup,
        address: str | None,
        start_workers: Callable[[str], AbstractContextManager[None]] | None = None,
    ) -> None:
        self._setup = setup
        self._ours = start_workers is not None
        self._came: SimpleQueue[tuple[str, Any]] = SimpleQueue()
        self._futures: dict[str, Any] = {}
        self._resources = {"GPU": 1} if setup.options.device.startswith("cuda") else None
        with ExitStack() as opened:
            if address is None:
                cluster = opened.enter_context(_lone_scheduler())
                address = str(cluster.scheduler_address)
            self._client = opened.enter_context(_connect(address))
            if start_workers is not None:
                opened.enter_context(start_workers(address))
            try:
                self._client.wait_for_workers(1, timeout=_START_S)
            except TimeoutError as error:
                raise UsageError(
                    f"the scheduler at {address} has no workers: start some with `dask worker {address}`"
                ) from error
            self._opened = opened.pop_all()

    @property
    def capacity(self) -> int:
        """A case for each thread of each worker, and one more for each worker."""
        workers = self._client.scheduler_info(n_workers=-1)["workers"].values()
        return sum(worker["nthreads"] + 1 for worker in workers) or 1

    @property
    def crowded(self) -> bool:
        """Whether several cases at a time take of the same memory: known only of workers of our own."""
        return self._ours

    def submit(self, task: CaseTask) -> None:
        """Hand a case to the scheduler."""
        future = self._client.submit(
            run_case, self._setup, task, pure=False, resources=self._resources, retries=0
        )
        self._futures[task.case_id] = future
        future.add_done_callback(lambda done: self._came.put((task.case_id, done)))

    def wait(self, seconds: float) -> list[CaseResult | LostCase]:
        """Results, and cases that took their workers with them."""
        found: list[CaseResult | LostCase] = []
        try:
            found.append(self._result(*self._came.get(timeout=seconds)))
            while True:
                found.append(self._result(*self._came.get_nowait()))
        except Empty:
            return found

    def close(self) -> None:
        """Cancel what is not done, and leave the cluster; one of this computer ends."""
        for future in self._futures.values():
            future.cancel()
        self._opened.close()

    def _result(self, case_id: str, future: Any) -> CaseResult | LostCase:
        del self._futures[case_id]
        if future.status == "finished":
            result = future.result()
            if isinstance(result, MedsegError):
                raise result
            assert isinstance(result, CaseResult)
            return result
        if future.status == "error" and not isinstance(future.exception(), KilledWorker):
            error = future.exception()
            assert error is not None
            raise error
        return LostCase(case_id)


def local_cluster(setup: WorkerSetup, workers: int) -> DaskExecutor:
    """Dask workers on this computer, which share its cores and its memory."""
    return DaskExecutor(setup, None, partial(_start_workers, workers, setup))


@contextmanager
def _start_workers(count: int, setup: WorkerSetup, address: str) -> Iterator[None]:
    """Worker programs, each under a nanny that starts it anew when it dies.

    Not those of `LocalCluster`: they import the caller's script again, which would run the study once more.
    They end by themselves once the scheduler is gone.
    """
    command = [sys.executable, "-P", "-m", "distributed.cli.dask_worker", address, "--no-dashboard"]
    command += ["--nthreads", str(_THREADS), "--death-timeout", str(_END_S)]
    command += ["--memory-limit", f"{1 / count}"]
    if setup.options.device.startswith("cuda"):
        command += ["--resources", "GPU=1"]
    null = subprocess.DEVNULL
    with TemporaryDirectory(prefix="medseg-workers-", ignore_cleanup_errors=True) as folder:
        command += ["--local-directory", folder]
        processes = [
            subprocess.Popen(command, stdin=null, stdout=null, stderr=null, env=worker_environment())
            for _ in range(count)
        ]
        try:
            yield
        finally:
            for process in processes:
                process.terminate()
            for process in processes:
                with suppress(subprocess.TimeoutExpired):
                    process.wait(_END_S)
                process.kill()


def run_case(setup: WorkerSetup, task: CaseTask) -> CaseResult | MedsegError:
    """What a Dask worker does: the models are loaded with its first case, and kept for the next."""
    try:
        return _worker(setup).run(task)
    except MedsegError as error:
        return error


def _lone_scheduler() -> Any:
    """A scheduler in this process, for workers that are still to come."""
    options = {
        "host": "127.0.0.1",
        "protocol": "tcp",
        "dashboard_address": "127.0.0.1:0",
        "silence_logs": logging.CRITICAL,
    }
    return LocalCluster(n_workers=0, processes=False, **options)  # type: ignore[no-untyped-call]


def _connect(address: str) -> Any:
    try:
        return Client(address, timeout=_START_S, set_as_default=False)  # type: ignore[no-untyped-call]
    except (OSError, ValueError) as error:
        raise UsageError(
            f"no Dask scheduler answers at {address}: start one with `dask scheduler`, and workers with "
            f"`dask worker {address}`"
        ) from error


@lru_cache(maxsize=1)
def _worker(setup: WorkerSetup) -> CaseWorker:
    return CaseWorker(setup)
