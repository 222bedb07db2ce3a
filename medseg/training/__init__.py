"""From a dataset to a model: fingerprint, plan, train, validate, export."""

from __future__ import annotations

from medseg.training.fit import Status
from medseg.training.run import TrainResult, plan, train

__all__ = ["Status", "TrainResult", "plan", "train"]
