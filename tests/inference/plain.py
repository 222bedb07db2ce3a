"""The plain computation: every logit of the whole scan in double precision, then the labels.

An oracle for the streaming engine. From medseg it takes the definition of the network's grid
(`network_geometry`, which has tests of its own) and the plan; windows, weights, interpolation, flips,
softmax and decisions are written anew. It needs classes x voxels of memory, which is the point.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates
from scipy.special import expit, softmax, xlogy

from medseg.geometry import Geometry
from medseg.plans import ChannelPlan, EmptyRule, Plan
from medseg.preprocess import network_geometry
from medseg.volume import Volume

Array = NDArray[np.float64]
Flips = list[tuple[list[int], list[int]]]
UNSEEN = -30.0


class Network(Protocol):
    """Anything that turns patches (B, C, *patch) into logits (B, K, *patch)."""

    def __call__(self, batch: NDArray[np.float32]) -> NDArray[np.float32]: ...


class Unclear(Exception):
    """A window's brightest voxel is too close to the threshold for two ways of rounding to agree."""


@dataclass(frozen=True, eq=False)
class PlainResult:
    """The whole scan, (K, I, J, K') or (I, J, K') on its own grid.

    ``margin`` is by how much the decision was made: the best class over the second best, or the smallest
    distance of any region from its threshold; in logits, for several grids in probabilities.
    """

    ids: NDArray[np.int64]
    margin: Array
    probabilities: Array
    entropy: Array
    windows: int
    skipped: int
    largest_logit: float
    grids: int


def plain(
    volume: Volume,
    members: Sequence[tuple[Plan, Network]],
    *,
    overlap: float | None = None,
    tta: bool = False,
    skip_empty: bool = True,
) -> PlainResult:
    """Segment a scan as `medseg.inference.segment` promises to, the long way.

    Members that see the scan alike share their logits, members that do not share their probabilities.
    """
    groups: dict[Any, list[tuple[Plan, Network]]] = {}
    for plan, network in members:
        inference = plan.inference
        alike = (plan.grid, plan.patch, plan.dimensions, inference.gaussian_sigma)
        groups.setdefault(repr((alike, overlap is None and inference.overlap)), []).append((plan, network))
    windows = skipped = 0
    logits: list[tuple[int, Array]] = []
    for group in groups.values():
        alone, count, empty = _logits(volume, group, overlap, tta, skip_empty)
        logits.append((len(group), alone))
        windows, skipped = windows + count, skipped + empty
    plan = members[0][0]
    squash = expit if plan.regions else _softmax
    probabilities = sum(n * squash(one) for n, one in logits) / len(members)
    deciding, threshold = (logits[0][1], 0.0) if len(logits) == 1 else (probabilities, 0.5)
    ids, margin = _decide(deciding, plan, threshold)
    entropy = -xlogy(probabilities, probabilities).sum(axis=0)
    if plan.regions:
        entropy = (entropy - xlogy(1 - probabilities, 1 - probabilities).sum(axis=0)) / len(plan.regions)
    return PlainResult(
        ids, margin, probabilities, entropy, windows, skipped, max(float(abs(x).max()) for _, x in logits),
        len(logits),
    )  # fmt: skip


def plain_logits(
    volume: Volume,
    members: Sequence[tuple[Plan, Network]],
    *,
    overlap: float | None = None,
    tta: bool = False,
    skip_empty: bool = True,
) -> Array:
    """Mean logits (K, x, y, z) of members whose windows are the same, on the network's grid."""
    return _on_the_networks_grid(volume, members, overlap, tta, skip_empty)[0]


def _logits(
    volume: Volume,
    members: Sequence[tuple[Plan, Network]],
    overlap: float | None,
    tta: bool,
    skip_empty: bool,
) -> tuple[Array, int, int]:
    """Mean logits (K, I, J, K') of one group on the scan's own grid; windows in all, and skipped."""
    logits, windows, skipped = _on_the_networks_grid(volume, members, overlap, tta, skip_empty)
    network = network_geometry(volume.geometry, members[0][0].grid)
    native = [interpolated(channel, network, volume.geometry) for channel in logits]
    return np.stack(native), windows, skipped


