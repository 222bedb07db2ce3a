"""Which cases are hard: the loss of each case's own patches of late, as chances to be drawn again."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from medseg.training.losses import Loss

# What a case's newest patches count; all before them count the rest.
_NEWEST = 0.25


def patch_losses(
    loss_of: Loss, logits: Tensor | list[Tensor], classes: Tensor, fraction: float
) -> list[float]:
    """The loss of each patch by itself, (B,), at the finest resolution."""
    finest = logits[0] if isinstance(logits, list) else logits
    with torch.no_grad():
        return [
            float(loss_of(finest[n : n + 1].detach(), classes[n : n + 1], fraction))
            for n in range(len(classes))
        ]


def summed_by_case(drawn: Sequence[int], losses: Sequence[float], cases: int) -> NDArray[np.float64]:
    """(2, cases): the sum of the losses of each case's patches, and how many they are."""
    table = np.zeros((2, cases))
    np.add.at(table[0], list(drawn), losses)
    np.add.at(table[1], list(drawn), 1)
    return table


class Difficulty:
    """Moving average of the loss of each case's patches, from which the chances of cases follow.

    The batch of a step is read while the step before it runs, so it is drawn by what was known before
    that: `chances` gives the averages as of the last update, or as of the one before it, and both are kept
    in checkpoints, so that a resumed run draws the same cases.
    """

    def __init__(self, cases: int, hard_fraction: float) -> None:
        self._hard_fraction = hard_fraction
        self._losses = np.full(cases, np.nan)
        self._before = self._losses.copy()

    def update(self, table: NDArray[np.float64]) -> None:
        """Take in a step's `summed_by_case`; where no patch of a case was seen, its average stays."""
        self._before = self._losses.copy()
        seen = table[1] > 0
        newest = table[0, seen] / table[1, seen]
        known = np.where(np.isnan(self._losses[seen]), newest, self._losses[seen])
        self._losses[seen] = known + _NEWEST * (newest - known)

    def chances(self, *, before_last: bool = False) -> NDArray[np.float64]:
        """Chance of each case to be drawn, (cases,), adding up to 1."""
        return chances_of(self._before if before_last else self._losses, self._hard_fraction)

    def state(self) -> dict[str, Tensor]:
        """What `load` needs to go on exactly."""
        return {"losses": torch.from_numpy(self._losses), "before": torch.from_numpy(self._before)}

    def load(self, state: dict[str, Tensor]) -> None:
        """Go on from a `state`."""
        self._losses, self._before = state["losses"].numpy().copy(), state["before"].numpy().copy()


def chances_of(losses: NDArray[np.float64], hard_fraction: float) -> NDArray[np.float64]:
    """Chances (cases,): a share ``hard_fraction`` in proportion to the losses, the rest evenly.

    A case that was not seen yet (NaN) counts as the hardest. Where a loss is below zero, all are
    counted from the lowest. Where all are equal, or none is known, the chances are.
    """
    even = np.full(len(losses), 1 / len(losses))
    if np.isnan(losses).all():
        return even
    known = np.where(np.isnan(losses), np.nanmax(losses), losses)
    weights = known - min(0.0, float(known.min()))
    if weights.sum() == 0:
        return even
    mixed: NDArray[np.float64] = hard_fraction * weights / weights.sum() + (1 - hard_fraction) * even
    return mixed
