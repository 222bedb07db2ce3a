"""OpenVINO: the network's ONNX file on the CPU. No torch."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from medseg.errors import ModelRefused, UsageError
from medseg.inference.backends.openvino_cache import CompiledFile, cache_folder
from medseg.inference.backends.openvino_memory import run_bytes

if TYPE_CHECKING:
    from medseg.models import ModelBundle

# The capability a processor must report for each precision.
_CAPABILITIES = {"f32": "FP32", "bf16": "BF16", "f16": "FP16"}
# Weights up to so many bytes are worth a file of the compiled network.
_CACHED_WEIGHTS = 16 << 20


class OpenVinoBackend:
    """A bundle's ``models/model.onnx``, compiled for the plan's patch, one patch at a time.

    One patch at a time is as fast on a CPU as several (measured for batches of 2 and 4 from 18 to 560 ms per
    patch: within 2 %, for 31 million parameters 3 %), and keeps the result the same whatever the number of
    windows. The network writes the logits straight into one array that every call returns again; a call
    costs what the bare request costs (measured: 0.002 ms more).
    """

    name = "openvino"
    batch_size = 1

    def __init__(self, bundle: ModelBundle, *, precision: str, threads: int, why: str) -> None:
        if bundle.onnx_path is None:
            raise UsageError(f"model {bundle.name!r} has no ONNX file: use --backend torch")
        openvino = import_openvino()
        core = openvino.Core()
        used = _precision(core, precision, bundle.precision)
        settings: dict[str, Any] = {
            # Set always: OpenVINO's own default is bfloat16 wherever the processor has it.
            "INFERENCE_PRECISION_HINT": used,
            "EXECUTION_MODE_HINT": "PERFORMANCE",
            "PERFORMANCE_HINT": "LATENCY",
            "NUM_STREAMS": 1,
            "INFERENCE_NUM_THREADS": threads,
            # Pinned threads of two processes land on the same cores: with two at once a window took 164 ms
            # pinned and 149 ms not; with one alone 75 ms either way.
            "ENABLE_CPU_PINNING": False,
        }
        if bundle.plan.network.name == "swin_unetr":
            # OpenVINO's fused attention is wrong for some sizes: for a patch of 64x96 logits were off by 0.12
            # of the largest (2026.4.1). Not fused they are torch's, and onnx's reference's, to 2e-6.
            settings["SNIPPETS_MODE"] = "DISABLE"
        cached = CompiledFile(_cache_for(bundle), _made_from(core, bundle, settings, openvino.get_version()))
        compiled = cached.load(core, settings)
        if compiled is None:
            compiled = core.compile_model(_read(core, bundle), "CPU", settings)
            cached.save(compiled)
        self._compiled = compiled
        self._run_bytes: int | None = None
        self._has_run = False
        self._request = compiled.create_infer_request()
        self._logits = np.empty(tuple(compiled.output(0).shape), dtype=np.float32)
        self._request.set_output_tensor(openvino.Tensor(self._logits, shared_memory=True))
        self.settings: Mapping[str, Any] = {
            "backend": self.name,
            "backend_version": openvino.get_version(),
            "device": "cpu",
            "device_name": core.get_property("CPU", "FULL_DEVICE_NAME"),
            "precision": used,
            "threads": int(compiled.get_property("INFERENCE_NUM_THREADS")),
            "streams": int(compiled.get_property("NUM_STREAMS")),
            "cpu_pinning": bool(compiled.get_property("ENABLE_CPU_PINNING")),
            "batch_size": self.batch_size,
            "chosen_because": why,
        }

    def __call__(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """Logits of each patch in turn; of a single patch in memory that the next call overwrites."""
        if len(batch) == 1:
            return self._one(batch)
        logits = np.empty((len(batch), *self._logits.shape[1:]), dtype=np.float32)
        for number in range(len(batch)):
            logits[number] = self._one(batch[number : number + 1])[0]
        return logits

    def _one(self, patch: NDArray[np.float32]) -> NDArray[np.float32]:
        # Shared: neither the patch nor the logits are copied.
        shared = np.ascontiguousarray(patch, dtype=np.float32)
        self._request.infer([shared], share_inputs=True, share_outputs=True)
        self._has_run = True
        return self._logits

    def activation_bytes(self) -> int:
        """Bytes of host memory that the runs take, from the first to the last: see `run_bytes`.

        0 once there was a run: the request keeps its memory.
        """
        if self._has_run:
            return 0
        if self._run_bytes is None:  # walks all layers: as long as a fifth of a small network's window
            self._run_bytes = run_bytes(self._compiled)
        return self._run_bytes


def import_openvino() -> ModuleType:
    """OpenVINO without its telemetry.

    ``import openvino`` sends usage data through the package ``openvino_telemetry`` where that is
    installed; a None in `sys.modules` makes it choose its own do-nothing stub.
    """
    if "openvino" not in sys.modules:
        sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]
    import openvino

    module: ModuleType = openvino
    return module


def _precision(core: Any, asked: str, validated: str) -> str:
    """The precision to compute in; a wish the processor cannot grant is refused, a default is not."""
    capabilities = core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    wanted = validated if asked == "auto" else asked
    if wanted == "auto":
        return "f32"
    if _CAPABILITIES[wanted] in capabilities:
        return wanted
    if asked != "auto":
        able = [name for name, capability in _CAPABILITIES.items() if capability in capabilities]
        raise UsageError(f"precision {asked!r}: this processor computes in {', '.join(able)}")
    return "f32"


def _cache_for(bundle: ModelBundle) -> Path | None:
    """Where the compiled network is kept: only of a small model, for others it is no gain.

    Measured from reading to compiled: 0.087 s without, 0.051 s with the cache for the built-in model (6 MB of
    weights); 0.184 s without and 0.257 s with it for one of 62 MB, whose file holds them in float32.
    """
    return cache_folder() if bundle.weights_path.stat().st_size <= _CACHED_WEIGHTS else None


def _made_from(core: Any, bundle: ModelBundle, settings: dict[str, Any], version: str) -> dict[str, Any]:
    """What decides the compiled network."""
    processor = [core.get_property("CPU", name) for name in ("FULL_DEVICE_NAME", "OPTIMIZATION_CAPABILITIES")]
    return {
        "bundle": bundle.hash,
        "patch": bundle.plan.patch,
        "settings": settings,
        "openvino": version,
        "processor": processor,
    }


def _read(core: Any, bundle: ModelBundle) -> Any:
    """The network with its input fixed to one patch: a fixed size is compiled to faster code."""
    plan = bundle.plan
    wanted = [1, plan.input_channels, *plan.patch]
    try:
        model = core.read_model(bundle.onnx_path)
        _check_input(model, wanted, bundle.name)
        model.reshape(wanted)
        outputs = [list(output.get_partial_shape().to_shape()) for output in model.outputs]
    except RuntimeError as error:  # all that OpenVINO raises
        raise ModelRefused(f"model {bundle.name!r}: OpenVINO cannot read its ONNX file: {error}") from error
    expected = [1, len(plan.output_names), *plan.patch]
    if outputs != [expected]:
        raise ModelRefused(
            f"model {bundle.name!r}: its ONNX file gives {outputs}, its plan promises [{expected}]"
        )
    return model


def _check_input(model: Any, wanted: list[int], name: str) -> None:
    """One input, each of whose sizes is free or the one wanted.

    OpenVINO would reshape a network of fixed sizes to others as well, constants inside it or not.
    """
    shapes = [input_.get_partial_shape() for input_ in model.inputs]
    if len(shapes) != 1:
        raise ModelRefused(f"model {name!r}: its ONNX file takes {len(shapes)} inputs, expected 1")
    sizes = list(shapes[0]) if shapes[0].rank.is_static else []
    if sizes and (
        len(sizes) != len(wanted)
        or any(size.is_static and size.get_length() != n for size, n in zip(sizes, wanted, strict=True))
    ):
        found = ", ".join(str(size.get_length()) if size.is_static else "any" for size in sizes)
        raise ModelRefused(
            f"model {name!r}: its ONNX file takes input of [{found}], its plan needs {wanted} "
            "(batch, channels, patch): export it again with the plan's patch, or with free sizes"
        )
