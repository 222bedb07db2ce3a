"""SIGKILL `medseg cohort run` and its workers at random instants: a repeat ends with the undisturbed table.

Outside CI: ten minutes or so. MEDSEG_KILLS sets the number of kills of each kind (default 50).

    python -m pytest tests/acceptance/test_kill_cohort.py -s
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import nibabel
import numpy as np
import psutil
import pytest

from tests.cohort.studies import expected_labels, save_scan, write_manifest
from tests.threshold_model import save_threshold_model

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL on Windows")

ROOT = Path(__file__).resolve().parents[2]
KILLS = int(os.environ.get("MEDSEG_KILLS", "50"))
CASES = 12


def _cohort(folder: Path) -> list[str]:
    """Good cases with two bad ones and a duplicate among them; the command line without its study."""
    rows = []
    for n in range(CASES):
        path = save_scan(folder / f"scan{n}.nii.gz", n)
        rows.append({"case_id": f"c{n}", "image": path.name, "group": "ab"[n % 2]})
    (folder / "cut.nii.gz").write_bytes((folder / "scan0.nii.gz").read_bytes()[:4000])
    shutil.copy(folder / "scan9.nii.gz", folder / "same.nii.gz")
    for place, name in ((2, "cut"), (4, "same"), (7, "gone")):
        rows.insert(place, {"case_id": name, "image": f"{name}.nii.gz", "group": ""})
    manifest = write_manifest(folder / "cases.csv", rows)
    model = save_threshold_model(folder / "model").path
    command = [sys.executable, "-m", "medseg.cli.app", "cohort", "run", str(manifest), "-m", str(model)]
    return [*command, "--quiet", "-o"]


def _finish(command: list[str]) -> None:
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 4, done.stderr  # the bad cases


def _only_whole_files(study: Path, cohort: Path) -> int:
    """How many segmentations there are; each that bears its name is the right one, whole."""
    found = list((study / "segmentations").glob("[!.]*_seg.nii.gz"))
    for path in found:
        name = path.name.removesuffix("_seg.nii.gz")
        scan = cohort / (f"scan{name[1:]}.nii.gz" if name[0] == "c" else f"{name}.nii.gz")
        assert np.array_equal(np.asarray(nibabel.load(path).dataobj), expected_labels(scan))
    return len(found)


def _tables(study: Path) -> tuple[bytes, bytes]:
    return (study / "table.parquet").read_bytes(), (study / "table.csv").read_bytes()


def _workers(pid: int) -> list[psutil.Process]:
    try:
        children = psutil.Process(pid).children(recursive=True)
        return [child for child in children if "medseg.cohort.workers.process" in child.cmdline()]
    except psutil.NoSuchProcess:
        return []


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cohort")


@pytest.fixture(scope="module")
def undisturbed(cohort: Path) -> tuple[list[str], tuple[bytes, bytes], float]:
    """The command, its tables, and how long it takes."""
    command = _cohort(cohort)
    start = time.perf_counter()
    _finish([*command, str(cohort / "whole")])
    duration = time.perf_counter() - start
    assert _only_whole_files(cohort / "whole", cohort) == CASES
    return command, _tables(cohort / "whole"), duration


def test_killed_coordinators(cohort: Path, undisturbed: tuple[list[str], tuple[bytes, bytes], float]) -> None:
    command, expected, duration = undisturbed
    draw = random.Random(6)
    study, rounds, kills, counts = cohort / "killed", 0, 0, []
    while kills < KILLS:
        with (cohort / "log").open("w") as log:
            process = subprocess.Popen([*command, str(study)], cwd=ROOT, stdout=log, stderr=log)
        try:
            process.wait(draw.uniform(0.3, 1.0) * duration)
        except subprocess.TimeoutExpired:
            os.kill(process.pid, signal.SIGKILL)
            process.wait()
            kills += 1
            if study.exists():
                counts.append(_only_whole_files(study, cohort))
            continue
        assert process.returncode == 4, (cohort / "log").read_text()
        assert _tables(study) == expected
        rounds += 1
        shutil.rmtree(study)
    _finish([*command, str(study)])
    assert _tables(study) == expected
    assert not list((study / "segmentations").glob(".*"))  # what dead writers left
    print(f"{kills} kills of the coordinator, {rounds + 1} studies finished; files then: {sorted(counts)}")


def test_killed_workers(cohort: Path, undisturbed: tuple[list[str], tuple[bytes, bytes], float]) -> None:
    command, expected, duration = undisturbed
    draw = random.Random(7)
    kills, studies, resumed = 0, 0, 0
    while kills < KILLS:
        study = cohort / f"workers{studies}"
        studies += 1
        process = subprocess.Popen(
            [*command, str(study)], cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        while process.poll() is None:
            time.sleep(draw.uniform(0.1, 0.5) * duration)
            for worker in _workers(process.pid):
                worker.kill()
                kills += 1
        assert process.returncode == 4
        _only_whole_files(study, cohort)
        if _tables(study) != expected:  # a case whose worker was killed while it ran alone, twice
            _finish([*command, str(study)])
            resumed += 1
        assert _tables(study) == expected
    print(f"{kills} kills of workers in {studies} studies, {resumed} of which needed a second run")
