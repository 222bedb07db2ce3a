"""Logits of a whole scan from a network that sees one patch at a time."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from medseg.errors import ModelRefused, UsageError
from medseg.inference.windows import batches, gaussian_window, window_starts
from medseg.plans import Plan

Array = NDArray[np.float32]
Forward = Callable[[Array], NDArray[np.floating]]
Progress = Callable[[str, int, int], None]


def predict_logits(
    data: Array,
    plan: Plan,
    forward: Forward,
    *,
    overlap: float | None = None,
    batch_size: int = 1,
    mirror_axes: Sequence[int] = (),
    progress: Progress | None = None,
) -> Array:
    """Logits of every voxel on the network's grid.

    A scan smaller than the patch is padded evenly with zeros (the mean, after normalisation) and
    cropped back. Overlapping windows are averaged with `gaussian_window` weights. A 2D plan's slices
    go through one by one, ``batch_size`` at a time.

    Parameters
    ----------
    data
        float32 (C, x, y, z), prepared by `medseg.preprocess.prepare`.
    plan
        Gives patch, classes, window weights and the default overlap.
    forward
        The network: (B, C, *patch) to logits (B, K, *patch), K as in ``plan.class_ids``.
    overlap
        Share of the patch, 0 <= overlap < 1; None takes the plan's.
    batch_size
        Windows per call of ``forward``.
    mirror_axes
        Array axes to flip for test-time augmentation: logits are averaged over every combination of
        flips. Flipping left and right swaps paired labels back; see `usable_mirror_axes`.
    progress
        Called as ``progress("predict", windows done, windows in all)``; may raise to cancel.

    Returns
    -------
    numpy.ndarray
        float32 (K, x, y, z).
    """
    patch = (*plan.patch, 1) if plan.dimensions == 2 else plan.patch
    run = _with_flips(forward, plan, mirror_axes)
    padded, inside = _pad(np.asarray(data, dtype=np.float32), patch)
    shape = padded.shape[1:]
    starts = window_starts(shape, patch, plan.inference.overlap if overlap is None else overlap)
    classes = len(plan.class_ids)

    # Where no window overlaps another, weights cancel: the ordinary case of a scan in one patch.
    alone = all(start % size == 0 for corner in starts for start, size in zip(corner, patch, strict=True))
    weights = None if alone else gaussian_window(patch, plan.inference.gaussian_sigma)
    total = None if len(starts) == 1 else np.zeros((classes, *shape), dtype=np.float32)
    weight_sum = np.zeros(shape, dtype=np.float32) if weights is not None else None

    done = 0
    for corners in batches(starts, batch_size):
        windows = [tuple(slice(s, s + p) for s, p in zip(c, patch, strict=True)) for c in corners]
        batch = np.stack([padded[(slice(None), *window)] for window in windows])
        logits = _checked(run(batch), (len(corners), classes, *patch))
        if total is None:
            total = np.asarray(logits[0], dtype=np.float32)
        elif weights is None or weight_sum is None:
            for window, part in zip(windows, logits, strict=True):
                total[(slice(None), *window)] = part
        else:
            for window, part in zip(windows, logits, strict=True):
                total[(slice(None), *window)] += part * weights
                weight_sum[window] += weights
        done += len(corners)
        if progress is not None:
            progress("predict", done, len(starts))
    assert total is not None  # there is always a window
    if weight_sum is not None:
        total /= weight_sum
    return np.ascontiguousarray(total[(slice(None), *inside)])


def usable_mirror_axes(plan: Plan) -> tuple[int, ...]:
    """The plan's mirror axes along which a flip leaves no label on the wrong side.

    Labels in left/right pairs are swapped back where the left-right axis is known (axis 0 of a RAS
    grid). A label that names a side but has no partner, or sided labels on a grid whose axes have no
    anatomical meaning, forbid the flip.
    """
    return flips_that_keep_sides(plan, plan.inference.mirror_axes)


def flips_that_keep_sides(plan: Plan, axes: Sequence[int]) -> tuple[int, ...]:
    """Those of ``axes`` that `usable_mirror_axes` would allow; training's flips follow the same rule."""
    labels = plan.label_set
    sided = bool(labels.mirrored_ids or labels.one_sided_ids)
    if plan.grid.orientation is None:
        return () if sided else tuple(axes)
    return tuple(a for a in axes if a != 0 or not labels.one_sided_ids)


def _with_flips(forward: Forward, plan: Plan, mirror_axes: Sequence[int]) -> Forward:
    """``forward`` on windows (B, C, x, y, z) whatever the plan's dimensions, averaged over flips."""
    forbidden = set(mirror_axes) - set(usable_mirror_axes(plan))
    if forbidden:
        raise UsageError(
            f"mirror axes {sorted(forbidden)}: model {plan.name!r} allows {list(usable_mirror_axes(plan))} "
            "(its plan's inference.mirror_axes, less those that would swap sides)"
        )
    flat = plan.dimensions == 2
    flips = [f for n in range(len(mirror_axes) + 1) for f in itertools.combinations(sorted(mirror_axes), n)]

    def run(batch: Array) -> NDArray[np.floating]:
        mean: Array | None = None
        for flip in flips:
            axes = tuple(2 + a for a in flip)
            turned = np.ascontiguousarray(np.flip(batch, axes))
            logits = forward(turned[..., 0])[..., None] if flat else forward(turned)
            if len(flips) == 1:
                return logits
            back = np.flip(logits, axes)
            if 0 in flip and plan.grid.orientation is not None:
                back = back[:, _swapped_channels(plan)]
            mean = back.astype(np.float32) if mean is None else np.add(mean, back, dtype=np.float32)
        assert mean is not None  # the empty flip is always there
        return mean / np.float32(len(flips))

    return run


def _swapped_channels(plan: Plan) -> list[int]:
    """For each network channel the channel of its label's partner on the other side."""
    partner = plan.label_set.mirrored_ids
    return [plan.class_ids.index(partner.get(i, i)) for i in plan.class_ids]


def _pad(data: Array, patch: Sequence[int]) -> tuple[Array, tuple[slice, ...]]:
    """``data`` padded with zeros to at least the patch, and where the scan lies inside."""
    sizes = data.shape[1:]
    missing = [max(0, p - n) for n, p in zip(sizes, patch, strict=True)]
    inside = tuple(slice(m // 2, m // 2 + n) for n, m in zip(sizes, missing, strict=True))
    if not any(missing):
        return data, inside
    return np.pad(data, [(0, 0), *((m // 2, m - m // 2) for m in missing)]), inside


def _checked(logits: NDArray[np.floating], expected: tuple[int, ...]) -> NDArray[np.floating]:
    if logits.shape != expected:
        raise ModelRefused(
            f"the network returned logits of shape {logits.shape}, its plan promises {expected} "
            "(batch, classes, patch)"
        )
    return logits
