"""What a backend says its runs will take, against what a process of its own then takes."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from medseg.labels import LabelSet
from medseg.models import Scope, save_bundle
from medseg.networks import build_network, tensors_of
from medseg.plans import Plan, labels_as_specs
from medseg.training.onnx_export import onnx_builder

ROOT = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/clear_refs").exists(), reason="only Linux sets the peak of a process back"
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A U-Net whose largest tensor takes 57 MB, traced at a smaller patch."""
    values = {
        "name": "medium",
        "dimensions": 3,
        "channels": [{"name": "t1"}],
        "labels": labels_as_specs(LabelSet.from_names({1: "a", 2: "b"})),
        "patch": (96, 96, 96),
        "network": {
            "features": (16, 32, 48),
            "strides": ((1, 1, 1), (2, 2, 2), (2, 2, 2)),
            "deep_supervision": 0,
        },
    }
    plan = Plan.checked(values)
    network = build_network(plan).eval()
    weights = tensors_of(network)
    return save_bundle(
        tmp_path_factory.mktemp("bundle") / "medium",
        plan=plan,
        weights=weights,
        build_onnx=onnx_builder(network, plan.model_copy(update={"patch": (16, 16, 16)}), weights),
        scope=Scope(dimensions=3, description="anything"),
        precision="f32",
        execution={},
        training={},
        scores={},
        card="# Medium\n",
        licence="CC0\n",
    ).path


@pytest.mark.parametrize("name", ["openvino", "torch"])
def test_the_memory_of_a_run_is_foretold_within_a_fifth(name: str, folder: Path) -> None:
    predicted, measured = _predicted_and_measured(name, folder)
    assert predicted == pytest.approx(measured, rel=0.2)


def _predicted_and_measured(name: str, folder: Path) -> tuple[int, int]:
    code = f"""
        import numpy as np
        from pathlib import Path
        from medseg.inference.backends import open_backend
        from medseg.models import load_model

        def kilobytes(what):
            lines = Path("/proc/self/status").read_text().splitlines()
            return int(next(line for line in lines if line.startswith(what)).split()[1])

        options = dict(backend={name!r}, device="cpu", precision="f32", threads=2)
        run = open_backend(load_model({str(folder)!r}), **options)
        predicted = run.activation_bytes()
        patch = np.random.default_rng(0).normal(size=(1, 1, 96, 96, 96)).astype(np.float32)
        Path("/proc/self/clear_refs").write_text("5")  # the peak is now what is in use
        before = kilobytes("VmRSS")
        for _ in range(2):
            run(patch)
        print(predicted, 1024 * (kilobytes("VmHWM") - before))
        """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    predicted, measured = map(int, done.stdout.split())
    return predicted, measured
