"""Terms per voxel: cross-entropy, its worst voxels, focal loss, each with class weights."""

from __future__ import annotations

import math

import torch
from monai.losses import FocalLoss
from torch import Tensor
from torch.nn import functional

from medseg.plans import LossPlan
from medseg.training.losses.protocol import Term
from medseg.training.losses.target import NOT_COUNTED, Target

# A class weight per class (K,), or per region that of voxels outside and inside of it (K, 2).
Weights = Tensor | None


def cross_entropy(plan: LossPlan, weights: Weights) -> Term:
    """Cross-entropy, for regions the binary one of each, as the weighted mean over the known voxels.

    A voxel weighs as much as the class that it is of. Where no voxel is known: 0.
    """

    def term(logits: Tensor, target: Target) -> Tensor:
        if weights is None and target.known is None and not target.overlapping:
            return functional.cross_entropy(logits, target.classes, label_smoothing=plan.label_smoothing)
        values = _entropies(logits, target, plan.label_smoothing)
        return _mean(values, _weights(target, weights))

    return term


def worst_cross_entropy(plan: LossPlan, weights: Weights) -> Term:
    """Cross-entropy of the worst voxels alone (Wu et al. 2016, arXiv:1605.06885; nnU-Net's ``TopKLoss``).

    The worst are ``topk_fraction`` of the batch's known voxels, rounded up, with the largest weighted
    values; for regions of the known voxels of all regions together.
    """

    def term(logits: Tensor, target: Target) -> Tensor:
        values = _entropies(logits, target, plan.label_smoothing)
        weight = _weights(target, weights)
        if target.known is not None:
            seen = target.known.expand_as(values) > 0
            values, weight = values[seen], weight[seen]
        values, weight = values.flatten(), weight.flatten()
        count = math.ceil(plan.topk_fraction * values.numel())
        worst = torch.topk(values.detach() * weight, count, sorted=False).indices
        return _mean(values[worst], weight[worst])

    return term


def focal(plan: LossPlan, weights: Weights) -> Term:
    """Focal loss (Lin et al. 2017, doi:10.1109/ICCV.2017.324), the weighted mean over the known voxels.

    Class weights stand for the paper's alpha.
    """

    def term(logits: Tensor, target: Target) -> Tensor:
        loss = FocalLoss(gamma=plan.focal_gamma, use_softmax=not target.overlapping, reduction="none")
        values = loss(logits, target.shares)
        if not target.overlapping:  # only the voxel's own class has a value
            values = values.sum(1, keepdim=True)
        return _mean(values, _weights(target, weights))

    return term


def _entropies(logits: Tensor, target: Target, smoothing: float) -> Tensor:
    """Of each voxel (B, 1, *size), or of each voxel and region (B, K, *size)."""
    if target.overlapping:
        smooth = target.shares * (1 - smoothing) + smoothing / 2
        return functional.binary_cross_entropy_with_logits(logits, smooth, reduction="none")
    return functional.cross_entropy(
        logits, target.classes, ignore_index=NOT_COUNTED, label_smoothing=smoothing, reduction="none"
    )[:, None]


def _weights(target: Target, weights: Weights) -> Tensor:
    """What each of `_entropies` counts: 0 where nobody judged."""
    if target.overlapping:
        if weights is None:
            each = torch.ones_like(target.shares)
        else:
            outside, inside = weights.to(target.shares).T.reshape(2, 1, -1, *[1] * (target.shares.ndim - 2))
            each = torch.where(target.shares > 0, inside, outside)
    elif weights is None:
        each = torch.ones_like(target.shares[:, :1])
    else:
        each = weights.to(target.shares)[target.classes.clamp(min=0)][:, None]
    return each if target.known is None else each * target.known


def _mean(values: Tensor, weights: Tensor) -> Tensor:
    """The weighted mean; 0, with a gradient of 0, where nothing weighs."""
    total = weights.sum()
    return (values * weights).sum() / torch.where(total > 0, total, 1.0)
