"""Losses, by the plan's name, with deep supervision."""

from __future__ import annotations

from collections.abc import Callable

import torch
from monai.losses import DiceCELoss
from torch import Tensor
from torch.nn import functional

from medseg.plans import LossPlan

Loss = Callable[[Tensor | list[Tensor], Tensor], Tensor]


def build_loss(plan: LossPlan) -> Loss:
    """A function of logits (one tensor, or one per resolution, finest first) and class indices (B, *patch).

    Under deep supervision the n-th head weighs 2**-n, weights summing to one, against the label reduced
    to its resolution by the nearest voxel (Lee et al., AISTATS 2015; nnU-Net's weights).
    """
    # Soft Dice over the whole batch, foreground only, plus cross-entropy (Isensee et al., 2021).
    single = DiceCELoss(
        include_background=False,
        to_onehot_y=True,
        softmax=True,
        batch=True,
        lambda_dice=plan.dice_weight,
        lambda_ce=plan.ce_weight,
        label_smoothing=plan.label_smoothing,
    )

    def loss(logits: Tensor | list[Tensor], classes: Tensor) -> Tensor:
        heads = logits if isinstance(logits, list) else [logits]
        weights = [2.0**-n for n in range(len(heads))]
        target = classes[:, None]
        total = torch.zeros((), device=classes.device)
        for weight, head in zip(weights, heads, strict=True):
            size = head.shape[2:]
            here = target
            if target.shape[2:] != size:
                here = functional.interpolate(target.float(), size=size, mode="nearest-exact").long()
            total = total + weight / sum(weights) * single(head.float(), here)
        return total

    return loss
