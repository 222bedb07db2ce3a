"""medseg's readers and preprocessing as MONAI transforms, for training and for people's own pipelines.

`VolumeReader` is a reader for MONAI's ``LoadImage``; `LoadVolumed` loads the scans and label maps of a case
and checks that they share one grid; `PrepareVolumed` and `RestoreLabelsd` are `medseg.preprocess` and its
way back.
"""

from __future__ import annotations

from importlib.util import find_spec

from medseg.errors import MissingExtra

_absent = [name for name in ("torch", "monai") if find_spec(name) is None]
if _absent:
    raise MissingExtra(f"medseg.transforms needs {', '.join(_absent)}: pip install 'medseg[train]'")

from medseg.transforms.load import LoadVolumed, VolumeReader  # noqa: E402
from medseg.transforms.prepare import PrepareVolumed, RestoreLabelsd  # noqa: E402

__all__ = ["LoadVolumed", "PrepareVolumed", "RestoreLabelsd", "VolumeReader"]
