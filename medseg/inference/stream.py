"""One pass over a scan: windows through the networks, and finished boxes out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medseg.errors import ModelRefused
from medseg.geometry import Geometry
from medseg.inference.backends import Backend
from medseg.inference.flips import usable_mirror_axes, with_flips
from medseg.inference.schedule import Schedule, Step, along_native_axis, schedule
from medseg.inference.sums import Sums
from medseg.inference.weights import WeightSums
from medseg.inference.windows import gaussian_window
from medseg.plans import Plan
from medseg.preprocess import Patches
from medseg.volume import Volume

Forward = Callable[[NDArray[np.float32]], Any]
Tick = Callable[[int], None]


@dataclass(frozen=True, slots=True, eq=False)
class Member:
    """A model ready to run: its plan, and its network in a backend. An ensemble has several."""

    plan: Plan
    backend: Backend


@dataclass(frozen=True, slots=True, eq=False)
class Finished:
    """A box that no later window touches.

    Attributes
    ----------
    at
        The step that finished it, which says where it lies: see `Schedule`.
    sums
        float32 (K, x, y, z), in memory that is used again when the next box is asked for; None where no
        window that ran touches the box.
    weights
        float32 (x, y, z) to divide by; None where there is nothing to divide by.
    """

    at: Step
    sums: Any
    weights: NDArray[np.float32] | None


class Group:
    """Members whose windows are the same, so that their logits can be averaged window by window.

    Attributes
    ----------
    plan
        The first member's, which speaks for all as to grid, patch and labels.
    schedule
        The windows.
    weights
        float32 (x, y, z) of a window's voxels; None where windows do not overlap.
    """

    def __init__(self, volume: Volume, members: Sequence[Member], overlap: float | None, tta: bool) -> None:
        self.plan = members[0].plan
        self.members = tuple(members)
        shared: dict[Any, Patches] = {}
        self._patches = []
        for member in members:  # folds often normalise alike: one copy of the scan serves them
            if member.plan.channels not in shared:
                shared[member.plan.channels] = Patches(volume, member.plan)
            self._patches.append(shared[member.plan.channels])
        patch = window_size(self.plan)
        self.schedule: Schedule = schedule(
            self._patches[0].geometry,
            volume.geometry,
            patch,
            self.plan.inference.overlap if overlap is None else overlap,
        )
        sigma = self.plan.inference.gaussian_sigma
        self.weights = gaussian_window(patch, sigma) if self.schedule.overlapping else None
        self._flips = [usable_mirror_axes(member.plan) if tta else () for member in members]
        self._channels = len(self.plan.output_names)
        self.batch_size = min(member.backend.batch_size for member in members)

    @property
    def geometry(self) -> Geometry:
        """The network's grid."""
        return self._patches[0].geometry

    @property
    def data(self) -> NDArray[Any]:
        """The scan (C, x, y, z) on the network's grid, not normalised."""
        return self._patches[0].data

    def go_along(self, native_axis: int) -> None:
        """Work slab by slab along this axis of the scan's own grid, whatever that carries."""
        self.schedule = along_native_axis(self.schedule, native_axis)

    @property
    def channels(self) -> int:
        """Output channels of the networks."""
        return self._channels

    @property
    def averaged(self) -> bool:
        """Whether a window's logits are a mean, over flips or members."""
        return len(self.members) > 1 or any(self._flips)

    def flipping(self, forwards: Sequence[Forward]) -> list[Forward]:
        """The members' networks, given as plain forward passes, averaged over each one's flips."""
        return [
            with_flips(forward, member.plan, flips)
            for member, flips, forward in zip(self.members, self._flips, forwards, strict=True)
        ]

    def logits(self, corners: Sequence[Step], networks: Sequence[Forward]) -> Any:
        """Mean logits (B, K, *patch) of windows over the members, whose networks `flipping` gave.

        May lie in memory that the next call overwrites.
        """
        total: Any = None
        shape = (len(corners), self._channels, *self.schedule.patch)
        for patches, network in zip(self._patches, networks, strict=True):
            batch = [patches.patch(corner, self.schedule.patch) for corner in corners]
            logits = network(np.stack(batch) if len(batch) > 1 else batch[0][None])
            check_shape(logits, shape)
            if len(self.members) == 1:
                return logits
            if total is None:
                total = logits + 0.0  # a copy: the next call may overwrite what the network gave
            else:
                total += logits
        total *= 1 / len(self.members)
        return total


def run(
    windows: Schedule,
    logits: Callable[[Sequence[Step]], Any],
    sums: Sums,
    weights: NDArray[np.float32] | None,
    *,
    batch_size: int = 1,
    ran: NDArray[np.bool_] | None = None,
    tick: Tick | None = None,
    every: bool = False,
) -> Iterator[Finished]:
    """Run every window, in order, and give each box when it is finished.

    Parameters
    ----------
    logits
        Window corners in the scan on the network's grid to logits (B, K, *patch).
    weights
        Those that ``sums`` multiplies with.
    batch_size
        The most windows per call of ``logits``.
    ran
        Which windows to run (counts of windows along the array's axes); None for all.
    tick
        Called with the number of windows just done; may raise to cancel.
    every
        Also give boxes that no voxel of the scan's own grid needs: where the network's grid is the finer.
    """
    weight_sums = None
    if weights is not None or ran is not None:
        one = np.ones(windows.patch, np.float32) if weights is None else weights
        weight_sums = WeightSums(windows, one, ran)
    for steps in _batches(windows.steps(), batch_size, ran):
        running = [ran is None or bool(ran[at]) for at in steps]
        corners = [windows.corner(at) for at, runs in zip(steps, running, strict=True) if runs]
        parts = iter(logits(corners)) if corners else iter(())
        for at, runs in zip(steps, running, strict=True):
            finished = sums.add(at, next(parts) if runs else None)
            if every or windows.native_box(at) is not None:
                yield Finished(at, finished, None if weight_sums is None else weight_sums.box(at))
        if tick is not None:
            tick(len(steps))


def check_shape(logits: Any, expected: tuple[int, ...]) -> None:
    """Refuse a network whose output is not what its plan promises."""
    if tuple(logits.shape) != expected:
        raise ModelRefused(
            f"the network returned logits of shape {tuple(logits.shape)}, its plan promises {expected} "
            "(batch, channels, patch)"
        )


def window_size(plan: Plan) -> tuple[int, int, int]:
    """Size of a window along the three axes of the network's grid; a slice for a 2D plan."""
    i, j, k = (*plan.patch, 1) if plan.dimensions == 2 else plan.patch
    return i, j, k


def _batches(steps: Iterator[Step], size: int, ran: NDArray[np.bool_] | None) -> Iterator[list[Step]]:
    """Consecutive steps of which at most ``size`` run."""
    batch: list[Step] = []
    running = 0
    for at in steps:
        batch.append(at)
        running += ran is None or bool(ran[at])
        if running == size or len(batch) == 16 * size:  # progress goes on where nothing runs
            yield batch
            batch, running = [], 0
    if batch:
        yield batch
