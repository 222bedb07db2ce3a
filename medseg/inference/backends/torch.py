"""torch: the network built from its plan, on a GPU or the CPU."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from medseg.errors import DeviceOutOfMemory, ModelRefused, UsageError
from medseg.inference.backends.torch_memory import run_bytes
from medseg.networks import build_network, load_tensors
from medseg.plans.architectures import ARCHITECTURES, total_strides

if TYPE_CHECKING:
    from medseg.models import ModelBundle

_TYPES = {"f32": torch.float32, "bf16": torch.bfloat16, "f16": torch.float16}
_LOWERED = (torch.nn.modules.conv._ConvNd, torch.nn.Linear)  # what autocast computes in fewer bits


class TorchBackend:
    """A bundle's plan and weights as a torch network, under autocast.

    On a GPU in channels-last memory, and nothing waits for it: while it computes on one batch the next
    is copied. On the CPU in torch's own order: oneDNN brings tensors into the order of its kernels by
    itself (measured with the order's cost in it: channels-last took 1.1 to 1.4 times as long for U-Nets of
    16 to 320 features, 0.92 times for the built-in model in float32).

    ``compile`` hands the network to torch.compile. On two cores that gained 8 to 10 % in float32 and cost 9
    to 18 s; it is there for GPUs and long runs.
    """

    name = "torch"

    def __init__(
        self,
        bundle: ModelBundle,
        *,
        device: str,
        precision: str,
        threads: int,
        why: str,
        compile: bool = False,
    ) -> None:
        self._device = _device(device)
        self._on_gpu = self._device.type == "cuda"
        used = _precision(self._device, precision, bundle.precision)
        self._type = _TYPES[used]
        self._plan = bundle.plan
        flat = bundle.plan.dimensions == 2
        last = torch.channels_last if flat else torch.channels_last_3d
        self._format = last if self._on_gpu else torch.contiguous_format
        torch.set_num_threads(threads)
        network: Any = _network(bundle, self._type)  # torch's types do not know memory_format
        self._network: Any = network.to(device=self._device, memory_format=self._format)
        if compile:
            self._network = torch.compile(self._network, dynamic=False)
        self.batch_size = int(bundle.execution.get("batch_size", 4)) if self._on_gpu else 1
        self._feed = _Feed(self._device) if self._on_gpu else None
        self._host: torch.Tensor | None = None
        self._run_bytes: int | None = None
        self.settings: Mapping[str, Any] = {
            "backend": self.name,
            "backend_version": torch.__version__,
            "device": str(self._device),
            "device_name": torch.cuda.get_device_name(self._device) if self._on_gpu else "cpu",
            "precision": used,
            "threads": torch.get_num_threads(),
            "compiled": compile,
            "batch_size": self.batch_size,
            "chosen_because": why,
        }

    def __call__(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """Logits of a batch of patches.

        Raises
        ------
        DeviceOutOfMemory
            If the GPU's memory ran out.
        """
        logits = self.logits(batch)
        if self._on_gpu:
            with device_errors():
                logits = self._on_host(logits)
        result: NDArray[np.float32] = logits.numpy()
        return result

    def logits(self, batch: NDArray[np.float32]) -> torch.Tensor:
        """Logits (B, K, *patch), float32, on the backend's device, which may not have computed them yet.

        Raises
        ------
        DeviceOutOfMemory
            If the GPU's memory ran out.
        """
        patches = torch.from_numpy(np.ascontiguousarray(batch, dtype=np.float32))
        with device_errors():
            return self._run(patches if self._feed is None else self._feed(patches))

    def device_memory(self) -> tuple[int, int] | None:
        """Bytes of the GPU's memory that torch can still take, and all of it; None on the CPU."""
        if not self._on_gpu:
            return None
        free, total = torch.cuda.mem_get_info(self._device)
        held = torch.cuda.memory_reserved(self._device) - torch.cuda.memory_allocated(self._device)
        return free + held, total

    def activation_bytes(self) -> int:
        """Bytes that a call takes at its peak beyond the weights: on the GPU where that computes, else of
        host memory. Found by running the network: on the GPU one full batch, on the CPU a small patch.
        """
        if self._run_bytes is None:
            self._run_bytes = self._probe_gpu() if self._on_gpu else self._probe_cpu()
        return self._run_bytes

    @torch.inference_mode()
    def _run(self, patches: torch.Tensor) -> torch.Tensor:
        patches = patches.contiguous(memory_format=self._format)
        # Deterministic kernels and no TF32: the same settings give the same labels, bit for bit.
        with (
            torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False),
            torch.autocast(self._device.type, dtype=self._type, enabled=self._type != torch.float32),
        ):
            logits: torch.Tensor = self._network(patches)
        return logits.float().contiguous()

    def _on_host(self, logits: torch.Tensor) -> torch.Tensor:
        """The logits in pinned memory, which copies fastest and which the next call overwrites."""
        if self._host is None or self._host.shape[0] < logits.shape[0]:
            self._host = torch.empty(logits.shape, pin_memory=True)
        host = self._host[: logits.shape[0]]
        host.copy_(logits)
        return host

    def _probe_cpu(self) -> int:
        plan = self._plan
        steps = list(total_strides(plan.network))
        if ARCHITECTURES[plan.network.name].fixed_size:
            # Attention grows with the window as a small patch does not show: the plan's own patch is run, as
            # `run_bytes` doubles the axis that is halved here.
            steps = list(plan.patch)
            steps[int(np.argmax(steps))] //= 2
        return run_bytes(self._run, plan.input_channels, plan.patch, steps)

    def _probe_gpu(self) -> int:
        before = torch.cuda.memory_allocated(self._device)
        torch.cuda.reset_peak_memory_stats(self._device)
        self.logits(np.zeros((self.batch_size, self._plan.input_channels, *self._plan.patch), np.float32))
        return torch.cuda.max_memory_allocated(self._device) - before


