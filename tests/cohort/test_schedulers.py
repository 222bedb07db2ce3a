"""One study on this process's child, on two local Dask workers, and on a Dask cluster started by hand."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import medseg
from medseg.errors import UsageError

pytest.importorskip("distributed", reason="Dask is not installed: pip install 'medseg[cluster]'")

_PATIENCE_S = 120


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[str]:
    """``dask scheduler`` and two ``dask worker`` as people start them; gives the address."""
    told = tmp_path / "scheduler.json"
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    scheduler = [sys.executable, "-m", "dask", "scheduler", "--host", "127.0.0.1", "--port", "0"]
    worker = [sys.executable, "-m", "dask", "worker", "--scheduler-file", str(told), "--nthreads", "1"]
    processes = [
        subprocess.Popen([*scheduler, "--no-dashboard", "--scheduler-file", str(told)], **quiet),
        *(
            subprocess.Popen(
                [*worker, "--no-dashboard", "--local-directory", str(tmp_path / f"worker{n}")], **quiet
            )
            for n in range(2)
        ),
    ]
    try:
        until = time.monotonic() + _PATIENCE_S
        while not told.exists():
            assert time.monotonic() < until, "the scheduler did not start"
            time.sleep(0.2)
        yield json.loads(told.read_text())["address"]
    finally:
        for process in processes[::-1]:
            process.terminate()
            process.wait()


def test_the_table_is_the_same_wherever_cases_are_computed(
    model: Path, manifest: Path, tmp_path: Path, cluster: str
) -> None:
    studies = {
        "embedded": medseg.run_cohort(manifest, model, tmp_path / "embedded"),
        "local": medseg.run_cohort(manifest, model, tmp_path / "local", workers=2),
        "cluster": medseg.run_cohort(manifest, model, tmp_path / "cluster", scheduler=cluster),
    }
    assert {study.exit_code for study in studies.values()} == {0}
    for name in ("table.parquet", "table.csv"):
        assert len({(study.path / name).read_bytes() for study in studies.values()}) == 1
    again = medseg.run_cohort(
        manifest, model, tmp_path / "local"
    )  # another scheduler goes on where one stopped
    assert again.counts["done"] == 5


def test_a_scheduler_that_does_not_answer_is_a_clear_error(
    model: Path, manifest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("medseg.cohort.workers.dask._START_S", 1)
    with pytest.raises(UsageError, match=r"no Dask scheduler answers at tcp://127.0.0.1:9: start one with"):
        medseg.run_cohort(manifest, model, tmp_path / "study", scheduler="tcp://127.0.0.1:9")


def test_a_scheduler_and_own_workers_are_not_both_asked_for(
    model: Path, manifest: Path, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match="not both"):
        medseg.run_cohort(manifest, model, tmp_path / "s", scheduler="tcp://a:1", workers=2)
