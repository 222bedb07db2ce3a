"""Test-time augmentation: which flips keep left on the left, and the mean over them."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medseg.errors import UsageError
from medseg.plans import Plan

Forward = Callable[[NDArray[np.float32]], Any]


def usable_mirror_axes(plan: Plan) -> tuple[int, ...]:
    """The plan's mirror axes that it was trained with, and along which no label lands on the wrong side.

    Labels in left/right pairs are swapped back where the left-right axis is known (axis 0 of a RAS
    grid; no flip within a sagittal slice swaps sides). A label that names a side but has no partner, or
    sided labels on a grid whose axes have no anatomical meaning, forbid the flip.
    """
    trained = set(plan.trained_flips)
    return flips_that_keep_sides(plan, [axis for axis in plan.inference.mirror_axes if axis in trained])


def flips_that_keep_sides(plan: Plan, axes: Sequence[int]) -> tuple[int, ...]:
    """Those of ``axes`` that `usable_mirror_axes` would allow; training's flips follow the same rule."""
    labels = plan.label_set
    sided = bool(labels.mirrored_ids or labels.one_sided_ids)
    if plan.grid.orientation is None:
        return () if sided else tuple(axes)
    partnered = not labels.one_sided_ids and _regions_have_partners(plan)
    return tuple(a for a in axes if a != plan.lateral_axis or partnered)


def with_flips(forward: Forward, plan: Plan, mirror_axes: Sequence[int]) -> Forward:
    """``forward`` on windows (B, C, x, y, z) whatever the plan's dimensions, averaged over flips.

    Its result may lie in memory that the next call overwrites.

    Raises
    ------
    UsageError
        If an axis is not one of `usable_mirror_axes`.
    """
    forbidden = set(mirror_axes) - set(usable_mirror_axes(plan))
    if forbidden:
        raise UsageError(
            f"mirror axes {sorted(forbidden)}: model {plan.name!r} allows {list(usable_mirror_axes(plan))} "
            "(its plan's inference.mirror_axes that it was trained with, less those that would swap sides)"
        )
    flat = plan.dimensions == 2
    flips = [f for n in range(len(mirror_axes) + 1) for f in itertools.combinations(sorted(mirror_axes), n)]
    lateral = plan.lateral_axis
    swapped = swapped_channels(plan) if lateral in mirror_axes else None

    def run(batch: NDArray[np.float32]) -> Any:
        total: Any = None
        for flip in flips:
            axes = tuple(2 + axis for axis in flip)
            turned = np.ascontiguousarray(np.flip(batch, axes)) if flip else batch
            logits = forward(turned[..., 0])[..., None] if flat else forward(turned)
            if len(flips) == 1:
                return logits
            back = _flipped(logits, axes)
            if swapped is not None and lateral in flip:
                back = back[:, swapped]
            if total is None:
                total = back + 0.0  # a copy: the next call may overwrite what the network gave
            else:
                total += back
        total *= 1 / len(flips)
        return total

    return run


def swapped_channels(plan: Plan) -> list[int]:
    """For each network channel the channel of its label's partner on the other side."""
    partner = plan.label_set.mirrored_ids
    if not plan.regions:
        return [plan.class_ids.index(partner.get(i, i)) for i in plan.class_ids]
    parts, turned = _regions(plan)
    return [n if part == parts[n] else parts.index(part) for n, part in enumerate(turned)]


def _regions_have_partners(plan: Plan) -> bool:
    parts, turned = _regions(plan)
    return set(turned) <= set(parts)


def _regions(plan: Plan) -> tuple[list[frozenset[int]], list[frozenset[int]]]:
    """The labels of each region, and those on the other side."""
    partner = plan.label_set.mirrored_ids
    parts = [frozenset(region.labels) for region in plan.regions]
    return parts, [frozenset(partner.get(i, i) for i in part) for part in parts]


def _flipped(logits: Any, axes: tuple[int, ...]) -> Any:
    """numpy's or torch's flip."""
    if not axes:
        return logits
    return np.flip(logits, axes) if isinstance(logits, np.ndarray) else logits.flip(axes)
