"""`medseg.inference.finish` for sums that lie on a GPU: the same functions, on torch tensors.

Nothing here waits for the device: what it computes is asked for, and only maps, and at the end the label
map, are waited for. So the network's next window is on its way while the last is finished.
"""

from __future__ import annotations

from collections import OrderedDict
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from medseg.errors import ModelRefused
from medseg.inference.backends.torch import device_errors
from medseg.inference.cells import MemoryStore, Store
from medseg.inference.finish import NOT_NUMBERS, UNSEEN_LOGIT, local_tables
from medseg.inference.schedule import Schedule, Step
from medseg.inference.sums import Sums
from medseg.inference.threads import Threads
from medseg.plans import Plan
from medseg.preprocess import AxisTable

# Classes interpolated at once: enough for a GPU to be busy, few enough to need little memory.
_TOGETHER = 8
_KINDS = {"f32": torch.float32, "f16": torch.float16}
# Arrays of weights kept on the device: as many as `WeightSums` keeps.
_REMEMBERED = 27


@dataclass(frozen=True, slots=True, eq=False)
class _Weights:
    """What sums are divided by, on the device, and where no window ran; the array it was made from."""

    source: NDArray[np.float32]
    divisor: torch.Tensor
    unseen: torch.Tensor | None


class DeviceTools:
    """The functions of `medseg.inference.finish`, by the same names, for tensors on one device.

    Parameters
    ----------
    device
        As in a backend's settings.
    """

    def __init__(self, device: str) -> None:
        self._device = torch.device(device)
        self._weights: OrderedDict[int, _Weights] = OrderedDict()
        self._tables: dict[tuple[Schedule, int, int], tuple[AxisTable, list[torch.Tensor]]] = {}
        self._faulty = torch.zeros((), dtype=torch.bool, device=self._device)

    def errors(self) -> AbstractContextManager[None]:
        """The device's out-of-memory as `DeviceOutOfMemory`."""
        return device_errors()

    def sums(
        self, schedule: Schedule, channels: int, weights: NDArray[np.float32] | None, precision: str
    ) -> tuple[Sums, Store]:
        """Running sums on the device; what is carried is kept in ``precision``, ``"f32"`` or ``"f16"``."""

        def make(shape: tuple[int, ...]) -> torch.Tensor:
            return torch.empty(shape, dtype=torch.float32, device=self._device)

        def keep(shape: tuple[int, ...]) -> torch.Tensor:
            return torch.empty(shape, dtype=_KINDS[precision], device=self._device)

        with device_errors():
            there = None if weights is None else self._to_device(weights)
            store: Store = MemoryStore(keep)
            return Sums(schedule, channels, there, store, xp=torch, make=make), store

    def blank(self, ids: NDArray[Any]) -> torch.Tensor:
        """Labels on the device to write into, all background, of the shape of ``ids``."""
        kind = torch.uint8 if ids.dtype == np.uint8 else torch.int32  # torch computes with no uint16
        return torch.zeros(ids.shape, dtype=kind, device=self._device)

    def collect(self, labels: torch.Tensor | None, ids: NDArray[Any], plan: Plan) -> None:
        """Bring labels that `blank` gave into ``ids``.

        Raises
        ------
        ModelRefused
            If a logit that `check_numbers` or `decide` saw was not a number, or infinite.
        """
        if bool(self._faulty):
            raise ModelRefused(NOT_NUMBERS.format(plan.name))
        if labels is not None:
            ids[...] = self.on_host(labels)

    def logits_of(self, sums: Any, weights: NDArray[np.float32] | None, plan: Plan) -> torch.Tensor:
        """As `finish.logits_of`, in place; sums of a box that no window saw may come as a numpy array."""
        logits: torch.Tensor = self._to_device(sums) if isinstance(sums, np.ndarray) else sums
        if weights is None:
            return logits
        there = self._weights_there(weights)
        logits.div_(there.divisor)
        if there.unseen is not None:
            logits.masked_fill_(there.unseen, UNSEEN_LOGIT)
            if not plan.regions:
                logits[0].masked_fill_(there.unseen, 0)
        return logits

    def restore_box(self, logits: torch.Tensor, schedule: Schedule, at: Step) -> torch.Tensor:
        """As `finish.restore_box`: logits (K, x, y, z) to (K, i, j, k) of the scan's own grid."""
        moved = logits.permute(0, *(axis + 1 for axis in schedule.native_axes))
        for axis, number in enumerate(schedule.native_axes):
            moved = self._take_along(moved, axis + 1, schedule, number, at)
        return moved

    def decide(
        self, logits: torch.Tensor, schedule: Schedule, at: Step, plan: Plan, threads: Threads | None = None
    ) -> torch.Tensor:
        """As `finish.decide`: label ids (i, j, k), on the device.

        Every class is interpolated: to find out which can win one would have to wait for the device.
        """
        del threads  # the device has its own
        self.check_numbers(logits, plan)
        channels = (
            self.restore_box(logits[first : first + _TOGETHER], schedule, at)
            for first in range(0, logits.shape[0], _TOGETHER)
        )
        return _ids(channels, plan, 0.0)

    def check_numbers(self, logits: torch.Tensor, plan: Plan) -> None:
        """As `finish.check_numbers`, but it is `collect` that raises."""
        del plan
        low, high = torch.aminmax(logits)  # NaN, where there is one
        self._faulty |= ~(torch.isfinite(low) & torch.isfinite(high))

    def on_host(self, values: torch.Tensor) -> NDArray[Any]:
        """The values in the computer's memory."""
        result: NDArray[Any] = values.cpu().numpy()
        return result

    def ids_of(self, values: torch.Tensor, plan: Plan, threshold: float) -> torch.Tensor:
        """As `finish.ids_of`: label ids from values of every channel (K, i, j, k), on the device."""
        return _ids(iter([values]), plan, threshold)

    def probabilities_of(self, logits: torch.Tensor, plan: Plan) -> torch.Tensor:
        """As `finish.probabilities_of`: softmax over the channels, or the logistic function of each."""
        return torch.sigmoid(logits) if plan.regions else torch.softmax(logits, dim=0)

    def entropy_of(self, probabilities: torch.Tensor, plan: Plan) -> torch.Tensor:
        """As `finish.entropy_of`, in nats."""
        total = _p_log_p(probabilities).sum(dim=0)
        if plan.regions:
            total = (total + _p_log_p(1 - probabilities).sum(dim=0)) / probabilities.shape[0]
        return total.neg().clamp(min=0)

    def _weights_there(self, weights: NDArray[np.float32]) -> _Weights:
        known = self._weights.get(id(weights))  # the entry keeps the array, and so its id, alive
        if known is None:
            unseen = weights == 0
            divisor = self._to_device(np.where(unseen, np.float32(1), weights))
            known = _Weights(weights, divisor, self._to_device(unseen) if unseen.any() else None)
            self._weights[id(weights)] = known
            if len(self._weights) > _REMEMBERED:
                self._weights.popitem(last=False)
        return known

    def _take_along(
        self, array: torch.Tensor, axis: int, schedule: Schedule, number: int, at: Step
    ) -> torch.Tensor:
        """An axis of a box as its table says: `medseg.preprocess.take_along` on tensors."""
        key = (schedule, number, at[number])
        if key not in self._tables:
            table = local_tables(schedule, at)[schedule.native_axes.index(number)]
            parts = [table.low, table.high] if table.weight is not None else [table.low]
            there = [self._to_device(part.astype(np.int64)) for part in parts]
            self._tables[key] = (
                table,
                [*there, *([] if table.weight is None else [self._to_device(table.weight)])],
            )
        table, (low, *rest) = self._tables[key]
        if not rest:
            return _copied(array, axis, table.low, low)
        high, weight = rest
        lower = array.index_select(axis, low)
        return lower.lerp_(
            array.index_select(axis, high), weight.reshape([-1 if n == axis else 1 for n in range(4)])
        )

    def _to_device(self, array: NDArray[Any]) -> torch.Tensor:
        return torch.from_numpy(np.ascontiguousarray(array)).to(self._device)


