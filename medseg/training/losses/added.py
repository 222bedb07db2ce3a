"""Terms that join Dice and cross-entropy: the distance of borders, and the skeletons of tubes."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from monai.losses import LogHausdorffDTLoss, SoftclDiceLoss
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt
from torch import Tensor

from medseg.plans import LossPlan
from medseg.training.losses.protocol import Term
from medseg.training.losses.target import Target


def share_of(plan: LossPlan, fraction: float) -> float:
    """The weight of the added term when ``fraction`` of the training is done: a ramp, then level."""
    start, end = plan.added_ramp
    risen = 1.0 if fraction >= end else max(0.0, fraction - start) / (end - start)
    return plan.added_weight * risen


def boundary() -> Term:
    """How far from the true border lies what was found wrongly (Kervadec et al. 2019).

    The mean over known voxels and structures of d (p - g): d the distance to the border, negative inside,
    in voxels of the finest axis, p what was found and g what is there. The paper leaves out the constant
    d g, with which a perfect prediction has 0. A structure that is not in a patch, or fills it, has no border
    there and adds nothing. MONAI's ``BoundaryLoss`` takes all axes for equal. doi:10.1016/j.media.2020.101851
    """

    def term(logits: Tensor, target: Target) -> Tensor:
        found, there = target.structures(target.found(logits)), target.structures(target.shares)
        distance = _each_mask(there, lambda mask: signed_distance(mask, target.spacing))
        return ((found - there) * distance).sum() / (target.counted() * found.shape[1])

    return term


def hausdorff() -> Term:
    """The logarithm of one plus the squared error times squared distances to both borders, the mean.

    Karimi and Salcudean 2020, doi:10.1109/TMI.2019.2930068, in MONAI's ``LogHausdorffDTLoss``, but with
    distances that know of the spacing, in voxels of the finest axis. Unknown voxels are background that is
    found right.
    """

    def term(logits: Tensor, target: Target) -> Tensor:
        loss = _SpacedHausdorff(target.spacing)
        return torch.as_tensor(
            loss(target.structures(target.found(logits)), target.structures(target.shares))
        )

    return term


def skeletons(plan: LossPlan) -> Term:
    """Soft clDice of each structure in each patch, the mean (Shit et al. 2021, arXiv:2003.07311).

    How much of the skeleton of what was found lies in what is there, and the other way round. Unknown
    voxels are background that is found right.
    """
    loss = SoftclDiceLoss(iter_=plan.skeleton_steps)

    def term(logits: Tensor, target: Target) -> Tensor:
        found, there = target.structures(target.found(logits)), target.structures(target.shares)
        # MONAI sums over channels, where a large structure would drown a thin one: each is a sample here.
        return torch.as_tensor(loss(found.flatten(0, 1)[:, None], there.flatten(0, 1)[:, None]))

    return term


def signed_distance(mask: NDArray[np.bool_], spacing: tuple[float, ...]) -> NDArray[np.float32]:
    """Distance to the nearest voxel on the other side of a mask's border, negative inside; 0 without one."""
    if mask.all() or not mask.any():
        return np.zeros(mask.shape, np.float32)
    outside = distance_transform_edt(~mask, sampling=spacing)
    inside = distance_transform_edt(mask, sampling=spacing)
    return np.asarray(outside - inside, np.float32)


def _each_mask(channels: Tensor, field: Callable[[NDArray[np.bool_]], NDArray[np.float32]]) -> Tensor:
    """A field of each sample and channel (B, K, *size), from where it is above a half."""
    masks = (channels.detach() > 0.5).cpu().numpy()
    fields = np.stack([np.stack([field(mask) for mask in sample]) for sample in masks])
    return torch.from_numpy(fields).to(channels.device)


class _SpacedHausdorff(LogHausdorffDTLoss):
    """MONAI's loss on channels that are probabilities of structures, in a given spacing."""

    def __init__(self, spacing: tuple[float, ...]) -> None:
        super().__init__(include_background=True)
        self._spacing = spacing

    def distance_field(self, img: Tensor) -> Tensor:
        return _each_mask(img, lambda mask: np.abs(signed_distance(mask, self._spacing)))
