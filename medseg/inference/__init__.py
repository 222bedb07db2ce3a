"""Inference: windows in slabs, logits summed, finished and dropped, and the backends that run a network."""

from medseg.inference.backends import Backend, open_backend
from medseg.inference.confidence import Confidence
from medseg.inference.engine import Prediction, WindowCount, segment
from medseg.inference.memory import MemoryPlan
from medseg.inference.sliding import predict_logits
from medseg.inference.stream import Member

__all__ = [
    "Backend",
    "Confidence",
    "Member",
    "MemoryPlan",
    "Prediction",
    "WindowCount",
    "open_backend",
    "predict_logits",
    "segment",
]
