"""Finished sums to label ids and maps where they are: the twin of `medseg.inference.finish` for tensors.

On a GPU nothing is waited for: labels and faults are collected there and fetched once, so that the next
windows are on their way while boxes are finished. For the same reason every class is interpolated: asking
the GPU which could win would make it wait.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from medseg.errors import ModelRefused
from medseg.inference.backends.torch import device_errors
from medseg.inference.cells import MemoryStore
from medseg.inference.finish import NOT_NUMBERS, UNSEEN_LOGIT, local_tables
from medseg.inference.schedule import Schedule, Step
from medseg.inference.sums import Sums
from medseg.plans import Plan
from medseg.preprocess import AxisTable

_KEPT = {"f32": torch.float32, "f16": torch.float16}
# Classes interpolated at once: enough for a GPU to be busy, few enough to need little memory.
TOGETHER = 8
# Tensors made from arrays that come again and again (sums of weights) are kept, up to as many.
_REMEMBERED = 64


class DeviceTools:
    """What `medseg.inference.finish` offers, with tensors on one device; see there for each function.

    Parameters
    ----------
    device
        Where the logits are.
    """

    def __init__(self, device: str) -> None:
        self._device = torch.device(device)
        self._tensors: dict[int, tuple[Any, torch.Tensor]] = {}
        self._good = torch.ones((), dtype=torch.bool, device=self._device)

    def sums(self, schedule: Schedule, channels: int, weights: Any, kept: str) -> tuple[Sums, MemoryStore]:
        """Sums on the device, carried in ``f32`` or ``f16``."""

        def make(shape: tuple[int, ...]) -> torch.Tensor:
            return torch.empty(shape, device=self._device)

        def make_kept(shape: tuple[int, ...]) -> torch.Tensor:
            return torch.empty(shape, dtype=_KEPT[kept], device=self._device)

        store = MemoryStore(make_kept)
        there = None if weights is None else torch.from_numpy(weights).to(self._device)
        return Sums(schedule, channels, there, store, xp=torch, make=make), store

    def blank(self, ids: NDArray[Any]) -> torch.Tensor:
        """Labels on the device, all background; `collect` brings them into ``ids``."""
        kind = torch.uint8 if ids.dtype == np.uint8 else torch.int32
        return torch.zeros(ids.shape, dtype=kind, device=self._device)

    def collect(self, labels: torch.Tensor | None, ids: NDArray[Any], plan: Plan) -> None:
        """Fetch the labels; None where there are none on the device.

        Raises
        ------
        ModelRefused
            If a logit was not a number, which nobody waited to see before.
        """
        if not bool(self._good):
            raise ModelRefused(NOT_NUMBERS.format(plan.name))
        if labels is not None:
            ids[...] = labels.cpu().numpy()

    def errors(self) -> AbstractContextManager[None]:
        """The device's out-of-memory as `DeviceOutOfMemory`."""
        return device_errors()

    def logits_of(self, sums: Any, weights: NDArray[np.float32] | None, plan: Plan) -> torch.Tensor:
        logits = torch.as_tensor(sums, device=self._device)
        if weights is None:
            return logits
        unseen = weights == 0
        if not unseen.any():
            return logits.div_(self._tensor(weights))
        logits.div_(torch.from_numpy(np.where(unseen, np.float32(1), weights)).to(self._device))
        there = torch.from_numpy(unseen).to(self._device)
        logits.masked_fill_(there, UNSEEN_LOGIT)
        if not plan.regions:
            logits[0].masked_fill_(there, 0)
        return logits

    def check_numbers(self, logits: torch.Tensor, plan: Plan) -> None:  # noqa: ARG002 - as on the host
        """Remember whether all are numbers; `collect` tells."""
        self._good &= torch.isfinite(logits).all()

    def restore_box(self, logits: torch.Tensor, schedule: Schedule, at: Step) -> torch.Tensor:
        moved = logits.permute(0, *(axis + 1 for axis in schedule.native_axes))
        for axis, table in enumerate(local_tables(schedule, at)):
            moved = self._taken(moved, axis + 1, table)
        return moved

    def decide(
        self,
        logits: torch.Tensor,
        schedule: Schedule,
        at: Step,
        plan: Plan,
        threads: object = None,  # noqa: ARG002 - as on the host
    ) -> torch.Tensor:
        self.check_numbers(logits, plan)
        parts = (
            self.restore_box(logits[first : first + TOGETHER], schedule, at)
            for first in range(0, len(logits), TOGETHER)
        )
        if plan.regions:
            return self.ids_of(torch.cat(list(parts)), plan, 0.0)
        best, winner = _first_largest(next(parts))
        for n, part in enumerate(parts, start=1):
            value, index = _first_largest(part)
            winner = torch.where(value > best, index + n * TOGETHER, winner)
            best = torch.maximum(best, value)
        return self._class_ids(plan)[winner]

    def ids_of(self, values: torch.Tensor, plan: Plan, threshold: float) -> torch.Tensor:
        if not plan.regions:
            return self._class_ids(plan)[_first_largest(values)[1]]
        painted = torch.zeros(values.shape[1:], dtype=torch.int32, device=self._device)
        for region, channel in zip(plan.regions, values, strict=True):
            painted.masked_fill_(channel > threshold, region.paints)
        return painted

    def probabilities_of(self, logits: torch.Tensor, plan: Plan) -> torch.Tensor:
        return torch.sigmoid(logits) if plan.regions else torch.softmax(logits, dim=0)

    def entropy_of(self, probabilities: torch.Tensor, plan: Plan) -> torch.Tensor:
        total: torch.Tensor = torch.special.entr(probabilities).sum(dim=0)
        if plan.regions:
            total = (total + torch.special.entr(1 - probabilities).sum(dim=0)) / len(probabilities)
        return total

    def totals_of(
        self,
        logits: torch.Tensor,
        threads: object = None,  # noqa: ARG002 - as on the host
    ) -> torch.Tensor:
        """Voxels, probability and intersection (3, K), float64; a class at a time takes little memory."""
        top = logits.amax(dim=0)
        shares = torch.zeros_like(top)
        for channel in logits:
            shares += (channel - top).exp_()
        largest = 1 / shares
        free = torch.ones_like(top, dtype=torch.bool)
        totals = []
        for channel in logits:
            won = free & (channel == top)  # of equal logits the first class wins
            free &= ~won
            probability = (channel - top).exp_().mul_(largest)
            sums = [won.sum(), probability.sum(dtype=torch.float64), (largest * won).sum(dtype=torch.float64)]
            totals.append(torch.stack([one.double() for one in sums]))
        return torch.stack(totals, dim=1)

    def on_host(self, values: torch.Tensor) -> NDArray[np.float32]:
        array: NDArray[np.float32] = values.cpu().numpy()
        return array

    def _class_ids(self, plan: Plan) -> torch.Tensor:
        return torch.tensor(plan.class_ids, dtype=torch.int32, device=self._device)

    def _taken(self, array: torch.Tensor, axis: int, table: AxisTable) -> torch.Tensor:
        lower = array.index_select(axis, self._there(table.low))
        if table.weight is None:
            return lower
        shape = [1] * array.ndim
        shape[axis] = -1
        upper = array.index_select(axis, self._there(table.high))
        return lower + self._there(table.weight).reshape(shape) * (upper - lower)

    def _there(self, array: NDArray[Any]) -> torch.Tensor:
        return torch.from_numpy(np.ascontiguousarray(array)).to(self._device)

    def _tensor(self, array: NDArray[np.float32]) -> torch.Tensor:
        """The array on the device; the same tensor for the same array."""
        if id(array) not in self._tensors:
            if len(self._tensors) >= _REMEMBERED:
                self._tensors.clear()
            # The array is kept too: its identity must not pass to another.
            self._tensors[id(array)] = array, self._there(array)
        return self._tensors[id(array)][1]


def _first_largest(values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The largest along the first axis, and the first index that has it, which torch does not promise."""
    best = values.amax(dim=0)
    falling = torch.arange(len(values), 0, -1, device=values.device).reshape(-1, 1, 1, 1)
    return best, ((values == best) * falling).argmax(dim=0)
