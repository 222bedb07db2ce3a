"""What this machine has: the document behind ``medseg doctor``. Looks, changes nothing, asks no network."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import medseg
from medseg.cli.viewer import QT_BINDINGS, qt_bindings, viewer

# What OpenVINO calls what a processor can compute in, and how medseg names it.
_PRECISIONS = {"FP32": "f32", "BF16": "bf16", "FP16": "f16"}
_CPU_FLAGS = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_tile", "amx_bf16", "asimd", "bf16", "sve")
_USER_EXTRAS = ("train", "cluster", "napari")
_GB = 1e9


def environment() -> dict[str, Any]:
    """Versions, processor, memory, devices, backends, models, viewer, and what is missing with its cure."""
    openvino, capabilities = _openvino()
    torch, gpus = _torch()
    missing = list(missing_requirements())
    return {
        "format_version": 1,
        "medseg": medseg.__version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processor": {
            "name": _processor_name(),
            "cores": os.cpu_count(),
            "usable_cores": _usable_cores(),
            "flags": _cpu_flags(),
            "precisions": [name for key, name in _PRECISIONS.items() if key in capabilities],
        },
        "memory": {"total_gb": _total_memory_gb()},
        "devices": [{"device": "cpu", "name": _processor_name()}, *gpus],
        "backends": [openvino, torch],
        "models": _models(),
        "viewer": viewer(),
        "packages": _installed(),
        "missing": missing,
        "advice": list(_advice(torch, gpus)),
    }


def missing_requirements() -> Iterator[dict[str, Any]]:
    """Per extra (None: the base) the requirements that are absent or too old, and the command that helps."""
    for extra, requirements in _requirements().items():
        faults = [fault for requirement in requirements if (fault := _fault(requirement))]
        if faults:
            target = "medseg" if extra is None else f"medseg[{extra}]"
            yield {"extra": extra, "packages": faults, "install": f"pip install '{target}'"}


def _requirements() -> dict[str | None, list[Any]]:
    """medseg's own requirements by extra, from the metadata of the installed distribution."""
    from packaging.requirements import Requirement

    try:
        lines = metadata.requires("medseg") or []
    except metadata.PackageNotFoundError:  # run from a checkout that was never installed
        return {}
    by_extra: dict[str | None, list[Any]] = {None: []} | {extra: [] for extra in _USER_EXTRAS}
    for line in lines:
        requirement = Requirement(line)
        if requirement.name == "medseg":  # the extra `all` repeats the others
            continue
        for extra, found in by_extra.items():
            if requirement.marker is None or "extra" not in str(requirement.marker):
                wanted = extra is None and (requirement.marker is None or requirement.marker.evaluate())
            else:
                wanted = extra is not None and requirement.marker.evaluate({"extra": extra})
            if wanted:
                found.append(requirement)
    return by_extra


def _fault(requirement: Any) -> str | None:
    try:
        version = metadata.version(requirement.name)
    except metadata.PackageNotFoundError:
        return None if _has_another_binding(requirement.name) else str(requirement.name)
    if requirement.specifier.contains(version, prereleases=True):
        return None
    return f"{requirement.name} {version} (needs {requirement.specifier})"


def _has_another_binding(name: str) -> bool:
    """Whether ``name`` is a Qt binding, and napari has another one to run on."""
    return name in QT_BINDINGS and bool(qt_bindings())


def _installed() -> dict[str, str]:
    """Versions of medseg's direct requirements that are installed."""
    versions = {}
    for requirement in (r for found in _requirements().values() for r in found):
        try:
            versions[requirement.name] = metadata.version(requirement.name)
        except metadata.PackageNotFoundError:
            continue
    return versions


def _openvino() -> tuple[dict[str, Any], tuple[str, ...]]:
    try:
        from medseg.inference.backends.openvino import import_openvino

        openvino = import_openvino()
    except ImportError as error:
        return {"name": "openvino", "available": False, "version": None, "reason": str(error)}, ()
    core = openvino.Core()
    found = {"name": "openvino", "available": True, "version": openvino.get_version(), "reason": None}
    return found, tuple(core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"))


def _torch() -> tuple[dict[str, Any], list[dict[str, Any]]]:
    try:
        import torch
    except ImportError as error:
        return {"name": "torch", "available": False, "version": None, "reason": str(error)}, []
    gpus = []
    if torch.cuda.is_available():
        for index in range(torch.cuda.device_count()):
            facts = torch.cuda.get_device_properties(index)
            gpus.append(
                {
                    "device": f"cuda:{index}",
                    "name": facts.name,
                    "memory_gb": round(facts.total_memory / _GB, 1),
                }
            )
    return {"name": "torch", "available": True, "version": str(torch.__version__), "reason": None}, gpus


def _models() -> list[str]:
    from medseg.models import list_models

    return [entry.name for entry in list_models()]


def _advice(torch: dict[str, Any], gpus: list[dict[str, Any]]) -> Iterator[str]:
    from medseg.inference.backends import nvidia_driver_present

    if nvidia_driver_present() and not gpus:
        yield (
            f"An NVIDIA driver is loaded, but torch {torch['version']} cannot use it: install a CUDA build."
            if torch["available"]
            else "An NVIDIA GPU is there: pip install 'medseg[train]' lets medseg use it."
        )


def _usable_cores() -> int:
    from medseg.inference.backends import usable_processors

    return usable_processors()


def _processor_name() -> str:
    for line in _cpuinfo():
        key, _, value = line.partition(":")
        if key.strip() == "model name":
            return value.strip()
    return platform.processor() or platform.machine()


def _cpu_flags() -> list[str]:
    for line in _cpuinfo():
        key, _, value = line.partition(":")
        if key.strip() in ("flags", "Features"):
            return [flag for flag in _CPU_FLAGS if flag in value.split()]
    return []


def _cpuinfo() -> list[str]:
    path = Path("/proc/cpuinfo")  # Linux only; elsewhere name and flags come from the platform or stay empty
    return path.read_text(encoding="utf-8", errors="replace").splitlines() if path.is_file() else []


def _total_memory_gb() -> float | None:
    """Memory of the machine, or of the container where that is less; None where the system does not say."""
    total = _machine_memory()
    limit = Path("/sys/fs/cgroup/memory.max")
    if limit.is_file() and (text := limit.read_text(encoding="ascii").strip()).isdecimal():
        total = min(total or int(text), int(text))
    return None if total is None else round(total / _GB, 1)


def _machine_memory() -> int | None:
    if sys.platform == "win32":
        return _windows_memory()
    if "SC_PHYS_PAGES" in os.sysconf_names:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return None


def _windows_memory() -> int:
    import ctypes

    kilobytes = ctypes.c_ulonglong(0)
    ctypes.windll.kernel32.GetPhysicallyInstalledSystemMemory(ctypes.byref(kilobytes))  # type: ignore[attr-defined,unused-ignore]
    return kilobytes.value * 1024
