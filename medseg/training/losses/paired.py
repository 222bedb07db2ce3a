"""The loss of networks with paired sides: of one channel per structure, and one for the side."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from medseg.networks.sides import PairedSides
from medseg.plans import LossPlan, Plan
from medseg.training.losses.protocol import Loss

_SMOOTH = 1e-5


def paired_loss(plan: Plan) -> Loss:
    """Soft Dice and cross-entropy of merged structures, and cross-entropy of the side where there is one.

    A head at lower resolution is compared with the shares of its voxel that each class takes, not with one
    class: at the border they say where it lies.
    """
    how = plan.loss
    sides = PairedSides.of(plan)
    merged, side, count = sides.merged, sides.side, sides.channels - 1

    def loss(
        logits: Tensor | list[Tensor],
        classes: Tensor,
        fraction: float = 1.0,  # noqa: ARG001 - the same all along
    ) -> Tensor:
        heads = logits if isinstance(logits, list) else [logits]
        # Channels last, as convolutions on a GPU give them: (B, *size, M).
        structures = torch.arange(count, device=classes.device)
        shares = merged.to(classes.device)[classes][..., None] == structures
        sided = side.to(classes.device)[classes][..., None] == torch.tensor(
            [1.0, -1.0], device=classes.device
        )
        total = torch.zeros((), device=classes.device)
        weights = [2.0**-n for n in range(len(heads))]
        for weight, head in zip(weights, heads, strict=True):
            shares, sided = _reduced(shares, head), _reduced(sided, head)
            one = _paired_head(head.movedim(1, -1).float(), shares, sided, how)
            total = total + weight / sum(weights) * one
        return total

    return loss


def _reduced(shares: Tensor, head: Tensor) -> Tensor:
    """Shares (B, *size, M) at the resolution of a head (B, K, *size): means of whole blocks."""
    size = head.shape[2:]
    if shares.shape[1:-1] == size:
        return shares.float()
    block = [n // m for n, m in zip(shares.shape[1:-1], size, strict=True)]
    pool = functional.avg_pool2d if len(block) == 2 else functional.avg_pool3d
    kind = torch.bfloat16 if shares.dtype == torch.bool and shares.is_cuda else torch.float32
    return pool(shares.to(kind).movedim(-1, 1), block).movedim(1, -1).float()


def _paired_head(head: Tensor, shares: Tensor, sided: Tensor, how: LossPlan) -> Tensor:
    axes = tuple(range(head.ndim - 1))
    log_p = functional.log_softmax(head[..., :-1], -1)
    if how.label_smoothing:
        shares = shares * (1 - how.label_smoothing) + how.label_smoothing / shares.shape[-1]
    entropy = -(shares * log_p).sum(-1).mean()
    p = log_p.exp()
    volume = shares.sum(axes)
    dice = (2 * (p * shares).sum(axes) + _SMOOTH) / (p.sum(axes) + volume + _SMOOTH)
    there = volume[1:] > 0  # a structure that the batch does not show says nothing of overlap
    overlap = 1 - (dice[1:] * there).sum() / there.sum().clamp(min=1)
    apart = functional.logsigmoid(torch.cat([head[..., -1:], -head[..., -1:]], -1))
    side = -(sided * apart).sum() / sided.sum().clamp(min=1)
    return how.dice_weight * overlap + how.ce_weight * (entropy + side)
