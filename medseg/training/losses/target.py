"""What one head of a network is compared with: the labels at its resolution, and which voxels count."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from monai.networks import one_hot
from torch import Tensor
from torch.nn import functional

from medseg.plans import Plan

NOT_COUNTED = -100  # torch's own ignore_index


@dataclass(frozen=True, slots=True, eq=False)
class Target:
    """The labels of a batch at the resolution of one head.

    Parameters
    ----------
    classes
        int64 (B, *size): class indices, `NOT_COUNTED` where nobody judged.
    shares
        float32 (B, K, *size): 1 where an output channel should find something. 0 where nobody judged.
    known
        float32 (B, 1, *size): 0 where nobody judged, else 1. None where every voxel is known.
    spacing
        Size of a voxel along each axis, in units of the finest axis of the network's grid.
    overlapping
        Channels are regions, each found by a logistic function; else they are background and labels that
        exclude each other, softmax.
    """

    classes: Tensor
    shares: Tensor
    known: Tensor | None
    spacing: tuple[float, ...]
    overlapping: bool

    def found(self, logits: Tensor) -> Tensor:
        """Probabilities (B, K, *size), 0 where nobody judged."""
        shares = torch.sigmoid(logits) if self.overlapping else torch.softmax(logits, 1)
        return shares if self.known is None else shares * self.known

    def structures(self, channels: Tensor) -> Tensor:
        """(B, K, ...) without the background, where that is a channel."""
        return channels if self.overlapping else channels[:, 1:]

    def counted(self) -> Tensor | float:
        """How many voxels of the batch are known; at least 1, so that it can divide."""
        if self.known is None:
            return float(self.classes.numel())
        return self.known.sum().clamp(min=1)


class Targets:
    """Makes a `Target` for each head of a plan's network."""

    def __init__(self, plan: Plan) -> None:
        self._ignored = plan.ignore_class
        self._channels = len(plan.output_names)
        self._members = _members(plan) if plan.regions else None
        self._spacing = relative_spacing(plan)

    def at(self, classes: Tensor, size: Sequence[int]) -> Target:
        """The target at a head's size: the nearest voxel of each of its voxels.

        Parameters
        ----------
        classes
            int64 (B, *patch): class indices, the plan's ``ignore_class`` where nobody judged.
        size
            The head's.
        """
        patch = classes.shape[1:]
        if patch != tuple(size):
            reduced = functional.interpolate(classes[:, None].float(), size=tuple(size), mode="nearest-exact")
            classes = reduced[:, 0].long()
        known = None
        if self._ignored is not None:
            judged = classes != self._ignored
            known = judged[:, None].float()
            classes = torch.where(judged, classes, NOT_COUNTED)
        spacing = tuple(s * n / m for s, n, m in zip(self._spacing, patch, size, strict=True))
        return Target(classes, self._shares(classes, known), known, spacing, self._members is not None)

    def _shares(self, classes: Tensor, known: Tensor | None) -> Tensor:
        indices = classes.clamp(min=0)
        if self._members is None:
            shares: Tensor = one_hot(indices[:, None], self._channels)
        else:
            shares = self._members.to(classes.device)[indices].movedim(-1, 1)
        return shares if known is None else shares * known


def _members(plan: Plan) -> Tensor:
    """(classes, regions): 1 where a class belongs to a region."""
    rows = [[float(label in region.labels) for region in plan.regions] for label in plan.class_ids]
    return torch.tensor(rows)


def relative_spacing(plan: Plan) -> tuple[float, ...]:
    """Spacing of the network's grid along the patch's axes, the finest axis being 1.

    All ones where scans keep a spacing of their own: a network sees their voxels, not their millimetres.
    """
    spacing = plan.grid.spacing_mm
    if spacing is None:
        return (1.0,) * plan.dimensions
    axes = spacing[: plan.dimensions]
    return tuple(s / min(axes) for s in axes)
