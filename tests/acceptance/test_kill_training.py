"""SIGKILL a training at random steps, resume it, and compare every loss with an undisturbed run's.

python -m pytest tests/acceptance/test_kill_training.py
"""

from __future__ import annotations

import csv
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.ball_data import SMALL, make_case, write_nifti

STEPS, KILLS = 60, 3


def losses(run: Path) -> dict[int, str]:
    path = run / "steps.csv"
    if not path.is_file():
        return {}
    with path.open(newline="") as stream:
        return {int(row["step"]): row["loss"] for row in csv.DictReader(stream) if row["loss"]}


def train(data: Path, run: Path, *more: str) -> list[str]:
    return [
        sys.executable,
        "-m",
        "medseg.cli.app",
        "train",
        str(data),
        "-o",
        str(run),
        "--device",
        "cpu",
        "--quiet",
        *more,
        *SMALL,
        f"schedule.steps={STEPS}",
    ]


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    data = tmp_path_factory.mktemp("balls")
    for n in range(8):
        image, label = make_case(n)
        write_nifti(data / f"images/{n}.nii.gz", image)
        write_nifti(data / f"labels/{n}.nii.gz", label)
    undisturbed = tmp_path_factory.mktemp("runs") / "undisturbed"
    subprocess.run(train(data, undisturbed), check=True)
    return data, undisturbed


def test_a_killed_training_resumes_to_the_same_losses(folders, tmp_path):
    data, undisturbed = folders
    run = tmp_path / "killed"
    chance = random.Random(0)
    for _ in range(KILLS):
        process = subprocess.Popen(train(data, run, "--resume"))
        until = chance.randrange(8, STEPS - 8)
        while process.poll() is None and max(losses(run), default=0) < until:
            time.sleep(0.01)
        time.sleep(chance.random() * 0.2)
        process.kill()
        process.wait()
        print(f"killed with step {max(losses(run), default=0)} written")
    subprocess.run(train(data, run, "--resume"), check=True)
    found, expected = losses(run), losses(undisturbed)
    assert len(expected) == STEPS
    assert found == expected
    assert (run / "bundle/medseg.yaml").is_file()
    assert not list(run.rglob("*.part*"))


def test_two_processes_train_one_model(folders, tmp_path):
    data, _ = folders
    run = tmp_path / "two"
    subprocess.run(train(data, run, "--devices", "2"), check=True)
    values = [float(loss) for loss in losses(run).values()]
    assert len(values) == STEPS
    assert sum(values[-5:]) < 0.5 * sum(values[:5])
    assert (run / "bundle/medseg.yaml").is_file()
