"""One attempt at a scan: every window through the networks, every finished box into the label map."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medseg.inference import finish
from medseg.inference.cells import DiskStore, MemoryStore, Store, mapped
from medseg.inference.confidence import Confidence, own_part, totals_of_probabilities
from medseg.inference.join import Join
from medseg.inference.maps import Maps
from medseg.inference.memory import MemoryPlan
from medseg.inference.stream import Finished, Group, run
from medseg.inference.sums import Sums, make_float32
from medseg.inference.threads import Threads
from medseg.plans import Plan

Progress = Callable[[str, int, int], None]
Ids = NDArray[np.unsignedinteger[Any]]


class Pass:
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
        confidence: bool = False,
    ) -> None:
        self._groups, self._ran, self._ids, self._maps = groups, ran, ids, maps
        self._plan, self._scratch, self._progress = plan, scratch, progress
        self._threads = Threads(threads)
        self._names = frozenset() if maps is None else maps.names
        self._confident, self._unseen = confidence, 0
        self._totals: Any = None
        self._done, self._total = 0, sum(group.schedule.windows for group in groups)
        self._tools: Any = finish
        if plan.place == "device":
            from medseg.inference.backends.device_tools import DeviceTools

            self._tools = DeviceTools(str(groups[0].members[0].backend.settings["device"]))
        self.network_seconds = 0.0
        self.confidence: Confidence | None = None

    def go(self) -> None:
        """Run every window and write every voxel."""
        opened: list[tuple[Sums, Store]] = []
        try:
            with self._tools.errors():
                opened += [self._sums(group) for group in self._groups]
                streams = [
                    self._stream(group, sums, ran)
                    for group, (sums, _), ran in zip(self._groups, opened, self._ran, strict=True)
                ]
                if len(self._groups) == 1:
                    self._finish(self._groups[0], streams[0])
                else:
                    self._join(streams)
                self.confidence = self._confidence() if self._confident else None
        finally:
            self._threads.close()
            for _, store in opened:
                store.close()

    def _sums(self, group: Group) -> tuple[Sums, Store]:
        if self._plan.place == "device":
            made: tuple[Sums, Store] = self._tools.sums(
                group.schedule, group.channels, group.weights, self._plan.sums
            )
            return made
        kept = np.float32 if self._plan.sums == "f32" else np.float16
        store: Store
        if self._plan.place == "disk":
            store = DiskStore(self._scratch, kept)
        else:
            store = MemoryStore(lambda shape: mapped(shape, kept))
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
            every=self._confident and len(self._groups) == 1,
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

    def _finish(self, group: Group, stream: Iterator[Finished]) -> None:
        """Write every finished box."""
        labels = self._tools.blank(self._ids)
        for finished in stream:
            self._write(group, finished, labels)
        self._tools.collect(labels, self._ids, group.plan)

    def _write(self, group: Group, finished: Finished, labels: Any) -> None:
        """Labels, maps and confidence of a finished box."""
        box = group.schedule.native_box(finished.at)
        if finished.sums is None and not self._names:
            self._count(group, finished, None)
            return  # no window that ran came near: background, as it is already
        logits = self._logits(group, finished)
        if box is None:  # only confidence asks for such boxes
            self._tools.check_numbers(logits, group.plan)
        elif not self._names:
            labels[box] = self._tools.decide(logits, group.schedule, finished.at, group.plan, self._threads)
        else:
            restored = self._tools.restore_box(logits, group.schedule, finished.at)
            labels[box] = self._tools.ids_of(restored, group.plan, 0.0)
            self._write_maps(box, self._tools.probabilities_of(restored, group.plan), group.plan, self._tools)
        self._count(group, finished, logits)

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

    def _count(self, group: Group, finished: Finished, logits: Any) -> None:
        """Add a box's own voxels to the sums of confidence; None stands for logits where nobody looked."""
        if not self._confident:
            return
        part = own_part(group.schedule, finished.at, group.geometry.shape)
        if part is None:
            return
        if logits is None:
            self._unseen += int(np.prod([s.stop - s.start for s in part]))
        else:
            self._add(self._tools.totals_of(logits[(slice(None), *part)], self._threads))

    def _add(self, totals: Any) -> None:
        self._totals = totals if self._totals is None else self._totals + totals

    def _confidence(self) -> Confidence:
        ids = self._groups[0].plan.class_ids
        totals = np.zeros((3, len(ids)))
        if self._totals is not None:
            totals += self._totals if len(self._groups) > 1 else self._tools.on_host(self._totals)
        totals[:, 0] += self._unseen  # background, as good as sure
        return Confidence(ids, *totals)

    def _write_maps(self, box: Any, probabilities: Any, plan: Plan, tools: Any) -> None:
        if self._maps is None:
            return
        if "probabilities" in self._names:
            self._maps.write("probabilities", box, tools.on_host(probabilities))
        if "entropy" in self._names:
            self._maps.write("entropy", box, tools.on_host(tools.entropy_of(probabilities, plan)))

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
                if self._confident:
                    self._add(totals_of_probabilities(probabilities))
                self._write_maps(box, probabilities, plan, finish)
            far[least] = (step + 1) / len(along.starts)
        for stream in streams:
            assert next(stream, None) is None  # counts the last windows; no box comes after the last slab
        self._tools.collect(None, self._ids, plan)

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
