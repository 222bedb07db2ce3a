"""Terms of overlap: how well found and true structures cover each other in a whole batch."""

from __future__ import annotations

from collections.abc import Callable

import torch
from monai.losses import DiceLoss, GeneralizedDiceLoss, TverskyLoss
from torch import Tensor

from medseg.plans import LossPlan
from medseg.training.losses.protocol import Term
from medseg.training.losses.target import Target

# Generalised Dice weighs by one over a volume's square: MONAI's 1e-5 would outweigh its sums.
_SMOOTH_SQUARES = 1e-12
_LEAST_MISS = 1e-6


def dice() -> Term:
    """Soft Dice of each structure over the batch, background left out, the mean (Isensee et al. 2021).

    A structure that is neither there nor found has a loss of 0.
    """
    loss = DiceLoss(batch=True)
    return lambda logits, target: _of_structures(loss, logits, target).mean()


def generalised_dice() -> Term:
    """Generalised Dice, background included (Sudre et al. 2017, doi:10.1007/978-3-319-67558-9_28).

    Each channel weighs one over its volume squared; one that is not there as much as the smallest that is.
    """
    loss = GeneralizedDiceLoss(batch=True, smooth_nr=_SMOOTH_SQUARES, smooth_dr=_SMOOTH_SQUARES)
    return lambda logits, target: loss(target.found(logits), target.shares).mean()


def tversky(plan: LossPlan) -> Term:
    """One minus the Tversky index of each structure over the batch, the mean.

    References
    ----------
    Salehi et al. 2017, doi:10.1007/978-3-319-67389-9_44, whose alpha and beta are the plan's
    ``tversky_false_positives`` and ``tversky_false_negatives``.
    """
    loss = _tversky(plan)
    return lambda logits, target: _of_structures(loss, logits, target).mean()


def focal_tversky(plan: LossPlan) -> Term:
    """`tversky` of each structure to the power of one over gamma, the mean (Abraham and Khan 2019).

    doi:10.1109/ISBI.2019.8759329. A structure that is met to a millionth has no gradient: that of a root
    is infinite at 0.
    """
    loss, power = _tversky(plan), 1 / plan.focal_tversky_gamma

    def term(logits: Tensor, target: Target) -> Tensor:
        return _of_structures(loss, logits, target).clamp(min=_LEAST_MISS).pow(power).mean()

    return term


def _tversky(plan: LossPlan) -> TverskyLoss:
    return TverskyLoss(
        alpha=plan.tversky_false_positives,
        beta=plan.tversky_false_negatives,
        batch=True,
        reduction="none",
    )


def _of_structures(loss: Callable[[Tensor, Tensor], Tensor], logits: Tensor, target: Target) -> Tensor:
    """A loss of what was found and what is there. Masked both, so that unknown voxels are in no sum."""
    return torch.as_tensor(loss(target.structures(target.found(logits)), target.structures(target.shares)))
