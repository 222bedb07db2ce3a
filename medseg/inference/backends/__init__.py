"""Backends: what runs a network on one batch of patches. One small interface, one file each.

torch is imported only where it will be used: a machine without a GPU never loads it to infer.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, get_args, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from medseg.errors import MissingExtra, UsageError
from medseg.plans import Precision

if TYPE_CHECKING:
    from medseg.models import ModelBundle

NAMES = ("auto", "openvino", "torch")


class Backend(Protocol):
    """A network ready to run.

    ``settings`` says everything that decides the result bit by bit (backend, version, device,
    precision, threads, batch) and why this backend was chosen; it goes into the provenance.
    ``batch_size`` is how many patches a call should get.
    """

    name: str
    batch_size: int
    settings: Mapping[str, Any]

    def __call__(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """Patches (B, C, *patch), float32, to logits (B, K, *patch), float32.

        The logits may lie in memory that the next call overwrites.
        """
        ...

    def activation_bytes(self) -> int:
        """Bytes of host memory that a call takes at its peak, beyond what the backend holds already.

        Activations, workspace, and the logits.
        """
        ...


@runtime_checkable
class DeviceBackend(Backend, Protocol):
    """A backend whose logits can stay where they were computed, as torch tensors."""

    def device_memory(self) -> tuple[int, int] | None:
        """Free and total bytes of the GPU; None on the CPU."""
        ...

    def logits(self, batch: NDArray[np.float32]) -> Any:
        """As a call, but the logits are a float32 tensor on the backend's device."""
        ...


def open_backend(
    bundle: ModelBundle,
    *,
    backend: str = "auto",
    device: str = "auto",
    precision: str = "auto",
    threads: int | None = None,
    compile: bool = False,
) -> Backend:
    """Load a bundle's network into a backend.

    Parameters
    ----------
    bundle
        A model from `medseg.load_model`.
    backend
        ``"openvino"`` (CPU), ``"torch"`` (CPU, CUDA) or ``"auto"``: torch where an NVIDIA GPU can be
        used, else OpenVINO.
    device
        ``"auto"``, ``"cpu"``, ``"cuda"`` or ``"cuda:N"``.
    precision
        ``"f32"``, ``"bf16"``, ``"f16"`` or ``"auto"``: the precision the bundle was validated for
        where the device computes in it, else float32.
    threads
        CPU threads; None takes every processor this process may use.
    compile
        Hand a torch network to torch.compile, which wants a C++ compiler and up to a minute.

    Raises
    ------
    UsageError
        For a name that is none of these, or a combination that cannot be.
    MissingExtra
        If torch is needed and not installed.
    ModelRefused
        If the bundle's tensors are not its plan's network.
    """
    _check_names(backend, device, precision, threads)
    name, on, why = _choose(bundle, backend, device)
    if compile and name != "torch":
        raise UsageError("compile is for torch: use --backend torch (OpenVINO compiles every network anyway)")
    if name == "torch":
        from medseg.inference.backends.torch import TorchBackend

        return TorchBackend(
            bundle,
            device=on,
            precision=precision,
            threads=threads or usable_processors(),
            why=why,
            compile=compile,
        )
    from medseg.inference.backends.openvino import OpenVinoBackend

    return OpenVinoBackend(bundle, precision=precision, threads=threads or usable_processors(), why=why)


def usable_processors() -> int:
    """Processors this process may use: by its affinity mask, and by its container's quota on Linux."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = Path("/sys/fs/cgroup/cpu.max")
    if quota.is_file():
        limit, period = quota.read_text(encoding="ascii").split()
        if limit != "max":
            count = min(count, max(1, int(limit) // int(period)))
    return count


def gpu_is_used(bundle: ModelBundle, backend: str = "auto", device: str = "auto") -> bool:
    """Whether `open_backend` would take a GPU. Without an NVIDIA driver torch is not imported for it."""
    return _choose(bundle, backend, device)[1].startswith("cuda")


def nvidia_driver_present() -> bool:
    """Whether an NVIDIA driver is loaded. Costs nothing, where asking torch costs its import."""
    if sys.platform == "win32":
        return Path(os.environ.get("SYSTEMROOT", r"C:\Windows"), "System32", "nvcuda.dll").is_file()
    return (
        Path("/proc/driver/nvidia/version").exists()
        or Path("/dev/nvidiactl").exists()
        or Path("/dev/dxg").exists()
    )


def _check_names(backend: str, device: str, precision: str, threads: int | None) -> None:
    if backend not in NAMES:
        raise UsageError(f"backend {backend!r}: expected one of {', '.join(NAMES)}")
    if precision not in get_args(Precision):
        raise UsageError(f"precision {precision!r}: expected one of {', '.join(get_args(Precision))}")
    kind, _, number = device.partition(":")
    if kind not in ("auto", "cpu", "cuda") or (":" in device and not (kind == "cuda" and number.isdecimal())):
        raise UsageError(f"device {device!r}: expected auto, cpu, cuda or cuda:N")
    if threads is not None and threads < 1:
        raise UsageError(f"threads {threads}: expected 1 or more")
    if backend == "openvino" and kind == "cuda":
        raise UsageError(f"backend openvino runs on the CPU, not on {device!r}: use --backend torch")


def _choose(bundle: ModelBundle, backend: str, device: str) -> tuple[str, str, str]:
    """Backend, device, and the reason for both."""
    if backend == "openvino":
        return "openvino", "cpu", "asked for"
    if backend == "torch" or device.startswith("cuda"):
        _need_torch()
        if device != "auto":
            return "torch", device, "asked for"
        gpu = nvidia_driver_present() and _cuda_works()
        return "torch", "cuda" if gpu else "cpu", "asked for; a GPU is there" if gpu else "asked for; no GPU"
    if device == "auto" and nvidia_driver_present() and find_spec("torch") is not None and _cuda_works():
        return "torch", "cuda", "a GPU is there"
    if bundle.onnx_path is None:
        _need_torch()
        return "torch", "cpu", "the model has no ONNX file"
    return "openvino", "cpu", "CPU asked for" if device == "cpu" else "no GPU that an installed torch can use"


def _cuda_works() -> bool:
    import torch

    return torch.cuda.is_available()


def _need_torch() -> None:
    if find_spec("torch") is None:
        raise MissingExtra(
            "torch is not installed: pip install 'medseg[train]', or use --backend openvino --device cpu"
        )
