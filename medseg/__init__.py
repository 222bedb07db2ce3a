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
    "read_label_layers": "medseg.io",
    "write": "medseg.io",
    "inspect": "medseg.io",
    "ModelBundle": "medseg.models",
    "load_model": "medseg.models",
    "Segmentation": "medseg.pipeline",
    "infer": "medseg.pipeline",
    "segment_frames": "medseg.pipeline",
    "check_dataset": "medseg.datasets",
    "import_dataset": "medseg.datasets",
    "plan": "medseg.training",
    "train": "medseg.training",
    "evaluate": "medseg.evaluation",
    "run_cohort": "medseg.cohort",
    "open_study": "medseg.cohort",
    "Study": "medseg.cohort",
}

__all__ = ["__version__", *_HOME]

if TYPE_CHECKING:  # the same names for type checkers, marked as re-exported
    from medseg.cohort import Study as Study
    from medseg.cohort import open_study as open_study
    from medseg.cohort import run_cohort as run_cohort
    from medseg.datasets import check_dataset as check_dataset
    from medseg.datasets import import_dataset as import_dataset
    from medseg.errors import InputRefused as InputRefused
    from medseg.errors import MedsegError as MedsegError
    from medseg.errors import ModelRefused as ModelRefused
    from medseg.errors import UsageError as UsageError
    from medseg.evaluation import evaluate as evaluate
    from medseg.geometry import Geometry as Geometry
    from medseg.io import inspect as inspect
    from medseg.io import read as read
    from medseg.io import read_label_layers as read_label_layers
    from medseg.io import read_labels as read_labels
    from medseg.io import write as write
    from medseg.labels import Label as Label
    from medseg.labels import LabelSet as LabelSet
    from medseg.models import ModelBundle as ModelBundle
    from medseg.models import load_model as load_model
    from medseg.pipeline import Segmentation as Segmentation
    from medseg.pipeline import infer as infer
    from medseg.pipeline import segment_frames as segment_frames
    from medseg.plans import Fingerprint as Fingerprint
    from medseg.plans import Plan as Plan
    from medseg.plans import read_plan as read_plan
    from medseg.training import plan as plan
    from medseg.training import train as train
    from medseg.verdict import Reason as Reason
    from medseg.verdict import Verdict as Verdict
    from medseg.volume import LabelMap as LabelMap
    from medseg.volume import Volume as Volume


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'medseg' has no attribute {name!r}")
    value = getattr(import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
