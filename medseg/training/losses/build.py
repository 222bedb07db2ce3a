"""From a plan to its loss."""

from __future__ import annotations

import torch
from torch import Tensor

from medseg.plans import Plan
from medseg.training.losses.added import boundary, hausdorff, share_of, skeletons
from medseg.training.losses.overlap import dice, focal_tversky, generalised_dice, tversky
from medseg.training.losses.paired import paired_loss
from medseg.training.losses.protocol import Loss, Term
from medseg.training.losses.target import Target, Targets
from medseg.training.losses.voxels import cross_entropy, focal, worst_cross_entropy
from medseg.training.losses.weights import class_weights


def build_loss(plan: Plan) -> Loss:
    """The loss of a plan's network, with deep supervision.

    The n-th head weighs 2**-n, weights summing to one, against the label reduced to its resolution
    (Lee et al., AISTATS 2015; nnU-Net's weights).
    """
    if plan.network.paired_sides:
        return paired_loss(plan)
    targets, term, added, how = Targets(plan), _always(plan), _added(plan), plan.loss

    def loss(logits: Tensor | list[Tensor], classes: Tensor, fraction: float = 1.0) -> Tensor:
        heads = logits if isinstance(logits, list) else [logits]
        weights = [2.0**-n for n in range(len(heads))]
        share = share_of(how, fraction) if added is not None else 0.0
        total = torch.zeros((), device=classes.device)
        for weight, head in zip(weights, heads, strict=True):
            target = targets.at(classes, head.shape[2:])
            here = term(head.float(), target)
            if added is not None and share > 0:
                here = here + share * added(head.float(), target)
            total = total + weight / sum(weights) * here
        return total

    return loss


def _always(plan: Plan) -> Term:
    """What counts during the whole training."""
    how, weights = plan.loss, class_weights(plan)
    match how.name:
        case "dice":
            return dice()
        case "generalised_dice":
            return generalised_dice()
        case "tversky":
            return tversky(how)
        case "focal_tversky":
            return focal_tversky(how)
        case "focal":
            return focal(how, weights)
        case "topk_ce":
            return worst_cross_entropy(how, weights)
        case "dice_topk":
            return _both(dice(), how.dice_weight, worst_cross_entropy(how, weights), how.ce_weight)
        case "dice_ce" | "boundary" | "hausdorff" | "cldice":
            return _both(dice(), how.dice_weight, cross_entropy(how, weights), how.ce_weight)


def _added(plan: Plan) -> Term | None:
    """What joins, on a ramp."""
    match plan.loss.name:
        case "boundary":
            return boundary()
        case "hausdorff":
            return hausdorff()
        case "cldice":
            return skeletons(plan.loss)
        case _:
            return None


def _both(first: Term, first_weight: float, second: Term, second_weight: float) -> Term:
    def term(logits: Tensor, target: Target) -> Tensor:
        return first_weight * first(logits, target) + second_weight * second(logits, target)

    return term
