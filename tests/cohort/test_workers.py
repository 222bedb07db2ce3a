"""Workers that die take no other case with them, and no run begins while another one lives."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from pathlib import Path

import psutil
import pytest

import medseg
from medseg.cohort.coordinator import Coordinator
from medseg.cohort.folder import StudyFolder
from medseg.cohort.ledger import Ledger
from medseg.cohort.lock import StudyBusy, StudyLock
from medseg.cohort.manifest import read_manifest
from medseg.cohort.records import CaseResult, CaseTask, LostCase
from medseg.cohort.workers import sharing
from medseg.cohort.workers.sharing import share_computer
from medseg.cohort.workers.stages import Stage, seldom
from medseg.models import load_model
from medseg.pipeline.options import InferOptions
from medseg.verdict import Verdict

posix = pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL on Windows")


class _DeadlyCases:
    """An executor that holds three cases, and whose worker dies with all it holds when one of some runs."""

    capacity = 3
    crowded = False

    def __init__(self, deadly: set[str]) -> None:
        self._deadly = deadly
        self._held: deque[str] = deque()

    def submit(self, task: CaseTask) -> None:
        self._held.append(task.case_id)

    def wait(self, seconds: float) -> list[CaseResult | LostCase]:
        if not self._held:
            return []
        if self._held[0] in self._deadly:
            lost, self._held = self._held, deque()
            return [LostCase(case_id) for case_id in lost]
        return [CaseResult(self._held.popleft(), "done", input_sha256=None)]

    def close(self) -> None: ...


def test_only_cases_that_kill_their_worker_alone_fail(manifest: Path, tmp_path: Path) -> None:
    cases = read_manifest(manifest)
    folder = StudyFolder(tmp_path)
    with StudyLock(folder.lock) as lock, Ledger(folder.ledger, writing=True) as ledger:
        ledger.register(cases, {}, "identity")
        order = {case.case_id: n for n, case in enumerate(cases.cases)}
        told: list[int] = []
        executor = _DeadlyCases({"c1", "c3"})
        coordinator = Coordinator(ledger, lock, folder, executor, "identity", order, told.append)
        coordinator.run([CaseTask(case.case_id, case.images) for case in cases.cases])
        states = {entry.case_id: (entry.state, entry.verdict.codes) for entry in ledger.entries()}
    dead = ("failed", ("worker-died",))
    assert states == {"c0": ("done", ()), "c1": dead, "c2": ("done", ()), "c3": dead, "c4": ("done", ())}
    assert told[-1] == 5


class _NarrowCases:
    """An executor of three cases at a time, some of which find room only where no other is beside them."""

    capacity = 3
    crowded = True

    def __init__(self, large: set[str], too_large: set[str]) -> None:
        self._large, self._too_large = large, too_large
        self._held: deque[str] = deque()

    def submit(self, task: CaseTask) -> None:
        self._held.append(task.case_id)

    def wait(self, seconds: float) -> list[CaseResult | LostCase]:
        if not self._held:
            return []
        beside = len(self._held) > 1
        case = self._held.popleft()
        if case in self._too_large or (case in self._large and beside):
            return [CaseResult(case, "failed", Verdict.of("failed", "out-of-memory", "needs more"))]
        return [CaseResult(case, "done")]

    def close(self) -> None: ...


def test_a_case_that_lacks_memory_beside_others_is_tried_alone(manifest: Path, tmp_path: Path) -> None:
    cases = read_manifest(manifest)
    folder = StudyFolder(tmp_path)
    with StudyLock(folder.lock) as lock, Ledger(folder.ledger, writing=True) as ledger:
        ledger.register(cases, {}, "identity")
        order = {case.case_id: n for n, case in enumerate(cases.cases)}
        executor = _NarrowCases({"c0", "c2"}, {"c3"})
        Coordinator(ledger, lock, folder, executor, "identity", order, lambda finished: None).run(
            [CaseTask(case.case_id, case.images) for case in cases.cases]
        )
        failed = {entry.case_id: entry.verdict.codes for entry in ledger.entries() if entry.state != "done"}
    assert failed == {"c3": ("out-of-memory",)}


@pytest.mark.parametrize(
    ("processors", "free_gb", "cases", "threads", "max_memory", "expected"),
    [
        (2, 24, 100, None, None, (2, 1)),
        (16, 64, 100, None, None, (4, 4)),
        (16, 9, 100, None, None, (2, 8)),
        (16, 1, 100, None, None, (1, 16)),
        (16, 64, 1, None, None, (1, 16)),
        (16, 64, 100, None, 10**9, (1, 16)),
        (16, 64, 100, 8, None, (2, 8)),  # a study that another computer began
        (2, 24, 100, 16, None, (1, 16)),
        (1, 24, 100, None, None, (1, 1)),
    ],
)
def test_processors_are_shared_between_as_many_processes_as_have_room(
    monkeypatch: pytest.MonkeyPatch,
    processors: int,
    free_gb: int,
    cases: int,
    threads: int | None,
    max_memory: int | None,
    expected: tuple[int, int],
) -> None:
    monkeypatch.setattr(sharing, "usable_processors", lambda: processors)
    monkeypatch.setattr(sharing, "available_memory", lambda: free_gb * 10**9)
    options = InferOptions(device="cpu", max_memory=max_memory)
    assert share_computer((load_model("hippocampus"),), options, cases, threads) == expected


@posix
def test_a_killed_worker_is_replaced_and_every_case_is_done(
    model: Path, manifest: Path, tmp_path: Path
) -> None:
    killed: list[int] = []

    def kill(stage: str, done: int, total: int) -> None:
        for child in psutil.Process().children():
            if done and not killed and "medseg.cohort" in " ".join(child.cmdline()):
                child.kill()
                killed.append(child.pid)

    study = medseg.run_cohort(manifest, model, tmp_path / "study", progress=kill)
    assert killed
    assert study.exit_code == 0
    assert study.counts["done"] == 5


def test_a_run_tells_how_far_each_case_is(model: Path, manifest: Path, tmp_path: Path) -> None:
    told: list[tuple[str, int, int]] = []
    threads: set[int] = set()

    def progress(stage: str, done: int, total: int) -> None:
        told.append((stage, done, total))
        threads.add(threading.get_ident())

    medseg.run_cohort(manifest, model, tmp_path / "study", overlap=0.0, progress=progress)
    assert threads == {threading.get_ident()}
    # Scans of 20 x 17 x 11 voxels in patches of 16 x 12 x 8: two along each axis.
    windows = [(done, total) for stage, done, total in told if stage == "predict"]
    assert windows
    assert {total for _, total in windows} == {8}
    assert all(1 <= done <= 8 for done, _ in windows)
    assert ("cases", 5, 5) in told


def test_an_exception_from_progress_within_a_case_ends_the_run(
    model: Path, manifest: Path, tmp_path: Path
) -> None:
    def stop(stage: str, done: int, total: int) -> None:
        if stage != "cases":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        medseg.run_cohort(manifest, model, tmp_path / "study", progress=stop)
    assert medseg.open_study(tmp_path / "study").counts["running"] == 0


def test_stages_are_told_now_and_then_and_always_at_their_end(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    told: list[Stage] = []
    progress = seldom(told.append)
    for done in range(1, 9):
        progress("predict", done, 8)
        now += 0.2
    assert told == [Stage("predict", done, 8) for done in (1, 4, 7, 8)]


def test_a_second_run_is_refused_while_the_first_lives(model: Path, manifest: Path, tmp_path: Path) -> None:
    folder = StudyFolder(tmp_path / "study")
    folder.path.mkdir()
    with StudyLock(folder.lock), pytest.raises(StudyBusy, match="being run already"):
        medseg.run_cohort(manifest, model, folder.path)
    assert medseg.run_cohort(manifest, model, folder.path).exit_code == 0


@posix
def test_the_lock_of_a_killed_run_is_taken_over_at_once(tmp_path: Path) -> None:
    script = f"""
import time
from pathlib import Path
from medseg.cohort.lock import StudyLock
with StudyLock(Path({str(tmp_path / "run.lock")!r})):
    print("held", flush=True)
    time.sleep(60)
"""
    holder = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE)
    assert holder.stdout is not None
    assert holder.stdout.readline() == b"held\n"
    os.kill(holder.pid, signal.SIGKILL)
    holder.wait()
    holder.stdout.close()
    start = time.monotonic()
    with StudyLock(tmp_path / "run.lock"):
        assert time.monotonic() - start < 5
    assert not (tmp_path / "run.lock").exists()


def test_a_lock_that_another_run_took_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "run.lock"
    with StudyLock(path) as lock:
        path.write_text('{"token": "another", "pid": 1, "host": "elsewhere"}')
        assert lock.lost.wait(10)
        with pytest.raises(StudyBusy, match="another run has taken"):
            lock.check()
    assert path.exists()  # not ours to remove
