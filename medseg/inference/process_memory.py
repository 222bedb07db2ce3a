"""What this process takes of the machine's memory, and what is left, as the system tells."""

from __future__ import annotations

import os
import sys
from pathlib import Path

_STATUS = Path("/proc/self/status")
_MEMINFO = Path("/proc/meminfo")
_CGROUP = Path("/sys/fs/cgroup")


def used_memory() -> int:
    """Bytes of main memory that this process holds now; at its peak so far where no system call tells."""
    if _STATUS.is_file():
        return _kibibytes(_STATUS, "VmRSS")
    if sys.platform == "win32":
        return _windows_memory()[0]
    return peak_memory()


def peak_memory() -> int:
    """The most bytes of main memory that this process has held so far."""
    if _STATUS.is_file():
        return _kibibytes(_STATUS, "VmHWM")
    if sys.platform == "win32":
        return _windows_memory()[1]
    import resource

    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024  # macOS counts in bytes


def available_memory() -> int | None:
    """Bytes that could still be taken without swapping, within the container's limit; None if unknown."""
    if not _MEMINFO.is_file():
        return None
    free = _kibibytes(_MEMINFO, "MemAvailable")
    limit, used, parts = (_CGROUP / f"memory.{name}" for name in ("max", "current", "stat"))
    if limit.is_file() and used.is_file() and parts.is_file():
        text = limit.read_text(encoding="ascii").strip()
        if text != "max":
            # Files that were read long ago count as used, though they would make room.
            reclaimable = dict(line.split() for line in parts.read_text(encoding="ascii").splitlines())
            taken = int(used.read_text(encoding="ascii")) - int(reclaimable.get("inactive_file", 0))
            free = min(free, max(0, int(text) - taken))
    return free


def _kibibytes(path: Path, field: str) -> int:
    for line in path.read_text(encoding="ascii", errors="replace").splitlines():
        name, _, value = line.partition(":")
        if name == field:
            return int(value.split()[0]) * 1024
    raise OSError(f"{path} has no line {field}")


def _windows_memory() -> tuple[int, int]:
    """Working set now and at its peak."""
    import ctypes

    class Counters(ctypes.Structure):
        _fields_ = (
            ("cb", ctypes.c_uint32),
            ("page_faults", ctypes.c_uint32),
            *(
                (name, ctypes.c_size_t)
                for name in ("peak", "now", "a", "b", "c", "d", "pagefile", "peak_pagefile")
            ),
        )

    counters = Counters(cb=ctypes.sizeof(Counters))
    kernel = ctypes.windll.kernel32  # type: ignore[attr-defined,unused-ignore]
    kernel.GetCurrentProcess.restype = ctypes.c_void_p
    done = kernel.K32GetProcessMemoryInfo(
        ctypes.c_void_p(kernel.GetCurrentProcess()), ctypes.byref(counters), counters.cb
    )
    if not done:
        raise OSError(f"GetProcessMemoryInfo failed in process {os.getpid()}")
    return int(counters.now), int(counters.peak)
