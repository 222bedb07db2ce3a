"""One contract for all backends, on one small U-Net; and what each refuses."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from medseg.errors import UsageError
from medseg.inference import backends as room
from medseg.inference import open_backend, predict_logits
from medseg.labels import LabelSet
from medseg.models import ModelBundle, Scope, save_bundle
from medseg.networks import build_network, tensors_of
from medseg.plans import Plan, labels_as_specs
from medseg.training.onnx_export import onnx_builder
from tests.threshold_model import save_threshold_model

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> ModelBundle:
    """A small U-Net with random weights, kept in float16."""
    plan = Plan.checked(
        {
            "name": "small",
            "dimensions": 3,
            "channels": [{"name": "t1"}, {"name": "flair"}],
            "labels": labels_as_specs(LabelSet.from_names({4: "a", 9: "b"})),
            "patch": (24, 16, 20),
            "network": {
                "features": (6, 10, 12),
                "strides": ((1, 1, 1), (2, 2, 2), (2, 2, 1)),
                "deep_supervision": 1,
            },
        }
    )
    torch.manual_seed(1)
    network = build_network(plan).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    tensors = {name: value.astype(np.float16) for name, value in tensors_of(network).items()}
    return save_bundle(
        tmp_path_factory.mktemp("bundle") / "small",
        plan=plan,
        weights=tensors,
        build_onnx=onnx_builder(network, plan, tensors),
        scope=Scope(dimensions=3, description="anything"),
        precision="f32",
        execution={},
        training={},
        scores={},
        card="# Small\n",
        licence="CC0\n",
    )


@pytest.fixture(scope="module")
def patches() -> NDArray[np.float32]:
    return np.random.default_rng(5).normal(size=(3, 2, 24, 16, 20)).astype(np.float32)


@pytest.fixture(scope="module")
def expected(bundle: ModelBundle, patches: NDArray[np.float32]) -> NDArray[np.float32]:
    """torch's own float32 result, without our backend."""
    network = build_network(bundle.plan).eval()
    state = network.state_dict()
    for name, value in bundle.weights().items():
        state[name].copy_(torch.from_numpy(value.astype(np.float32)))
    with torch.inference_mode():
        return network(torch.from_numpy(patches)).numpy()


@pytest.mark.parametrize("name", ["openvino", "torch"])
class TestEveryBackend:
    def test_float32_logits_are_torchs(
        self, name: str, bundle: ModelBundle, patches: NDArray[np.float32], expected: NDArray[np.float32]
    ) -> None:
        run = open_backend(bundle, backend=name, device="cpu", precision="f32")
        found = run(patches)
        assert found.dtype == np.float32
        assert found.flags.c_contiguous
        np.testing.assert_allclose(found, expected, atol=1e-3 * np.abs(expected).max())

    def test_same_input_same_bits_and_results_do_not_share_memory(
        self, name: str, bundle: ModelBundle, patches: NDArray[np.float32]
    ) -> None:
        run = open_backend(bundle, backend=name, device="cpu", precision="f32", threads=2)
        first = run(patches[:1])
        kept = first.copy()
        run(patches[1:2])
        np.testing.assert_array_equal(first, kept)
        np.testing.assert_array_equal(run(patches[:1]), kept)
        again = open_backend(bundle, backend=name, device="cpu", precision="f32", threads=2)
        np.testing.assert_array_equal(again(patches[:1]), kept)

    def test_the_input_may_be_a_view_and_is_not_changed(
        self, name: str, bundle: ModelBundle, patches: NDArray[np.float32]
    ) -> None:
        run = open_backend(bundle, backend=name, device="cpu", precision="f32")
        view = patches[:1, :, ::-1]
        before = view.copy()
        np.testing.assert_allclose(run(view), run(np.ascontiguousarray(view)), atol=1e-6)
        np.testing.assert_array_equal(view, before)

    def test_settings_name_what_decides_the_result(self, name: str, bundle: ModelBundle) -> None:
        run = open_backend(bundle, backend=name, device="cpu", threads=1)
        assert run.name == name
        assert run.settings["precision"] == "f32"  # what the bundle was validated in
        assert run.settings["threads"] == 1
        assert run.settings["device"] == "cpu"
        assert run.settings["batch_size"] == run.batch_size
        assert {"backend", "backend_version", "device_name", "chosen_because"} <= set(run.settings)

    def test_a_whole_scan_runs_through(self, name: str, bundle: ModelBundle) -> None:
        run = open_backend(bundle, backend=name, device="cpu", precision="f32")
        data = np.random.default_rng(6).normal(size=(2, 30, 10, 33)).astype(np.float32)
        logits = predict_logits(data, bundle.plan, run, batch_size=run.batch_size)
        assert logits.shape == (3, 30, 10, 33)
        assert np.isfinite(logits).all()


