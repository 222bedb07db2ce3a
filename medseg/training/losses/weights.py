"""How much a voxel counts, by how rare its class is in the dataset."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from medseg.plans import Plan


def class_weights(plan: Plan) -> Tensor | None:
    """The plan's ``loss.class_weights``, from the shares of voxels in its fingerprint.

    Returns
    -------
    Tensor or None
        float32 (K,), one per class, with mean 1. Of regions (K, 2): of voxels outside and inside of each,
        with mean 1. A class without any voxel has 1 and is in no mean. None: all voxels count the same.
    """
    if plan.loss.class_weights == "none" or plan.fingerprint is None:
        return None
    power = -1.0 if plan.loss.class_weights == "inverse" else -0.5
    share = plan.fingerprint.voxel_fraction
    if not plan.regions:
        found = _weights(np.array([share.get(label, 0.0) for label in plan.class_ids]), power)
        return torch.from_numpy(found).float()
    inside = [sum(share.get(label, 0.0) for label in region.labels) for region in plan.regions]
    each = [_weights(np.array([1 - one, one]), power) for one in inside]
    return torch.from_numpy(np.stack(each)).float()


def _weights(shares: NDArray[np.float64], power: float) -> NDArray[np.float64]:
    weights, there = np.ones(shares.shape), shares > 0
    weights[there] = shares[there] ** power
    weights[there] /= weights[there].mean()
    return weights