def _on_the_networks_grid(
    volume: Volume,
    members: Sequence[tuple[Plan, Network]],
    overlap: float | None,
    tta: bool,
    skip_empty: bool,
) -> tuple[Array, int, int]:
    """Mean logits (K, x, y, z) of one group on the network's grid; windows in all, and skipped."""
    plan = members[0][0]
    network = network_geometry(volume.geometry, plan.grid)
    raw = np.stack([interpolated(channel, volume.geometry, network) for channel in volume.data])
    scans = [
        np.stack([_normalised(x, channel) for x, channel in zip(raw, one.channels, strict=True)])
        for one, _ in members
    ]
    patch = (*plan.patch, 1) if plan.dimensions == 2 else plan.patch
    before = [max(0, p - n) // 2 for n, p in zip(network.shape, patch, strict=True)]
    after = [max(0, p - n) - b for n, p, b in zip(network.shape, patch, before, strict=True)]
    around = [(0, 0), *zip(before, after, strict=True)]
    padded = [np.pad(scan, around).astype(np.float32) for scan in scans]
    used = plan.inference.overlap if overlap is None else overlap
    weights = _weights(patch, plan.inference.gaussian_sigma)
    rules = {one.inference.empty for one, _ in members}
    rule = plan.inference.empty if skip_empty and len(rules) == 1 else None
    below = None if rule is None else _below(volume.data[rule.channel], rule)

    flips = [_flips(one, tta) for one, _ in members]
    total = np.zeros((len(plan.output_names), *padded[0].shape[1:]))
    weight = np.zeros(padded[0].shape[1:])
    axes = [_starts(n, p, used) for n, p in zip(weight.shape, patch, strict=True)]
    skipped = 0
    for corner in itertools.product(*axes):
        box = tuple(slice(s, s + p) for s, p in zip(corner, patch, strict=True))
        unpadded = tuple(slice(s.start - b, s.stop - b) for s, b in zip(box, before, strict=True))
        inside = all(s.start >= 0 and s.stop <= n for s, n in zip(unpadded, network.shape, strict=True))
        if rule is not None and below is not None and inside:
            brightest = float(raw[rule.channel][unpadded].max())
            if abs(brightest - below) < 1e-5 * max(1.0, abs(below)):
                raise Unclear
            if brightest < below:
                skipped += 1
                continue
        answers = [
            _answer(scan[(slice(None), *box)], run, turned, one.dimensions == 2)
            for scan, (one, run), turned in zip(padded, members, flips, strict=True)
        ]
        total[(slice(None), *box)] += weights * (sum(answers) / len(answers))
        weight[box] += weights
    unseen = weight == 0
    logits = total / np.where(unseen, 1.0, weight)
    logits[:, unseen] = UNSEEN
    if not plan.regions:
        logits[0, unseen] = 0.0
    cropped = tuple(slice(b, b + n) for n, b in zip(network.shape, before, strict=True))
    return logits[(slice(None), *cropped)], int(np.prod([len(starts) for starts in axes])), skipped


def _answer(patch: NDArray[np.float32], network: Network, flips: Flips, flat: bool) -> Array:
    """Logits (K, x, y, z) of one patch (C, x, y, z), the mean over all flips."""
    answers = []
    for axes, channels in flips:
        seen = np.ascontiguousarray(np.flip(patch, axes))[None]
        logits = network(seen[..., 0])[..., None] if flat else network(seen)
        answers.append(np.flip(np.array(logits[0], dtype=np.float64), axes)[channels])
    return np.asarray(sum(answers) / len(answers))


def _flips(plan: Plan, tta: bool) -> Flips:
    """Every combination of flips: axes of an array (K, x, y, z), and the order of its channels after."""
    axes = mirror_axes(plan) if tta else []
    as_they_are, swapped = list(range(len(plan.output_names))), partners(plan)
    flips = []
    for turned in itertools.product((False, True), repeat=len(axes)):
        flip = [a for a, on in zip(axes, turned, strict=True) if on]
        sides = 0 in flip and plan.grid.orientation is not None
        flips.append(([a + 1 for a in flip], swapped if sides else as_they_are))
    return flips


def mirror_axes(plan: Plan) -> list[int]:
    """Flips that the model was trained with and that leave every structure on its own side."""
    trained = [a for a in sorted(plan.inference.mirror_axes) if a in plan.augmentation.flip_axes]
    labels = plan.label_set
    if plan.grid.orientation is None:
        return [] if labels.mirrored_ids or labels.one_sided_ids else trained
    parts = [set(region.labels) for region in plan.regions]
    homeless = any(_mirrored(part, plan) not in parts for part in parts)
    return [a for a in trained if a != 0 or not (labels.one_sided_ids or homeless)]


def partners(plan: Plan) -> list[int]:
    """For each output channel the channel of the same structure on the other side."""
    if not plan.regions:
        other = plan.label_set.mirrored_ids
        return [plan.class_ids.index(other.get(i, i)) for i in plan.class_ids]
    parts = [set(region.labels) for region in plan.regions]
    mirrored = [_mirrored(part, plan) for part in parts]
    if any(part not in parts for part in mirrored):  # no flip is made
        return list(range(len(parts)))
    return [n if parts[n] == part else parts.index(part) for n, part in enumerate(mirrored)]


def _mirrored(part: set[int], plan: Plan) -> set[int]:
    other = plan.label_set.mirrored_ids
    return {other.get(i, i) for i in part}


def _starts(size: int, patch: int, overlap: float) -> list[int]:
    """Evenly spaced, the last flush with the end, as many as steps of patch * (1 - overlap) need."""
    step = max(1, int(patch * (1 - overlap) + 1e-6))
    count = int(np.ceil((size - patch) / step)) + 1
    return [int(n) for n in np.rint(np.arange(count) * (size - patch) / max(1, count - 1))]


def _weights(patch: Sequence[int], sigma: float) -> Array:
    """A Gaussian round the middle of the patch, at least a thousandth."""
    from_middle = np.stack([i - (n - 1) / 2 for i, n in zip(np.indices(patch), patch, strict=True)])
    widths = sigma * np.array(patch, dtype=np.float64).reshape(-1, 1, 1, 1)
    return np.asarray(np.maximum(np.exp(-0.5 * ((from_middle / widths) ** 2).sum(axis=0)), 1e-3))


def _below(channel: NDArray[Any], rule: EmptyRule) -> float | None:
    if rule.unit == "intensity":
        return rule.below
    low, high = np.percentile(channel.astype(np.float64), (1, 99))
    return float(low + rule.below * (high - low)) if high > low else None


def _normalised(values: Array, channel: ChannelPlan) -> Array:
    if channel.normalisation == "zscore":
        std = values.std()  # of a constant channel what interpolation rounded
        return (values - values.mean()) / (std if std > 1e-9 * abs(values).max() else 1.0)
    clipped = np.clip(values, channel.low, channel.high)
    if channel.normalisation == "window":
        return (clipped - channel.mean) / channel.std
    assert channel.low is not None and channel.high is not None  # noqa: PT018
    return (clipped - channel.low) / (channel.high - channel.low)


def interpolated(values: NDArray[Any], source: Geometry, target: Geometry) -> Array:
    """Linear interpolation from grid to grid, voxel by voxel through world coordinates."""
    index = np.moveaxis(np.indices(target.shape), 0, -1)
    where = np.moveaxis(source.world_to_index(target.index_to_world(index)), -1, 0)
    return np.asarray(
        map_coordinates(values.astype(np.float64), where, order=1, mode="nearest", prefilter=False)
    )


def _softmax(logits: Array) -> Array:
    return np.asarray(softmax(logits, axis=0))


def _decide(values: Array, plan: Plan, threshold: float) -> tuple[NDArray[np.int64], Array]:
    if plan.regions:
        ids = np.zeros(values.shape[1:], np.int64)
        for region, value in zip(plan.regions, values, strict=True):
            ids[value > threshold] = region.paints
        return ids, np.abs(values - threshold).min(axis=0)
    order = np.sort(values, axis=0)
    return np.array(plan.class_ids)[values.argmax(axis=0)], order[-1] - order[-2]
