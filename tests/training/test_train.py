"""Whole runs on small data: a bundle that works, exact resume, a time limit, two processes."""

from __future__ import annotations

import csv
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import medseg
from medseg.errors import UsageError
from medseg.models import verify_bundle
from tests.ball_data import SMALL

QUIET = pytest.mark.filterwarnings("ignore:.*")  # torch's exporter and fabric warn about themselves


def losses(run: Path) -> dict[int, str]:
    path = run / "steps.csv"
    if not path.is_file():
        return {}
    with path.open(newline="") as stream:
        return {int(row["step"]): row["loss"] for row in csv.DictReader(stream)}


@pytest.fixture(scope="module")
def trained(decathlon, tmp_path_factory):
    run = tmp_path_factory.mktemp("runs") / "whole"
    return medseg.train(decathlon, run, overrides=(*SMALL, "schedule.steps=80", "hold_back_every=5"))


@QUIET
def test_a_run_ends_in_a_bundle_that_segments_new_cases(trained, decathlon, tmp_path):
    assert verify_bundle(trained.bundle) == []
    assert trained.remarks == (  # all that were made, not those up to the best validation
        "only 80 steps of training, few to learn from: a larger schedule.steps makes more of the model",
    )
    assert [score.case for score in trained.scores["held_back"]] == ["ball_04", "ball_09"]
    for name in (
        "plan.yaml",
        "run.json",
        "steps.csv",
        "validation.csv",
        "checkpoints/last.pt",
        "checkpoints/best.pt",
        "curves.png",
        "overlays.png",
        "report/report.json",
        "report/cases.csv",
        "report/confusion.png",
        "report/borders.png",
        "report/worst_cases.png",
    ):
        assert (trained.run / name).is_file(), name
    assert any((trained.run / "tensorboard").iterdir())
    image = decathlon / "imagesTr/ball_04.nii.gz"
    result = medseg.infer(image, model=trained.run / "bundle", backend="openvino", precision="f32")
    assert set(np.unique(result.labels.data)) <= {0, 1, 4}
    again = medseg.infer(image, model=trained.run / "bundle", backend="torch", precision="f32")
    assert (result.labels.data == again.labels.data).mean() > 0.999


@QUIET
def test_training_learns(trained):
    scores = [score.mean for score in trained.scores["held_back"]]
    assert min(scores) > 0.5  # an untrained network of this size stays under 0.15


@QUIET
def test_a_stopped_run_resumes_to_the_very_same_losses(decathlon, tmp_path):
    settings = (*SMALL, "schedule.steps=14")

    def stop(status: medseg.training.Status) -> None:
        if status.step == 10:
            raise KeyboardInterrupt

    medseg.train(decathlon, tmp_path / "undisturbed", overrides=settings)
    with pytest.raises(KeyboardInterrupt):
        medseg.train(decathlon, tmp_path / "stopped", overrides=settings, on_status=stop)
    assert not (tmp_path / "stopped/bundle").exists()
    medseg.train(decathlon, tmp_path / "stopped", overrides=settings, resume=True)
    assert losses(tmp_path / "stopped") == losses(tmp_path / "undisturbed")
    weights = [medseg.load_model(tmp_path / run / "bundle").weights() for run in ("stopped", "undisturbed")]
    for name, value in weights[0].items():
        np.testing.assert_array_equal(value, weights[1][name])


def test_a_used_folder_is_refused_and_a_changed_plan_too(trained, decathlon, tmp_path):
    with pytest.raises(UsageError, match="--resume"):
        medseg.train(decathlon, trained.run)
    with pytest.raises(UsageError, match="differs"):
        medseg.train(decathlon, trained.run, resume=True, overrides=("schedule.steps=99",))
    with pytest.raises(UsageError, match="fold 0"):
        medseg.train(decathlon, trained.run, resume=True, fold=3)
    (tmp_path / "mine.txt").write_text("keep me")
    with pytest.raises(UsageError, match="not an empty folder"):
        medseg.train(decathlon, tmp_path)


