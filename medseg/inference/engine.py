"""One scan through one model or several: the place where a scan becomes label ids.

No array of classes x scan is ever held. Windows run in slabs; what no later window touches is divided by
its weights, interpolated to the scan's own grid, decided, written into the label map, and dropped.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medseg.errors import DeviceOutOfMemory, OutOfMemory, UsageError
from medseg.inference import finish
from medseg.inference.backends import usable_processors
from medseg.inference.cells import DiskStore, MemoryStore, Store
from medseg.inference.empty import EmptyWindows
from medseg.inference.join import Join
from medseg.inference.maps import Maps
from medseg.inference.memory import SUMS, MemoryPlan, amount, memory_plans
from medseg.inference.stream import Finished, Group, Member, run, window_size
from medseg.inference.sums import Sums, make_float32
from medseg.inference.threads import Threads
from medseg.volume import Volume

_WHERE = {"device": "on the GPU", "memory": "in main memory", "disk": "in a scratch file"}

Progress = Callable[[str, int, int], None]
Ids = NDArray[np.unsignedinteger[Any]]


@dataclass(frozen=True, slots=True)
class WindowCount:
    """Windows of a scan, over all grids of an ensemble, and how many of them were skipped as empty."""

    total: int
    skipped: int


@dataclass(frozen=True, slots=True, eq=False)
class Prediction:
    """What a network says about a scan, on the scan's own grid.

    Parameters
    ----------
    ids
        (I, J, K) uint8, or uint16 where a label id needs it: 0 or a label id of the plan.
    timings_s
        Seconds for ``prepare`` (orient, resample, plan), ``network`` (all forward passes) and ``finish``
        (everything that was done with their results).
    windows
        How many there were.
    memory
        What was planned.
    notes
        What a person should know of how the result came about, e.g. that the GPU's memory did not do.
    """

    ids: Ids
    timings_s: dict[str, float]
    windows: WindowCount
    memory: MemoryPlan
    notes: tuple[str, ...] = ()


def segment(
    volume: Volume,
    members: Sequence[Member],
    *,
    overlap: float | None = None,
    tta: bool = False,
    skip_empty: bool = True,
    maps: Maps | None = None,
    map_bytes: int = 0,
    max_memory: int | None = None,
    scratch: Path | None = None,
    sums: str = "auto",
    progress: Progress | None = None,
) -> Prediction:
    """Segment a scan on its own grid.

    Logits, not labels, are interpolated back to the scan's grid, and the largest wins; on a tie the
    class that comes first in the plan, background before all. Members whose windows are the same (folds)
    give the mean of their logits; members on different grids the mean of their probabilities.

    Parameters
    ----------
    volume
        The scan; its channels are the plans'.
    members
        One model, or an ensemble of models with the same labels and channels.
    overlap
        Of neighbouring windows; None takes each plan's.
    tta
        Average over each plan's flips, as far as they keep left and right.
    skip_empty
        Leave out windows that the plans' rules call empty. Of an ensemble a window is left out only if
        every member on its grid has the same rule.
    maps
        Receives probabilities and entropy, box by box.
    map_bytes
        Memory that ``maps`` will hold.
    max_memory
        Bytes that the process may take at its peak; None: what the machine has free. Where sums do not
        fit they wait in a scratch file, which changes no label.
    scratch
        Folder for that file; None is the system's temporary folder.
    sums
        ``"f32"``, ``"f16"`` (half the memory, labels differ where classes are all but equal), or
        ``"auto"``: f32, and f16 only where nothing else fits.
    progress
        Called as ``progress("predict", windows done, windows in all)``; may raise to cancel.

    Raises
    ------
    InputRefused
        If the scan does not fit the plan; see `medseg.preprocess.prepare`.
    ModelRefused
        If a network's output is not what its plan promises, or not numbers.
    OutOfMemory
        If no plan fits; nothing has been computed then.
    """
    if sums not in SUMS:
        raise UsageError(f"sums {sums!r}: expected one of {', '.join(SUMS)}")
    if not members:
        raise UsageError("no model to segment with")
    start = perf_counter()
    groups = [Group(volume, alike, overlap, tta) for alike in _alike(members, overlap)]
    if len(groups) > 1:
        slowest = groups[0].schedule.slowest_native_axis
        for group in groups[1:]:
            group.go_along(slowest)
    ran = [_windows_to_run(group, volume) if skip_empty else None for group in groups]
    threads = max(int(member.backend.settings.get("threads", 0)) for member in members) or usable_processors()
    voxels = int(np.prod(volume.geometry.shape))
    dtype = np.uint8 if max(members[0].plan.class_ids) <= 255 else np.uint16
    plans = memory_plans(
        groups,
        output_bytes=voxels * np.dtype(dtype).itemsize + map_bytes,
        maps=maps is not None and bool(maps.names),
        limit=max_memory,
        sums=sums,
        scratch=scratch,
        threads=threads,
    )
    ready = perf_counter()
    ids = np.zeros(volume.geometry.shape, dtype)
    notes = []
    for plan, lower in zip(plans, [*plans[1:], None], strict=True):
        work = _Pass(groups, ran, ids, maps, plan, scratch, threads, progress)
        try:
            work.go()
        except DeviceOutOfMemory as error:
            if lower is None or plan.place != "device":
                raise  # it is the network that does not fit
            notes.append(
                f"the GPU ran out of memory ({error}): computed again with sums {_WHERE[lower.place]}, in "
                f"{lower.sums}"
            )
            ids[...] = 0
            if maps is not None:
                maps.restart()
            continue
        except OutOfMemory:
            raise
        except MemoryError as error:
            raise OutOfMemory(
                f"memory ran out, though {amount(plan.predicted_bytes)} were thought to be enough: other "
                "programs may have taken it; set --max-memory to what may be used"
            ) from error
        break
    seconds = {
        "prepare": ready - start,
        "network": work.network_seconds,
        "finish": perf_counter() - ready - work.network_seconds,
    }
    total = sum(group.schedule.windows for group in groups)
    skipped = sum(0 if one is None else int(one.size - np.count_nonzero(one)) for one in ran)
    return Prediction(ids, seconds, WindowCount(total, skipped), plan, tuple(notes))


def _alike(members: Sequence[Member], overlap: float | None) -> list[list[Member]]:
    """Members in groups whose windows are the same, in the order in which they come first."""
    groups: dict[Any, list[Member]] = {}
    for member in members:
        plan = member.plan
        step = plan.inference.overlap if overlap is None else overlap
        key = (plan.grid, window_size(plan), step, plan.inference.gaussian_sigma)
        groups.setdefault(key, []).append(member)
    return list(groups.values())


def _windows_to_run(group: Group, volume: Volume) -> NDArray[np.bool_] | None:
    """Which windows are not empty (counts of windows along the array's axes); None if all must run."""
    rules = {member.plan.inference.empty for member in group.members}
    rule = rules.pop()
    if rules or rule is None:
        return None
    empty = EmptyWindows(volume, group.geometry, rule, data=group.data)
    ran = np.ones(group.schedule.counts, bool)
    for at in group.schedule.steps():
        ran[at] = not empty.is_empty(group.schedule.corner(at), group.schedule.patch)
    return None if ran.all() else ran


class _Pass:
    """One attempt at a scan, with its sums kept as a memory plan says."""

    def __init__(
        self,
        groups: Sequence[Group],
        ran: Sequence[NDArray[np.bool_] | None],
        ids: Ids,
        maps: Maps | None,
        plan: MemoryPlan,
        scratch: Path | None,
        threads: int,
        progress: Progress | None,
    ) -> None:
        self._groups, self._ran, self._ids, self._maps = groups, ran, ids, maps
        self._plan, self._scratch, self._progress = plan, scratch, progress
        self._threads = Threads(threads)
        self._names = frozenset() if maps is None else maps.names
        self._done, self._total = 0, sum(group.schedule.windows for group in groups)
        self._tools: ModuleType = finish
        if plan.place == "device":
            from medseg.inference.backends import torch_finish

            self._tools = torch_finish
        self.network_seconds = 0.0

    def go(self) -> None:
        """Run every window and write every voxel."""
        opened: list[tuple[Sums, Store]] = []
        try:
            opened += [self._sums(group) for group in self._groups]
            streams = [
                self._stream(group, sums, ran)
                for group, (sums, _), ran in zip(self._groups, opened, self._ran, strict=True)
            ]
            if len(self._groups) == 1:
                for finished in streams[0]:
                    self._write(self._groups[0], finished)
            else:
                self._join(streams)
        finally:
            self._threads.close()
            for _, store in opened:
                store.close()

    def _sums(self, group: Group) -> tuple[Sums, Store]:
        if self._plan.place == "device":
            return self._tools.sums_on_device(group, self._plan.sums)  # type: ignore[no-any-return]
        kept = np.float32 if self._plan.sums == "f32" else np.float16
        store: Store
        if self._plan.place == "disk":
            store = DiskStore(self._scratch, kept)
        else:
            store = MemoryStore(lambda shape: np.empty(shape, kept))
        sums = Sums(
            group.schedule, group.channels, group.weights, store, make=make_float32, threads=self._threads
        )
        return sums, store

    def _stream(self, group: Group, sums: Sums, ran: NDArray[np.bool_] | None) -> Iterator[Finished]:
        backends: list[Any] = [member.backend for member in group.members]
        on_device = self._plan.place == "device"
        networks = group.flipping([self._timed(b.logits if on_device else b) for b in backends])
        return run(
            group.schedule,
            lambda corners: group.logits(corners, networks),
            sums,
            group.weights,
            batch_size=group.batch_size,
            ran=ran,
            tick=self._tick,
        )

    def _timed(self, forward: Callable[[Any], Any]) -> Callable[[Any], Any]:
        def timed(batch: Any) -> Any:
            start = perf_counter()
            logits = forward(batch)
            self.network_seconds += perf_counter() - start
            return logits

        return timed

    def _tick(self, windows: int) -> None:
        self._done += windows
        if self._progress is not None:
            self._progress("predict", self._done, self._total)

    def _write(self, group: Group, finished: Finished) -> None:
        """Labels, and maps, of a finished box."""
        box = group.schedule.native_box(finished.at)
        assert box is not None  # boxes without voxels of the scan are not handed over
        if finished.sums is None and not self._names:
            return  # no window that ran came near: background, as it is already
        logits = self._logits(group, finished)
        if not self._names:
            self._ids[box] = self._tools.decide(
                logits, group.schedule, finished.at, group.plan, self._threads
            )
            return
        restored = self._tools.restore_box(logits, group.schedule, finished.at)
        self._ids[box] = self._tools.ids_of(restored, group.plan, 0.0)
        self._write_maps(box, self._tools.probabilities_of(restored, group.plan), group)

    def _logits(self, group: Group, finished: Finished) -> Any:
        sums = finished.sums
        if sums is None:
            size = (
                axis.ends[t] - axis.keep[t] for axis, t in zip(group.schedule.axes, finished.at, strict=True)
            )
            sums = np.zeros((group.channels, *size), np.float32)
        logits = self._tools.logits_of(sums, finished.weights, group.plan)
        if self._names or len(self._groups) > 1:  # `decide` sees to it by itself
            self._tools.check_numbers(logits, group.plan)
        return logits

    def _write_maps(self, box: Any, probabilities: Any, group: Group) -> None:
        if self._maps is None:
            return
        if "probabilities" in self._names:
            self._maps.write("probabilities", box, self._tools.on_host(probabilities))
        if "entropy" in self._names:
            entropy = self._tools.entropy_of(probabilities, group.plan)
            self._maps.write("entropy", box, self._tools.on_host(entropy))

    def _join(self, streams: Sequence[Iterator[Finished]]) -> None:
        """Several grids: run each a slab at a time, the one that is least far first, and join planes."""
        plan, axis = self._groups[0].plan, self._groups[0].schedule.slowest_native_axis
        members = sum(len(group.members) for group in self._groups)
        shares = [len(group.members) / members for group in self._groups]
        join = Join(self._ids.shape, axis, self._groups[0].channels, shares)
        slabs = [self._slabs(group, stream) for group, stream in zip(self._groups, streams, strict=True)]
        far = [0.0] * len(self._groups)
        while min(far) < 1:
            least = int(np.argmin(far))
            group = self._groups[least]
            for finished in next(slabs[least]):
                box = group.schedule.native_box(finished.at)
                assert box is not None
                restored = self._tools.restore_box(self._logits(group, finished), group.schedule, finished.at)
                probabilities = self._tools.on_host(self._tools.probabilities_of(restored, group.plan))
                join.add(least, box, probabilities)
            along = group.schedule.axes[group.schedule.native_axes[axis]]
            step = round(far[least] * len(along.starts))
            for box, probabilities in join.complete(along.native[step]):
                self._ids[box] = finish.ids_of(probabilities, plan, 0.5)
                self._write_maps(box, probabilities, group)
            far[least] = (step + 1) / len(along.starts)
        for stream in streams:
            assert next(stream, None) is None  # counts the last windows; no box comes after the last slab

    def _slabs(self, group: Group, stream: Iterator[Finished]) -> Iterator[Iterator[Finished]]:
        """The boxes of a stream slab by slab; a slab may be empty."""
        slow = group.schedule.order[0]
        waiting: list[Finished] = []

        def slab(step: int) -> Iterator[Finished]:
            if waiting and waiting[0].at[slow] == step:
                yield waiting.pop()
            if waiting:
                return
            for finished in stream:
                if finished.at[slow] != step:
                    waiting.append(finished)
                    return
                yield finished

        for step in range(len(group.schedule.axes[slow].starts)):
            yield slab(step)
