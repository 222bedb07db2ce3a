"""A compiled network trains as it does uncompiled; takes a C++ compiler and a minute or two.

python -m pytest tests/acceptance/test_compiled_training.py
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

import numpy as np
import pytest

import medseg
from medseg.training.logs import read_rows
from tests.ball_data import SMALL, write_decathlon

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*"
)  # torch's compiler, exporter and fabric warn of themselves


@pytest.fixture(scope="module")
def decathlon(tmp_path_factory):
    return write_decathlon(tmp_path_factory.mktemp("data") / "Task99_Balls")


def test_compiled_steps_are_the_steps_as_written(decathlon, tmp_path):
    if shutil.which(os.environ.get("CXX", "g++")) is None:
        pytest.skip("no C++ compiler")
    settings = (*SMALL, "schedule.steps=12", "schedule.validate_every=6")
    losses, scores = {}, {}
    for name in ("false", "true"):
        run = tmp_path / name
        medseg.train(decathlon, run, overrides=(*settings, f"schedule.compile={name}"))
        losses[name] = [float(row["loss"]) for row in read_rows(run / "steps.csv")]
        scores[name] = [float(row["mean_dice"]) for row in read_rows(run / "validation.csv")]
    # Rounding, which twelve steps of training enlarge.
    np.testing.assert_allclose(losses["true"], losses["false"], rtol=0.02)
    np.testing.assert_allclose(scores["true"], scores["false"], atol=0.03)


def test_a_stopped_compiled_run_goes_on(decathlon, tmp_path):
    if shutil.which(os.environ.get("CXX", "g++")) is None:
        pytest.skip("no C++ compiler")
    settings = (*SMALL, "schedule.steps=6", "schedule.compile=true")

    def stop(status: medseg.training.Status) -> None:
        if status.step == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        medseg.train(decathlon, tmp_path / "run", overrides=settings, on_status=stop)
    result = medseg.train(decathlon, tmp_path / "run", overrides=settings, resume=True)
    assert result.bundle.training["steps"] == 6


def test_without_a_compiler_the_error_names_the_cure(decathlon, tmp_path):
    settings = ("schedule.steps=2", "schedule.compile=true")
    command = [
        sys.executable,
        "-m",
        "medseg",
        "train",
        str(decathlon),
        "-o",
        str(tmp_path / "run"),
        *SMALL,
        *settings,
    ]
    without = {"CXX": "no-such-compiler", "TORCHINDUCTOR_CACHE_DIR": str(tmp_path / "cache")}
    ended = subprocess.run(
        command, env={**os.environ, **without}, capture_output=True, text=True, check=False
    )
    assert ended.returncode != 0
    assert "Traceback" not in ended.stderr
    assert "schedule.compile=false" in ended.stderr
    assert not (tmp_path / "run/bundle").exists()