@QUIET
def test_max_minutes_covers_the_whole_call(decathlon, tmp_path):
    started = time.monotonic()
    medseg.train(
        decathlon,
        tmp_path / "run",
        fold="all",
        max_minutes=0.75,
        overrides=(*SMALL, "schedule.steps=1000000"),
    )
    assert time.monotonic() - started < 75  # 45 asked for; a busy machine may overrun the reserve
    rates = [
        float(row["learning_rate"]) for row in csv.DictReader((tmp_path / "run/steps.csv").open(newline=""))
    ]
    # The schedule was bent to the time allowed: a million steps would still be warming up. How near to zero
    # the last rate lies depends on how many steps a busy machine makes in the seconds there are.
    assert rates[-1] < 0.3 * max(rates)


@QUIET
def test_two_dimensions_from_pictures(tmp_path):
    for folder in ("images", "labels"):
        (tmp_path / "data" / folder).mkdir(parents=True)
    generator = np.random.default_rng(0)
    for n in range(6):
        label = np.zeros((48, 40), np.uint8)
        row, column = generator.integers(8, 24, 2)
        label[row : row + 12, column : column + 12] = 255
        noise = generator.normal(80, 10, label.shape) + 100 * (label > 0)
        Image.fromarray(noise.clip(0, 255).astype(np.uint8)).save(tmp_path / f"data/images/{n}.png")
        Image.fromarray(label).save(tmp_path / f"data/labels/{n}.png")
    result = medseg.train(
        tmp_path / "data",
        tmp_path / "run",
        overrides=(
            "patch=[32,32]",
            "network.features=[4,8,8]",
            "network.strides=[[1,1],[2,2],[2,2]]",
            "network.kernel_sizes=[]",
            "network.deep_supervision=0",
            "sampling.batch_size=4",
            "schedule.steps=40",
            "optimiser.learning_rate=0.01",
            "optimiser.warmup_steps=2",
        ),
    )
    assert result.plan.dimensions == 2
    assert result.plan.class_ids == (0, 255)
    assert result.scores["validation"][0].mean > 0.8
    segmentation = medseg.infer(tmp_path / "data/images/0.png", model=tmp_path / "run/bundle")
    assert set(np.unique(segmentation.labels.data)) <= {0, 255}
    shutil.rmtree(tmp_path / "run")


def test_the_average_follows_its_formula():
    import torch

    from medseg.training.average import WeightAverage

    module = torch.nn.Linear(1, 1, bias=False)
    average = WeightAverage(module, decay=0.5)
    expected = module.weight.item()
    for n in range(1, 6):
        with torch.no_grad():
            module.weight.fill_(float(n))
        average.update()
        decay = min(0.5, (1 + n) / (10 + n))
        expected = decay * expected + (1 - decay) * n
    with average.applied():
        assert module.weight.item() == pytest.approx(expected, rel=1e-6)
    assert module.weight.item() == 5.0


@pytest.mark.parametrize(
    ("step", "fraction", "share"),
    [(0, 0.0, 0.01), (49, 0.01, 0.5), (99, 0.02, 1.0), (3, 0.025, 0.5), (3, 0.05, 1.0), (999, 1.0, 1.0)],
)
def test_the_learning_rate_follows_its_formula(step, fraction, share):
    from medseg.plans import OptimiserPlan
    from medseg.training.clock import learning_rate

    plan = OptimiserPlan(learning_rate=0.2, warmup_steps=100)
    expected = 0.2 * share * (1 + np.cos(np.pi * fraction)) / 2
    assert learning_rate(plan, step, fraction) == pytest.approx(expected, rel=1e-9, abs=1e-15)


@QUIET
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGINT to send to one process")
def test_ctrl_c_keeps_what_was_learnt(decathlon, tmp_path):
    command = [
        "train",
        str(decathlon),
        "-o",
        str(tmp_path / "run"),
        "-q",
        *SMALL,
        "schedule.steps=100000",
        "schedule.checkpoint_every=100000",
    ]
    code = (
        "import signal, sys; from medseg.cli.app import main\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "sys.exit(main(sys.argv[1:]))"
    )
    process = subprocess.Popen([sys.executable, "-c", code, *command], stderr=subprocess.PIPE, text=True)
    while process.poll() is None and not (len(losses(tmp_path / "run")) > 5):
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 130, errors
    assert "--resume" in errors
    written = max(losses(tmp_path / "run"))
    from medseg.training.checkpoints import load_checkpoint

    assert load_checkpoint(tmp_path / "run" / "checkpoints" / "last.pt")["step"] == written + 1