def test_bfloat16_is_close_and_is_recorded(
    bundle: ModelBundle, patches: NDArray[np.float32], expected: NDArray[np.float32]
) -> None:
    run = open_backend(bundle, backend="torch", device="cpu", precision="bf16")
    assert run.settings["precision"] == "bf16"
    found = run(patches)
    assert np.abs(found - expected).max() > 0
    np.testing.assert_allclose(found, expected, atol=0.05 * np.abs(expected).max())


def test_openvino_never_takes_its_own_default_precision(
    bundle: ModelBundle, patches: NDArray[np.float32]
) -> None:
    from medseg.inference.backends.openvino import import_openvino

    able = import_openvino().Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    if "BF16" not in able:
        with pytest.raises(UsageError, match="precision 'bf16': this processor computes in f32"):
            open_backend(bundle, backend="openvino", precision="bf16")
        return
    exact = open_backend(bundle, backend="openvino", precision="f32")
    rounded = open_backend(bundle, backend="openvino", precision="bf16")
    assert (exact.settings["precision"], rounded.settings["precision"]) == ("f32", "bf16")
    assert np.abs(exact(patches) - rounded(patches)).max() > 1e-3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"backend": "tensorrt"}, "backend 'tensorrt': expected one of auto, openvino, torch"),
        ({"device": "gpu"}, "device 'gpu': expected auto, cpu, cuda or cuda:N"),
        ({"device": "cuda:x"}, "device 'cuda:x'"),
        ({"precision": "f64"}, "precision 'f64': expected one of auto, f32, bf16, f16"),
        ({"threads": 0}, "threads 0: expected 1 or more"),
        ({"backend": "openvino", "device": "cuda"}, "openvino runs on the CPU.*--backend torch"),
        (
            {"backend": "torch", "device": "cpu", "precision": "f16"},
            "precision 'f16': cpu computes in bf16, f32",
        ),
    ],
)
def test_what_cannot_be_is_refused_with_what_can(
    bundle: ModelBundle, options: dict[str, object], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        open_backend(bundle, **options)  # type: ignore[arg-type]


@pytest.mark.skipif(torch.cuda.is_available(), reason="this computer has a GPU")
def test_a_gpu_that_is_not_there_is_refused(bundle: ModelBundle) -> None:
    with pytest.raises(UsageError, match="finds no usable NVIDIA GPU; use --device cpu"):
        open_backend(bundle, device="cuda")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU in this computer")
@pytest.mark.parametrize("precision", ["f32", "bf16", "f16"])
def test_the_gpu_agrees_with_the_cpu(
    bundle: ModelBundle, patches: NDArray[np.float32], expected: NDArray[np.float32], precision: str
) -> None:
    run = open_backend(bundle, device="cuda", precision=precision)
    found = run(patches)
    tolerance = 1e-3 if precision == "f32" else 0.05
    np.testing.assert_allclose(found, expected, atol=tolerance * np.abs(expected).max())
    np.testing.assert_array_equal(run(patches), found)


def test_without_an_nvidia_driver_auto_is_openvino_and_torch_is_not_imported(tmp_path: Path) -> None:
    if room.nvidia_driver_present():
        pytest.skip("this computer has an NVIDIA driver")
    save_threshold_model(tmp_path / "model")
    seen = _in_a_new_process(
        f"""
        import sys
        from medseg.inference import open_backend
        from medseg.models import load_model
        backend = open_backend(load_model({str(tmp_path / "model")!r}))
        print(backend.name, sorted({{"torch", "monai", "openvino_telemetry"}} & set(
            name for name, module in sys.modules.items() if module is not None)))
        """
    )
    assert seen.strip() == "openvino []"


def test_opening_and_running_openvino_tries_no_connection(tmp_path: Path) -> None:
    # The telemetry of `import openvino` connects from a forked process, and keeps quiet where CI is set.
    save_threshold_model(tmp_path / "model")
    seen = _in_a_new_process(
        f"""
        import os, sys, threading

        os.environ.pop("CI", None)
        os.environ["HOME"] = {str(tmp_path)!r}
        tried = []
        processes = ("os.fork", "os.forkpty", "os.posix_spawn", "os.spawn", "os.system", "subprocess.Popen")
        def watch(event, arguments):
            if event.startswith("socket.") or event in processes:
                tried.append(event)
                raise PermissionError(event)
        sys.addaudithook(watch)

        import numpy as np
        from medseg.inference import open_backend
        from medseg.models import load_model
        backend = open_backend(load_model({str(tmp_path / "model")!r}), backend="openvino")
        backend(np.zeros((1, 1, 16, 12, 8), np.float32))
        for thread in threading.enumerate():
            if thread is not threading.main_thread():
                thread.join(10)
        print(tried)
        """
    )
    assert seen.strip() == "[]"


def _in_a_new_process(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
