"""medseg: from a scan on disk to a corrected, measured segmentation.

The public names are verbs and nouns; each is loaded when first used, so that ``import medseg`` is
quick and loads neither torch nor MONAI.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_HOME = {
    "Geometry": "medseg.geometry",
    "Label": "medseg.labels",
    "LabelSet": "medseg.labels",
    "LabelMap": "medseg.volume",
    "Volume": "medseg.volume",
    "Reason": "medseg.verdict",
    "Verdict": "medseg.verdict",
    "Fingerprint": "medseg.plans",
    "Plan": "medseg.plans",
    "read_plan": "medseg.plans",
    "MedsegError": "medseg.errors",
    "InputRefused": "medseg.errors",
    "ModelRefused": "medseg.errors",
    "UsageError": "medseg.errors",
    "read": "medseg.io",
    "read_labels": "medseg.io",
    "write": "medseg.io",
    "inspect": "medseg.io",
    "ModelBundle": "medseg.models",
    "load_model": "medseg.models",
    "Segmentation": "medseg.pipeline",
    "infer": "medseg.pipeline",
    "plan": "medseg.training",
    "train": "medseg.training",
    "evaluate": "medseg.evaluation",
}

__all__ = ["__version__", *_HOME]

if TYPE_CHECKING:
    from medseg.errors import InputRefused, MedsegError, ModelRefused, UsageError
    from medseg.evaluation import evaluate
    from medseg.geometry import Geometry
    from medseg.io import inspect, read, read_labels, write
    from medseg.labels import Label, LabelSet
    from medseg.models import ModelBundle, load_model
    from medseg.pipeline import Segmentation, infer
    from medseg.plans import Fingerprint, Plan, read_plan
    from medseg.training import plan, train
    from medseg.verdict import Reason, Verdict
    from medseg.volume import LabelMap, Volume


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'medseg' has no attribute {name!r}")
    value = getattr(import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
