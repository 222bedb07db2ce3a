"""The registry: a plan builds a torch network."""

from __future__ import annotations

from medseg.networks.registry import build_network, encoder_names, network_names
from medseg.networks.weights import load_tensors, tensors_of

__all__ = ["build_network", "encoder_names", "load_tensors", "network_names", "tensors_of"]
