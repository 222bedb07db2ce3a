"""Finished sums to label ids and maps on the scan's own grid, one box at a time."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medseg.errors import ModelRefused
from medseg.inference.confidence import totals_of as totals_of  # one of the tools here
from medseg.inference.schedule import Schedule, Step
from medseg.inference.threads import Threads
from medseg.plans import Plan
from medseg.preprocess import AxisTable, take_along

Array = NDArray[np.float32]
Labels = NDArray[np.unsignedinteger[Any]]

# The logit, of any structure, where no window looked: 0 for background. Its probability is 1e-13.
UNSEEN_LOGIT = -30.0
NOT_NUMBERS = (
    "model {!r} returned values that are not numbers: its weights, its precision or sums in half precision "
    "are at fault; try --precision f32 and --sums f32"
)
# Planes of classes below which sharing a box among threads costs more than it gives.
_WORTH_SHARING = 64
# Interpolation rounds: a blend of two values may exceed the larger of them by this share of their size.
_ROUNDING = 1e-6


def logits_of(sums: Array, weights: Array | None, plan: Plan) -> Array:
    """Sums (K, x, y, z) to logits, in place: divided by the sum of weights (x, y, z).

    Where the weight is 0 no window ran: background there.
    """
    if weights is None:
        return sums
    unseen = weights == 0
    if not unseen.any():
        sums /= weights
        return sums
    sums /= np.where(unseen, np.float32(1), weights)
    sums[:, unseen] = np.float32(UNSEEN_LOGIT)
    if not plan.regions:
        sums[0][unseen] = 0
    return sums


def local_tables(schedule: Schedule, at: Step) -> tuple[AxisTable, AxisTable, AxisTable]:
    """For each axis of the scan's own grid: where its voxels that a step finishes lie in the step's box."""
    tables = []
    for number in schedule.native_axes:
        axis, step = schedule.axes[number], at[number]
        part, first = axis.native[step], axis.keep[step]
        weight = None if axis.table.weight is None else axis.table.weight[part]
        tables.append(AxisTable(axis.table.low[part] - first, axis.table.high[part] - first, weight))
    return tables[0], tables[1], tables[2]


def restore_box(logits: Array, schedule: Schedule, at: Step) -> Array:
    """Logits (K, x, y, z) of a step's box to (K, i, j, k) of its box of the scan's own grid."""
    return _taken(_turned(logits, schedule), local_tables(schedule, at))


def _turned(logits: Array, schedule: Schedule) -> Array:
    return logits.transpose(0, *(axis + 1 for axis in schedule.native_axes))


def _taken(moved: Array, tables: Sequence[AxisTable]) -> Array:
    for axis, table in enumerate(tables):
        moved = take_along(moved, axis + 1, table)
    return moved


def decide(
    logits: Array, schedule: Schedule, at: Step, plan: Plan, threads: Threads | None = None
) -> Labels | int:
    """Label ids (i, j, k) of a step's box on the scan's own grid; one id where all of it is the same.

    Linear interpolation is a convex combination: a class can win inside the box only if its largest
    logit reaches the largest of all classes' smallest logits. Only such classes are interpolated, which
    changes nothing in the result.

    Raises
    ------
    ModelRefused
        If a logit is not a number, or infinite.
    """
    low, high = check_numbers(logits, plan)
    slack = _ROUNDING * max(float(-low.min()), float(high.max()), 0.0)
    if plan.regions:
        return _paint(logits, schedule, at, plan, low > slack, high > -slack)
    able, ids = np.flatnonzero(high >= low.max() - slack), plan.class_ids
    if able.size == 1:
        return ids[int(able[0])]
    moved, tables = _turned(logits, schedule), local_tables(schedule, at)

    def part(tables: Sequence[AxisTable]) -> Labels:
        return largest((_taken(moved[c : c + 1], tables)[0] for c in able), [ids[int(c)] for c in able])

    if threads is None or threads.count == 1 or able.size * tables[0].low.size < _WORTH_SHARING:
        return part(tables)
    return np.concatenate(threads.map(part, [(one, *tables[1:]) for one in tables[0].split(threads.count)]))


def check_numbers(logits: Array, plan: Plan) -> tuple[Array, Array]:
    """Each channel's smallest and largest logit (K,).

    Raises
    ------
    ModelRefused
        If a logit is not a number, or infinite.
    """
    flat = logits.reshape(logits.shape[0], -1)
    low, high = flat.min(axis=1), flat.max(axis=1)
    if not (np.isfinite(low).all() and np.isfinite(high).all()):
        raise ModelRefused(NOT_NUMBERS.format(plan.name))
    return low, high


def on_host(values: Array) -> Array:
    """The values as a numpy array: they are one already."""
    return values


def blank(ids: NDArray[Any]) -> NDArray[Any]:
    """Labels to write into, all background: ``ids`` itself."""
    return ids


def collect(labels: NDArray[Any] | None, ids: NDArray[Any], plan: Plan) -> None:
    """Bring labels that `blank` gave into ``ids``: they are there already."""


def errors() -> AbstractContextManager[None]:
    """Errors need no translation here."""
    return nullcontext()


def largest(channels: Any, ids: list[int]) -> Labels:
    """The id of the largest of several arrays (i, j, k), which come one by one; on a tie the first."""
    best: Array | None = None
    for channel, label_id in zip(channels, ids, strict=True):
        if best is None:
            best = channel.copy()
            winner: Labels = np.full(channel.shape, label_id, np.uint16)
        else:
            np.copyto(winner, np.uint16(label_id), where=channel > best)
            np.maximum(best, channel, out=best)
    assert best is not None  # there is always a class that can win
    return winner


def _paint(
    logits: Array, schedule: Schedule, at: Step, plan: Plan, everywhere: Any, somewhere: Any
) -> Labels | int:
    """Regions painted one over another where their logit is above 0."""
    first = max((n for n in range(len(plan.regions)) if everywhere[n]), default=0)
    able = [n for n in range(first, len(plan.regions)) if somewhere[n]]
    if not able:
        return 0
    if able == [first] and everywhere[first]:
        return plan.regions[first].paints
    painted: Labels | None = None
    for n in able:
        inside = restore_box(logits[n : n + 1], schedule, at)[0] > 0
        if painted is None:
            painted = np.zeros(inside.shape, np.uint16)
        painted[inside] = plan.regions[n].paints
    assert painted is not None
    return painted


def ids_of(values: Array, plan: Plan, threshold: float) -> Labels:
    """Label ids from values of every channel (K, i, j, k): the largest, or regions above a threshold."""
    if not plan.regions:
        return largest(values, list(plan.class_ids))
    painted = np.zeros(values.shape[1:], np.uint16)
    for region, channel in zip(plan.regions, values, strict=True):
        painted[channel > threshold] = region.paints
    return painted


def probabilities_of(logits: Array, plan: Plan) -> Array:
    """Softmax over the channels (K, i, j, k); with regions the logistic function of each."""
    if plan.regions:
        # exp of a large number overflows: the two halves of the logistic function are computed apart.
        small = np.exp(-np.abs(logits))
        return np.asarray(np.where(logits >= 0, 1 / (1 + small), small / (1 + small)), np.float32)
    shares = np.exp(logits - logits.max(axis=0))
    shares /= shares.sum(axis=0)
    return np.asarray(shares, np.float32)


def entropy_of(probabilities: Array, plan: Plan) -> Array:
    """Predictive entropy (i, j, k) in nats: 0 where the network is sure, ln K where it has no idea.

    ``-sum p ln p`` (Shannon 1948) over the classes; with regions the mean of each channel's binary entropy.
    """
    total = _p_log_p(probabilities).sum(axis=0)
    if plan.regions:
        total = (total + _p_log_p(1 - probabilities).sum(axis=0)) / probabilities.shape[0]
    return np.asarray(np.maximum(-total, 0), np.float32)


def _p_log_p(p: Array) -> Array:
    return np.asarray(p * np.log(np.maximum(p, np.finfo(np.float32).tiny)), np.float32)
