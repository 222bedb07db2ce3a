"""Inference: windows, logits of a whole scan, and the backends that run a network."""

from medseg.inference.sliding import predict_logits

__all__ = ["predict_logits"]
