"""torch: the network built from its plan, on a GPU or the CPU."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from medseg.errors import ModelRefused, UsageError
from medseg.networks import build_network, load_tensors

if TYPE_CHECKING:
    from medseg.models import ModelBundle

_TYPES = {"f32": torch.float32, "bf16": torch.bfloat16, "f16": torch.float16}


class TorchBackend:
    """A bundle's plan and weights as a torch network, in channels-last memory, under autocast."""

    name = "torch"

    def __init__(
        self, bundle: ModelBundle, *, device: str, precision: str, threads: int | None, why: str
    ) -> None:
        self._device = _device(device)
        used = _precision(self._device, precision, bundle.precision)
        self._type = _TYPES[used]
        self._format = torch.channels_last if bundle.plan.dimensions == 2 else torch.channels_last_3d
        network: Any = _network(bundle)  # torch's types do not know memory_format
        self._network = network.to(device=self._device, memory_format=self._format)
        self.batch_size = int(bundle.execution.get("batch_size", 4)) if self._device.type == "cuda" else 1
        if threads is not None:
            torch.set_num_threads(threads)
        gpu = self._device.type == "cuda"
        self.settings: Mapping[str, Any] = {
            "backend": self.name,
            "backend_version": torch.__version__,
            "device": str(self._device),
            "device_name": torch.cuda.get_device_name(self._device) if gpu else "cpu",
            "precision": used,
            "threads": torch.get_num_threads(),
            "batch_size": self.batch_size,
            "chosen_because": why,
        }

    @torch.inference_mode()
    def __call__(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """Logits of a batch of patches."""
        patches = torch.from_numpy(np.ascontiguousarray(batch)).to(self._device)
        patches = patches.contiguous(memory_format=self._format)
        # Deterministic kernels and no TF32: the same settings give the same labels, bit for bit.
        with (
            torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False),
            torch.autocast(self._device.type, dtype=self._type, enabled=self._type != torch.float32),
        ):
            logits = self._network(patches)
        result: NDArray[np.float32] = logits.float().cpu().numpy()
        return np.ascontiguousarray(result)


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


def _network(bundle: ModelBundle) -> torch.nn.Module:
    network = build_network(bundle.plan).eval()
    try:
        load_tensors(network, bundle.weights())
    except ModelRefused as error:
        raise ModelRefused(f"model {bundle.name!r}: {error}") from error
    return network
