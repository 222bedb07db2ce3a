"""Scripted studies over many scans: a manifest in, one tidy table out, resumable.

The names are loaded when they are first used: a worker needs neither manifests nor tables.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from medseg.cohort.manifest import Manifest, ManifestCase, read_manifest, write_manifest
    from medseg.cohort.run import run_cohort
    from medseg.cohort.study import Study, StudyCase, open_study

__all__ = [
    "Manifest",
    "ManifestCase",
    "Study",
    "StudyCase",
    "open_study",
    "read_manifest",
    "run_cohort",
    "write_manifest",
]

_ROOMS = {"run_cohort": "run", "Study": "study", "StudyCase": "study", "open_study": "study"}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_ROOMS.get(name, 'manifest')}"), name)
