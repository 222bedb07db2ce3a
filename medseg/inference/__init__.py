"""Inference: windows, logits of a whole scan, and the backends that run a network."""

from medseg.inference.backends import Backend, open_backend
from medseg.inference.engine import Prediction, segment
from medseg.inference.sliding import predict_logits

__all__ = ["Backend", "Prediction", "open_backend", "predict_logits", "segment"]
