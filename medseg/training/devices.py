"""Which device a training runs on, how much memory it has, which precision it computes fast in."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Literal

import torch

from medseg.errors import UsageError
from medseg.plans import Precision

_GIB = 1024**3
_MOST_CPU_MEMORY = 12 * _GIB


@dataclass(frozen=True, slots=True)
class Numbers:
    """A precision as people and as lightning-fabric call it."""

    name: str
    fabric: Literal["32-true", "bf16-mixed", "16-mixed"]


F32, BF16, F16 = Numbers("f32", "32-true"), Numbers("bf16", "bf16-mixed"), Numbers("f16", "16-mixed")


@dataclass(frozen=True, slots=True)
class Device:
    """``kind`` cpu or cuda, the GPU's number if one was named, memory to plan with in bytes."""

    kind: Literal["cpu", "cuda"]
    index: int | None
    memory_bytes: int
    description: str

    @property
    def torch_device(self) -> torch.device:
        """The same for torch."""
        return torch.device("cpu") if self.kind == "cpu" else torch.device("cuda", self.index or 0)

    def precision(self, wanted: Precision) -> Numbers:
        """What to train in: ``auto`` is bfloat16 where the device has it in hardware, else float32."""
        named = {"f32": F32, "bf16": BF16, "f16": F16}
        if wanted == "f16" and self.kind == "cpu":
            raise UsageError("precision f16: a CPU trains in f32 or bf16")
        if wanted != "auto":
            return named[wanted]
        if self.kind == "cuda":
            return BF16 if torch.cuda.is_bf16_supported(including_emulation=False) else F16
        return BF16 if _cpu_has_bf16() else F32


def choose_device(name: str) -> Device:
    """``auto``, ``cpu``, ``cuda`` or ``cuda:N``.

    Raises
    ------
    UsageError
        If there is no such device.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cpu":
        return Device("cpu", None, min(_MOST_CPU_MEMORY, _free_memory() // 2), f"CPU, {os.cpu_count()} cores")
    kind, _, number = name.partition(":")
    if kind != "cuda" or (number and not number.isdigit()):
        raise UsageError(f"device {name!r}: expected auto, cpu, cuda or cuda:N")
    if not torch.cuda.is_available():
        raise UsageError(
            f"device {name!r}: torch {torch.__version__} finds no usable NVIDIA GPU; use --device cpu"
        )
    index = int(number) if number else None
    if (index or 0) >= torch.cuda.device_count():
        raise UsageError(f"device {name!r}: there are {torch.cuda.device_count()} GPU(s), numbered from 0")
    facts = torch.cuda.get_device_properties(index or 0)
    return Device("cuda", index, int(0.85 * facts.total_memory), facts.name)


def _free_memory() -> int:
    """Free memory in bytes where the system tells, else 8 GiB."""
    try:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return 8 * _GIB


def _cpu_has_bf16() -> bool:
    # Private, but the only way torch tells; where it is gone float32 is right as well, only slower.
    has = (getattr(torch.cpu, name, None) for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"))
    return any(ask() for ask in has if ask is not None)
