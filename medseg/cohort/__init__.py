"""Scripted studies over many scans: a manifest in, one tidy table out, resumable."""

from __future__ import annotations

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
