"""From a dataset to a model: fingerprint, plan, train, validate, export."""

from __future__ import annotations

from importlib.util import find_spec

from medseg.errors import MissingExtra

_needed = ("torch", "monai", "lightning_fabric", "onnx", "onnxscript")
_absent = [name for name in _needed if find_spec(name) is None]
if _absent:
    raise MissingExtra(f"training needs {', '.join(_absent)}: pip install 'medseg[train]'")

from medseg.training.decision import plan  # noqa: E402
from medseg.training.fit import Status  # noqa: E402
from medseg.training.run import TrainResult, train  # noqa: E402

__all__ = ["Status", "TrainResult", "plan", "train"]
