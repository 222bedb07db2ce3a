"""One scan through one model or several: the place where a scan becomes label ids.

No array of classes x scan is ever held. Windows run in slabs; what no later window touches is divided by
its weights, interpolated to the scan's own grid, decided, written into the label map, and dropped.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medseg.errors import DeviceOutOfMemory, OutOfMemory, UsageError
from medseg.inference.backends import usable_processors
from medseg.inference.confidence import Confidence
from medseg.inference.empty import EmptyWindows
from medseg.inference.maps import Box, CroppedMaps, Maps
from medseg.inference.memory import SUMS, MemoryPlan, amount, memory_plans
from medseg.inference.passes import Ids, Pass, Progress
from medseg.inference.stream import Group, Member, window_size
from medseg.preprocess import cropped, foreground_box, network_geometry
from medseg.volume import Volume

_CUT = (
    "structures reach the edge of the box that the scan was cropped to by the model's own rule: it may have "
    "cut them off"
)
_WHERE = {"device": "on the GPU", "memory": "in main memory", "disk": "in a scratch file"}


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
    confidence
        How sure the network is of each structure; None unless asked for, and for regions.
    crop
        The box of the scan that was looked at, by the plans' rule; None for all of it.
    """

    ids: Ids
    timings_s: dict[str, float]
    windows: WindowCount
    memory: MemoryPlan
    notes: tuple[str, ...] = ()
    confidence: Confidence | None = None
    crop: Box | None = None


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
    confidence: bool = False,
    progress: Progress | None = None,
) -> Prediction:
    """Segment a scan on its own grid.

    Logits, not labels, are interpolated back to the scan's grid, and the largest wins; on a tie the
    class that comes first in the plan, background before all. Members whose windows are the same (folds)
    give the mean of their logits; members on different grids the mean of their probabilities.

    Where the plans have a rule for it, only the box of the scan's foreground is looked at, as if it were the
    whole scan; of an ensemble the box that holds all members' boxes. Outside there is background.

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
    confidence
        Also sum up how sure the network is of each structure (`medseg.inference.confidence`), which changes
        no label. Nothing is summed for models with regions.
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
    box = foreground_box(volume, [member.plan for member in members])
    scan = cropped(volume, box)
    groups = [Group(scan, alike, overlap, tta) for alike in _alike(members, overlap)]
    if len(groups) > 1:
        slowest = groups[0].schedule.slowest_native_axis
        for group in groups[1:]:
            group.go_along(slowest)
    ran = [_windows_to_run(group, scan) if skip_empty else None for group in groups]
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
    inside = ids if box is None else ids[box]
    moved = None if maps is None or box is None else CroppedMaps(maps, box, ids.shape, members[0].plan)
    notes = []
    for plan, lower in zip(plans, [*plans[1:], None], strict=True):
        confident = confidence and not members[0].plan.regions
        work = Pass(groups, ran, inside, moved or maps, plan, scratch, threads, progress, confident)
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
                f"memory ran out, though {amount(plan.needed_bytes)} were thought to be enough: other "
                "programs may have taken it; set --max-memory to what may be used"
            ) from error
        break
    sure = work.confidence
    if box is not None:
        if moved is not None:
            moved.write_outside()
        if sure is not None:
            sure = sure.with_background(_voxels_outside(volume, scan, groups))
        if _reaches_edge(ids, box):
            notes.append(_CUT)
    seconds = {
        "prepare": ready - start,
        "network": work.network_seconds,
        "finish": perf_counter() - ready - work.network_seconds,
    }
    total = sum(group.schedule.windows for group in groups)
    skipped = sum(0 if one is None else int(one.size - np.count_nonzero(one)) for one in ran)
    return Prediction(ids, seconds, WindowCount(total, skipped), plan, tuple(notes), sure, box)


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


def _voxels_outside(volume: Volume, scan: Volume, groups: Sequence[Group]) -> int:
    """Voxels that a crop took away, on the grid on which confidence is summed."""
    if len(groups) > 1:
        whole, left = volume.geometry, scan.geometry
    else:
        whole, left = network_geometry(volume.geometry, groups[0].plan.grid), groups[0].geometry
    return int(np.prod(whole.shape) - np.prod(left.shape))


def _reaches_edge(ids: NDArray[Any], box: Box) -> bool:
    """Whether a structure lies at a face of the box beyond which there is more of the scan."""
    for axis, (part, size) in enumerate(zip(box, ids.shape, strict=True)):
        planes = np.moveaxis(ids[box], axis, 0)
        if (part.start > 0 and planes[0].any()) or (part.stop < size and planes[-1].any()):
            return True
    return False
