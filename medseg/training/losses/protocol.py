"""What a loss is, and a term of one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from torch import Tensor

from medseg.training.losses.target import Target

# Logits (B, K, *size) float32 of one head and what they should be, to a number.
Term = Callable[[Tensor, Target], Tensor]


class Loss(Protocol):
    """A loss of a batch."""

    def __call__(self, logits: Tensor | list[Tensor], classes: Tensor, fraction: float = 1.0) -> Tensor:
        """The loss of logits (one tensor, or one per resolution, finest first).

        ``classes`` are class indices int64 (B, *patch), the plan's ``ignore_class`` where nobody judged;
        ``fraction`` is the share of the training that is done.
        """
        ...
