"""A network's tensors as numpy arrays, each once, and back into a network."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from medseg.errors import ModelRefused


def tensors_of(network: nn.Module) -> dict[str, NDArray[Any]]:
    """The network's state, each tensor once.

    DynUNet registers every layer under two names, so that its state dict holds all weights twice;
    the first name is kept.
    """
    state = network.state_dict(keep_vars=True)
    return {name: state[name].detach().cpu().numpy().copy() for name in _first_names(state)}


def load_tensors(network: nn.Module, tensors: Mapping[str, NDArray[Any]]) -> None:
    """Copy what `tensors_of` returned (in any floating precision) into a network of the same plan.

    Raises
    ------
    ModelRefused
        If a tensor is missing, unknown, or of another shape.
    """
    state = network.state_dict(keep_vars=True)
    first = _first_names(state)
    # Both names of a tensor are accepted, as a plain state dict holds both.
    missing = sorted(set(first) - set(tensors))
    unknown = sorted(set(tensors) - set(state))
    shapes = sorted(n for n, value in tensors.items() if n in state and value.shape != tuple(state[n].shape))
    for what, names in (("missing", missing), ("unknown", unknown), ("of another shape", shapes)):
        if names:
            raise ModelRefused(
                f"the weights are not those of the plan's network: {len(names)} tensors {what}: "
                f"{', '.join(names[:3])}"
            )
    with torch.no_grad():
        for name in first:
            state[name].copy_(torch.from_numpy(np.ascontiguousarray(tensors[name])))


def _first_names(state: Mapping[str, torch.Tensor]) -> list[str]:
    """The first name of each distinct tensor of floats; ``keep_vars`` keeps their identity.

    Whole numbers (how many batches a normalisation has seen) are no weights.
    """
    first: dict[int, str] = {}
    for name, tensor in state.items():
        if tensor.is_floating_point():
            first.setdefault(id(tensor), name)
    return list(first.values())
