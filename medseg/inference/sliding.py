"""Logits of a whole scan in one array: for validation while training, where they are wanted whole."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from medseg.geometry import Geometry
from medseg.inference.cells import MemoryStore
from medseg.inference.finish import logits_of
from medseg.inference.flips import Forward, with_flips
from medseg.inference.schedule import Step, schedule
from medseg.inference.stream import check_shape, run, window_size
from medseg.inference.sums import Sums, make_float32
from medseg.inference.windows import gaussian_window
from medseg.plans import Plan
from medseg.preprocess.patches import cut

Array = NDArray[np.float32]
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
    go through one by one, ``batch_size`` at a time, with their neighbours where the plan has them.

    Parameters
    ----------
    data
        float32 (C, x, y, z), prepared by `medseg.preprocess.prepare`.
    plan
        Gives patch, classes, window weights and the default overlap.
    forward
        The network: (B, ``plan.input_channels``, *patch) to logits (B, K, *patch), K as in
        ``plan.output_names``.
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
    data = np.asarray(data, dtype=np.float32)
    patch = window_size(plan)
    grid = Geometry(data.shape[1:], np.eye(4))
    windows = schedule(grid, grid, patch, plan.inference.overlap if overlap is None else overlap)
    weights = gaussian_window(patch, plan.inference.gaussian_sigma) if windows.overlapping else None
    network = with_flips(forward, plan, mirror_axes)
    channels = len(plan.output_names)
    whole = np.empty((channels, *data.shape[1:]), np.float32)
    done = 0

    def logits(corners: Sequence[Step]) -> NDArray[np.floating]:
        batch = np.stack([cut(data, corner, patch, neighbours=plan.grid.neighbours) for corner in corners])
        found: NDArray[np.floating] = network(batch)
        check_shape(found, (len(corners), channels, *patch))
        return found

    def tick(windows_done: int) -> None:
        nonlocal done
        done += windows_done
        if progress is not None:
            progress("predict", done, windows.windows)

    sums = Sums(windows, channels, weights, MemoryStore(make_float32))
    for finished in run(windows, logits, sums, weights, batch_size=batch_size, tick=tick):
        box = windows.native_box(finished.at)
        assert box is not None  # boxes without voxels are not handed over
        inside = (
            slice(part.start + axis.pad - axis.keep[t], part.stop + axis.pad - axis.keep[t])
            for part, axis, t in zip(box, windows.axes, finished.at, strict=True)
        )
        found = logits_of(finished.sums, finished.weights, plan)
        whole[(slice(None), *box)] = found[(slice(None), *inside)]
    return whole
