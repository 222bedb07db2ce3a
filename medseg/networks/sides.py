"""Left and right as one structure and a side, so that a network learns each structure once."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from medseg.errors import PlanInvalid
from medseg.plans import Plan


class PairedSides(nn.Module):
    """Merged channels to one per class: p(left hippocampus) = p(hippocampus) p(left).

    A network gives (B, M + 1, *size): a logit for each structure whose two sides are merged, background
    first, and one logit that is positive where it is on the left.

    Attributes
    ----------
    merged : int64 (K,)
        For each class of the plan its merged channel.
    side : float32 (K,)
        1 for classes of the left, -1 for those of the right, 0 for those without a side.
    """

    merged: Tensor
    side: Tensor
    expansion: Tensor

    def __init__(self, merged: list[int], side: list[float], dimensions: int) -> None:
        super().__init__()
        self.channels = max(merged) + 2
        self.register_buffer("merged", torch.tensor(merged), persistent=False)
        self.register_buffer("side", torch.tensor(side), persistent=False)
        # A convolution of kernel 1 over the network's channels and log p(left): it copies a structure's logit
        # to its sides and adds the side's logarithm, log p(right) being log p(left) - s.
        of_side = torch.tensor(side)
        matrix = functional.one_hot(torch.tensor(merged), self.channels + 1).float()
        matrix[:, -2], matrix[:, -1] = -(-of_side).clamp(min=0), of_side.abs()
        self.register_buffer("expansion", matrix.reshape(*matrix.shape, *[1] * dimensions))

    @classmethod
    def of(cls, plan: Plan) -> PairedSides:
        """The pairs of a plan's labels, which their names tell.

        Raises
        ------
        PlanInvalid
            If no label has a partner on the other side.
        """
        pairs = plan.label_set.pairs
        if not pairs:
            raise PlanInvalid("network.paired_sides: no label has a partner on the other side; leave it out")
        left_of = {pair.right: pair.left for pair in pairs}
        side_of = {pair.left: 1.0 for pair in pairs} | {pair.right: -1.0 for pair in pairs}
        structures = [label for label in plan.class_ids if label not in left_of]
        channel = {label: number for number, label in enumerate(structures)}
        merged = [channel[left_of.get(label, label)] for label in plan.class_ids]
        side = [side_of.get(label, 0.0) for label in plan.class_ids]
        return cls(merged, side, plan.dimensions)

    def expand(self, logits: Tensor) -> Tensor:
        """Logits (B, M + 1, *size) to (B, K, *size), whose softmax is the product above."""
        known = torch.cat([logits, functional.logsigmoid(logits[:, -1:])], 1)
        convolve = functional.conv2d if logits.ndim == 4 else functional.conv3d
        return convolve(known, self.expansion)