class _Feed:
    """Batches to the GPU through two pinned buffers, each copied while the batch before it is computed."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._stream: Any = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        self._buffers: list[torch.Tensor | None] = [None, None]
        self._copied: list[Any] = [torch.cuda.Event() for _ in range(2)]  # type: ignore[no-untyped-call]
        self._turn = 0

    def __call__(self, patches: torch.Tensor) -> torch.Tensor:
        self._turn = 1 - self._turn
        buffer, copied = self._buffers[self._turn], self._copied[self._turn]
        copied.synchronize()  # of two batches before
        if buffer is None or buffer.shape != patches.shape:
            buffer = self._buffers[self._turn] = torch.empty(patches.shape, pin_memory=True)
        buffer.copy_(patches)
        with torch.cuda.stream(self._stream):
            there = buffer.to(self._device, non_blocking=True)
            copied.record(self._stream)
        computing = torch.cuda.current_stream(self._device)
        computing.wait_event(copied)
        there.record_stream(computing)
        return there


@contextmanager
def device_errors() -> Iterator[None]:
    """A GPU's out-of-memory, and nothing else, as `DeviceOutOfMemory`."""
    try:
        yield
    except torch.cuda.OutOfMemoryError as error:
        raise DeviceOutOfMemory(
            f"the GPU's memory ran out: close what else uses it, or use --device cpu ({error})"
        ) from error


def _device(name: str) -> torch.device:
    if not name.startswith("cuda"):
        return torch.device("cpu")
    if not torch.cuda.is_available():
        raise UsageError(
            f"device {name!r}: torch {torch.__version__} finds no usable NVIDIA GPU; use --device cpu"
        )
    device = torch.device(name)
    if (device.index or 0) >= torch.cuda.device_count():
        raise UsageError(f"device {name!r}: there are {torch.cuda.device_count()} GPU(s), numbered from 0")
    return device


def _precision(device: torch.device, asked: str, validated: str) -> str:
    """The precision to compute in; a wish the device cannot grant is refused, a default is not."""
    wanted = validated if asked == "auto" else asked
    if wanted == "auto":
        return "f32"
    able = {"f32"} | ({"bf16"} if device.type == "cpu" else {"f16"})
    if device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False):
        able.add("bf16")
    if wanted in able:
        return wanted
    if asked != "auto":
        raise UsageError(f"precision {asked!r}: {device.type} computes in {', '.join(sorted(able))}")
    return "f32"


def _network(bundle: ModelBundle, kind: torch.dtype) -> torch.nn.Module:
    network = build_network(bundle.plan).eval().requires_grad_(False)
    try:
        load_tensors(network, bundle.weights())
    except ModelRefused as error:
        raise ModelRefused(f"model {bundle.name!r}: {error}") from error
    # Autocast would round these weights anew in every call.
    for layer in network.modules():
        if isinstance(layer, _LOWERED):
            layer.to(kind)
    return network