def _ids(parts: Any, plan: Plan, threshold: float) -> torch.Tensor:
    """Label ids from parts of the channels (some, i, j, k), which come one by one.

    The largest, on a tie the first; or regions painted one over another where they exceed the threshold.
    """
    kind = torch.uint8 if max(plan.class_ids) <= 255 else torch.int32
    done = 0
    best: torch.Tensor | None = None
    for values in parts:
        if best is None:
            best = torch.full_like(values[0], -torch.inf)
            labels = torch.zeros(values.shape[1:], dtype=kind, device=values.device)
        for number, channel in enumerate(values, start=done):
            if plan.regions:
                labels.masked_fill_(channel > threshold, plan.regions[number].paints)
            else:
                labels.masked_fill_(channel > best, plan.class_ids[number])
                torch.maximum(best, channel, out=best)
        done += len(values)
    return labels


def _p_log_p(p: torch.Tensor) -> torch.Tensor:
    return p * p.clamp(min=torch.finfo(torch.float32).tiny).log()


def _copied(array: torch.Tensor, axis: int, index: NDArray[np.intp], there: torch.Tensor) -> torch.Tensor:
    first, size = int(index[0]), index.size
    if np.array_equal(index, np.arange(first, first + size)):
        return array.narrow(axis, first, size)
    if np.array_equal(index, np.arange(first, first - size, -1)):
        return array.narrow(axis, first - size + 1, size).flip(axis)
    return array.index_select(axis, there)
