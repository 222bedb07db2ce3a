"""One contract for all backends, on one small U-Net; and what each refuses."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray

from medseg.errors import ModelRefused, UsageError
from medseg.geometry import Geometry
from medseg.inference import backends as room
from medseg.inference.backends import Backend, DeviceBackend, open_backend
from medseg.inference.engine import Member, segment
from medseg.labels import LabelSet
from medseg.models import ModelBundle, Scope, save_bundle
from medseg.networks import build_network, tensors_of
from medseg.plans import Plan, labels_as_specs
from medseg.training.onnx_export import onnx_builder
from medseg.volume import Volume
from tests import threshold_model
from tests.threshold_model import OFFSETS, SLOPES, save_threshold_model, threshold_plan
from tests.threshold_model import _onnx_of_one_convolution as one_convolution

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
    return Eager(bundle)(patches)


# Largest difference to eager torch in float32, as a share of the largest logit (measured: 2e-7 and 0.008).
TOLERANCE = {"f32": 1e-5, "bf16": 0.03, "f16": 0.01}
# Least share of voxels with the label of eager torch in float32: of random weights many logits are close.
AGREE = {"f32": 0.9999, "bf16": 0.98, "f16": 0.995}
HERE = [
    ("openvino", "cpu", "f32"),
    ("openvino", "cpu", "bf16"),
    ("torch", "cpu", "f32"),
    ("torch", "cpu", "bf16"),
]
GPU = [("torch", "cuda", precision) for precision in ("f32", "bf16", "f16")]


def opened(bundle: ModelBundle, name: str, device: str, precision: str, **options: Any) -> Backend:
    """The backend, or a skipped test where this computer cannot run it."""
    if device == "cuda" and not torch.cuda.is_available():
        pytest.skip("no GPU in this computer")
    if name == "openvino" and precision == "bf16" and "BF16" not in openvino_capabilities():
        pytest.skip("this processor does not compute in bfloat16")
    return open_backend(bundle, backend=name, device=device, precision=precision, **options)


def openvino_capabilities() -> list[str]:
    from medseg.inference.backends.openvino import import_openvino

    return list(import_openvino().Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"))


@pytest.mark.parametrize(("name", "device", "precision"), [*HERE, *GPU])
class TestEveryBackend:
    @pytest.mark.parametrize("patches_at_once", [1, 3])
    def test_logits_are_eager_torchs(
        self,
        name: str,
        device: str,
        precision: str,
        patches_at_once: int,
        bundle: ModelBundle,
        patches: NDArray[np.float32],
        expected: NDArray[np.float32],
    ) -> None:
        run = opened(bundle, name, device, precision)
        found = run(patches[:patches_at_once])
        assert found.shape == (patches_at_once, 3, 24, 16, 20)
        assert found.dtype == np.float32
        assert found.flags.c_contiguous
        allowed = TOLERANCE[precision] * np.abs(expected).max()
        np.testing.assert_allclose(found, expected[:patches_at_once], rtol=0, atol=allowed)
        assert (np.abs(found - expected[:patches_at_once]).max() > 1e-4) == (precision != "f32")

    def test_same_input_same_bits(
        self, name: str, device: str, precision: str, bundle: ModelBundle, patches: NDArray[np.float32]
    ) -> None:
        run = opened(bundle, name, device, precision, threads=2)
        kept = run(patches[:1]).copy()
        run(patches[1:2])
        np.testing.assert_array_equal(run(patches[:1]), kept)
        again = opened(bundle, name, device, precision, threads=2)
        np.testing.assert_array_equal(again(patches[:1]), kept)

    def test_the_input_may_be_a_view_and_is_not_changed(
        self, name: str, device: str, precision: str, bundle: ModelBundle, patches: NDArray[np.float32]
    ) -> None:
        run = opened(bundle, name, device, precision)
        view = patches[:1, :, ::-1]
        before = view.copy()
        found = run(view).copy()
        np.testing.assert_array_equal(found, run(np.ascontiguousarray(view)))
        np.testing.assert_array_equal(view, before)

    def test_settings_name_what_decides_the_result(
        self, name: str, device: str, precision: str, bundle: ModelBundle
    ) -> None:
        run = opened(bundle, name, device, precision, threads=1)
        settings = run.settings
        assert (run.name, settings["backend"]) == (name, name)
        assert settings["precision"] == precision
        assert settings["threads"] == 1
        assert settings["device"] == device
        assert settings["batch_size"] == run.batch_size
        assert settings["chosen_because"] == "asked for"
        assert settings["backend_version"]
        assert settings["device_name"]

    def test_segments_with_the_labels_of_eager_torch(
        self, name: str, device: str, precision: str, bundle: ModelBundle
    ) -> None:
        shape = (37, 21, 30)
        scan = np.random.default_rng(6).normal(100, 20, size=(2, *shape)).astype(np.float32)
        volume = Volume(scan, Geometry(shape, np.eye(4)))
        found = segment(volume, [Member(bundle.plan, opened(bundle, name, device, precision))]).ids
        wanted = segment(volume, [Member(bundle.plan, Eager(bundle))]).ids
        assert min(np.mean(wanted == label) for label in (0, 4, 9)) > 0.05
        assert np.mean(found == wanted) >= AGREE[precision]

    def test_the_memory_of_a_run_is_told_before_the_first(
        self, name: str, device: str, precision: str, bundle: ModelBundle, patches: NDArray[np.float32]
    ) -> None:
        run = opened(bundle, name, device, precision)
        logits = 4 * run.batch_size * 3 * 24 * 16 * 20
        assert logits < run.activation_bytes() < 2**30


class Eager:
    """torch's own float32 result, without our backend."""

    name = "eager"
    batch_size = 1

    def __init__(self, bundle: ModelBundle) -> None:
        self.settings: dict[str, Any] = {}
        self._network = build_network(bundle.plan).eval()
        state = self._network.state_dict()
        for name, value in bundle.weights().items():
            state[name].copy_(torch.from_numpy(value.astype(np.float32)))

    @torch.inference_mode()
    def __call__(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        return self._network(torch.from_numpy(batch)).numpy()  # type: ignore[no-any-return]

    def activation_bytes(self) -> int:
        return 2**20


@pytest.mark.parametrize(("name", "device", "precision"), [*HERE[2:], *GPU])
def test_logits_that_stay_on_the_device_are_those_of_a_call(
    name: str, device: str, precision: str, bundle: ModelBundle, patches: NDArray[np.float32]
) -> None:
    run = opened(bundle, name, device, precision)
    assert isinstance(run, DeviceBackend)
    kept = [run.logits(patches[n : n + 1]) for n in range(3)]
    assert all(one.device.type == device for one in kept)
    for n, one in enumerate(kept):
        np.testing.assert_array_equal(one.cpu().numpy(), run(patches[n : n + 1]))
    memory = run.device_memory()
    assert memory is None if device == "cpu" else 0 < memory[0] <= memory[1]


@pytest.mark.parametrize(("name", "device", "precision"), [HERE[2], *GPU[:1]])
def test_compiled_by_torch_gives_the_same(
    name: str, device: str, precision: str, bundle: ModelBundle, patches: NDArray[np.float32]
) -> None:
    # The compiler itself is torch's business; here its simplest backend stands for it.
    with pytest.MonkeyPatch.context() as patched:
        whole = torch.compile
        patched.setattr(torch, "compile", lambda network, **how: whole(network, backend="eager", **how))
        run = opened(bundle, name, device, precision, compile=True)
    assert run.settings["compiled"] is True
    np.testing.assert_allclose(
        run(patches[:1]), opened(bundle, name, device, precision)(patches[:1]), atol=1e-5
    )


def test_openvino_is_not_compiled_by_torch(bundle: ModelBundle) -> None:
    with pytest.raises(UsageError, match="compile is for torch: use --backend torch"):
        open_backend(bundle, backend="openvino", compile=True)


class TestSizesOfAnOnnxFile:
    """The threshold model's graph takes any size; here some of its sizes are fixed."""

    def save(self, folder: Path, sizes: tuple[int | None, ...]) -> ModelBundle:
        plan = threshold_plan()
        whole = one_convolution(plan)

        def build(safetensors: Path) -> bytes:
            model = onnx.load_from_string(whole(safetensors))
            for value in (*model.graph.input, *model.graph.output):
                for axis, dim in enumerate(value.type.tensor_type.shape.dim):
                    if axis != 1 and sizes[axis] is not None:
                        dim.ClearField("dim_param")
                        dim.dim_value = sizes[axis]
            return model.SerializeToString()

        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(threshold_model, "_onnx_of_one_convolution", lambda plan: build)
            return save_threshold_model(folder / "model", plan)

    @pytest.mark.parametrize("sizes", [(None, 1, None, None, None), (None, 1, 16, 12, 8), (1, 1, 16, 12, 8)])
    def test_free_or_the_plans_own_run(self, tmp_path: Path, sizes: tuple[int | None, ...]) -> None:
        bundle = self.save(tmp_path, sizes)
        patch = np.random.default_rng(3).normal(size=(2, 1, 16, 12, 8)).astype(np.float32)
        wanted = patch * SLOPES.reshape(3, 1, 1, 1) + OFFSETS.reshape(3, 1, 1, 1)
        np.testing.assert_allclose(open_backend(bundle, backend="openvino")(patch), wanted, atol=1e-5)

    @pytest.mark.parametrize(
        ("sizes", "found"),
        [
            ((None, 1, 16, 12, 16), r"\[any, 1, 16, 12, 16\]"),
            ((4, 1, None, None, None), r"\[4, 1, any, any, any\]"),
            ((1, 1, 32, 24, 16), r"\[1, 1, 32, 24, 16\]"),
        ],
    )
    def test_others_are_refused_by_name(
        self, tmp_path: Path, sizes: tuple[int | None, ...], found: str
    ) -> None:
        bundle = self.save(tmp_path, sizes)
        message = (
            rf"model 'threshold': its ONNX file takes input of {found}, its plan needs \[1, 1, 16, 12, 8\]"
        )
        with pytest.raises(ModelRefused, match=message):
            open_backend(bundle, backend="openvino")


def test_openvino_never_takes_its_own_default_precision(
    bundle: ModelBundle, patches: NDArray[np.float32]
) -> None:
    if "BF16" not in openvino_capabilities():
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
