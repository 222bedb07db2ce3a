"""From what a researcher has (a table, a folder, a BIDS dataset, DICOM studies) to a checked case table."""

from __future__ import annotations

from medseg.cohort.manifest.cases import Manifest, ManifestCase, Value
from medseg.cohort.manifest.read import read_manifest
from medseg.cohort.manifest.write import write_manifest

__all__ = ["Manifest", "ManifestCase", "Value", "read_manifest", "write_manifest"]
