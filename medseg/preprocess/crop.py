"""The part of a scan that shows something: what surrounds it is air, at which no network need look."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medseg.geometry import Geometry
from medseg.plans import ChannelPlan, CropRule, Plan
from medseg.preprocess.normalise import RANGE_PERCENTILES, clip_limits, spread_values
from medseg.preprocess.prepare import check_fits
from medseg.volume import Volume

Box = tuple[slice, slice, slice]

# Noise and single bright voxels vanish in the mean of a block of about this size.
_BLOCK_MM = 4.0
# A bright block with fewer bright blocks beside it, of six, is a speck. Tissue of two blocks each way has no
# such block, and a strand of one loses its last block, which the margin gives back.
_NEIGHBOURS = 2


def foreground_box(volume: Volume, plans: Sequence[Plan]) -> Box | None:
    """The box of a scan that its networks need see, or None for all of it.

    By the rule `medseg.plans.CropRule` of the plans' inference: the bounding box of blocks whose mean is
    brighter than the threshold, specks left out, and the margin. A channel's Hounsfield units are clipped
    before as its plan says. Means that are not finite count as bright.

    Parameters
    ----------
    volume
        Any orientation and spacing; the box has the scan's own axes. Where the spacing is not known a pixel
        counts as 1 mm.
    plans
        Of one model, or of an ensemble, which gets the box that holds all members' boxes.

    Returns
    -------
    Three slices of (I, J, K) with start and stop. None if a plan has no rule, if nothing or everything is
    foreground, or if a channel's two percentiles are equal: no box is better than one that cuts tissue.

    Raises
    ------
    InputRefused
        As `medseg.preprocess.prepare`.
    """
    if any(plan.inference.crop is None for plan in plans):
        return None
    boxes: list[Box] = []
    for plan in plans:
        check_fits(volume, plan)
        for channel, channel_plan in zip(volume.data, plan.channels, strict=True):
            assert plan.inference.crop is not None  # looked at above
            box = _box_of(channel, volume.geometry.spacing, channel_plan, plan.inference.crop)
            if box is None:
                return None
            box = _from_the_top(box, volume.geometry, plan.inference.crop)
            boxes.append(box)
    i, j, k = (
        slice(min(p.start for p in parts), max(p.stop for p in parts)) for parts in zip(*boxes, strict=True)
    )
    whole = all(part == slice(0, size) for part, size in zip((i, j, k), volume.geometry.shape, strict=True))
    return None if whole else (i, j, k)


def cropped(volume: Volume, box: Box | None) -> Volume:
    """A scan's box as a scan of its own, a view of the same voxels at the same place; None is all of it."""
    if box is None:
        return volume
    start, shape = [part.start for part in box], [part.stop - part.start for part in box]
    geometry = volume.geometry.cropped((start[0], start[1], start[2]), (shape[0], shape[1], shape[2]))
    return Volume(volume.data[(slice(None), *box)], geometry, volume.source, volume.verdict)


def _box_of(channel: NDArray[Any], spacing: Sequence[float], plan: ChannelPlan, rule: CropRule) -> Box | None:
    """One channel's box; None where there is none to be found."""
    values = spread_values(channel)
    if values.size == 0:
        return None
    limits = clip_limits(values, plan)
    if limits is not None:
        values = np.clip(values, *limits)
    low, high = (float(value) for value in np.percentile(values, RANGE_PERCENTILES))
    if not low < high:
        return None
    sizes = [min(n, max(1, round(_BLOCK_MM / mm))) for n, mm in zip(channel.shape, spacing, strict=True)]
    bright = _without_specks(~(_block_means(channel, sizes, limits) <= low + rule.above * (high - low)))
    if not bright.any():
        return None
    parts = []
    for axis, (n, size, mm) in enumerate(zip(channel.shape, sizes, spacing, strict=True)):
        there = np.flatnonzero(bright.any(axis=tuple(other for other in range(3) if other != axis)))
        margin = ceil(rule.margin_mm / mm)
        parts.append(
            slice(max(0, int(there[0]) * size - margin), min(n, (int(there[-1]) + 1) * size + margin))
        )
    return parts[0], parts[1], parts[2]


def _from_the_top(box: Box, geometry: Geometry, rule: CropRule) -> Box:
    """The box down to ``top_mm`` below its superior end (and margin), along the axis closest to superior.

    As FSL's ``robustfov`` leaves out the neck: where the head ends nobody knows, how long it is at most
    everybody does.
    """
    if rule.top_mm is None or geometry.is_2d:
        return box
    axis = geometry.closest_world_axes.index(2)
    length = ceil((rule.top_mm + rule.margin_mm) / geometry.spacing[axis])
    part = box[axis]
    upwards = geometry.affine[2, axis] > 0
    kept = (
        slice(max(part.start, part.stop - length), part.stop)
        if upwards
        else slice(part.start, min(part.stop, part.start + length))
    )
    i, j, k = (kept if n == axis else one for n, one in enumerate(box))
    return i, j, k


def _block_means(
    channel: NDArray[Any], sizes: Sequence[int], limits: tuple[float, float] | None
) -> NDArray[np.float32]:
    """Means of blocks of a channel (I, J, K), clipped before; the last block of an axis may be smaller."""
    slow = int(np.argmax(np.abs(channel.strides)))  # planes as they lie in memory, whichever axis that is
    planes = np.moveaxis(channel, slow, 0)
    size, *across = (sizes[slow], *(one for axis, one in enumerate(sizes) if axis != slow))
    edges = [np.arange(0, n, one) for n, one in zip(planes.shape[1:], across, strict=True)]
    counts = [np.diff([*edge, n]) for edge, n in zip(edges, planes.shape[1:], strict=True)]
    means = np.empty((-(-planes.shape[0] // size), *(edge.size for edge in edges)), np.float32)
    with np.errstate(invalid="ignore", over="ignore"):  # of what is not finite, which counts as bright
        for n, first in enumerate(range(0, planes.shape[0], size)):
            slab = planes[first : first + size].astype(np.float32)
            if limits is not None:
                np.clip(slab, *limits, out=slab)
            sums = np.add.reduceat(slab.sum(axis=0), edges[0], axis=0)
            sums = np.add.reduceat(sums, edges[1], axis=1)
            means[n] = sums / (len(slab) * np.outer(*counts))
    means[~np.isfinite(means)] = np.inf
    return np.moveaxis(means, 0, slow)


def _without_specks(bright: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Bright blocks with enough bright blocks beside them, of those axes that have more than one."""
    wide = [axis for axis, n in enumerate(bright.shape) if n > 1]
    padded = np.pad(bright, 1)
    middle = (slice(1, -1),) * 3
    beside = np.zeros(bright.shape, np.uint8)
    for axis in wide:
        for shifted in (slice(0, -2), slice(2, None)):
            beside += padded[(*middle[:axis], shifted, *middle[axis + 1 :])]
    return bright & (beside >= min(_NEIGHBOURS, len(wide)))
