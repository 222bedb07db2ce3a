"""Memory, planned before the first window: what a scan will take, and where its sums can wait."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from medseg.errors import OutOfMemory
from medseg.inference.backends import DeviceBackend
from medseg.inference.cells import free_disk
from medseg.inference.process_memory import available_memory, peak_memory, used_memory
from medseg.inference.schedule import Schedule
from medseg.inference.stream import Group
from medseg.inference.sums import hand_voxels

Place = Literal["device", "memory", "disk"]
Precision = Literal["f32", "f16"]
SUMS: tuple[str, ...] = ("auto", "f32", "f16")

# What Python and the libraries take here and there while a scan is computed, measured: 5 to 20 MB.
_SUNDRIES = 10 * 10**6
_BYTES: dict[Precision, int] = {"f32": 4, "f16": 2}


@dataclass(frozen=True, slots=True)
class MemoryPlan:
    """Where sums are carried, in what, and what that takes.

    Attributes
    ----------
    place
        ``"device"`` (the GPU), ``"memory"``, or ``"disk"`` (a scratch file; the labels are the same).
    sums
        ``"f32"``, or ``"f16"``: half the memory, and labels differ where two classes are all but equal.
    needed_bytes
        What the process holds at most while this scan is computed, what it held before included.
    predicted_bytes
        Peak memory of the process: those, or what it held at some time before, if that is more.
    limit_bytes
        What ``needed_bytes`` was to stay under; None for no limit.
    device_bytes
        What is predicted on the GPU; None where none is used.
    scratch_bytes
        What the scratch file may take.
    """

    place: Place
    sums: Precision
    needed_bytes: int
    predicted_bytes: int
    limit_bytes: int | None = None
    device_bytes: int | None = None
    scratch_bytes: int = 0


def memory_plans(
    groups: Sequence[Group],
    *,
    output_bytes: int,
    maps: bool,
    limit: int | None,
    sums: str = "auto",
    scratch: Path | None = None,
    threads: int = 1,
) -> list[MemoryPlan]:
    """The plans that fit, the best first: on the GPU, in memory, on disk; half precision last.

    ``sums`` other than ``auto`` settles the precision. Batch and precision of the network are the
    model's and the user's business and are never changed here.

    Parameters
    ----------
    groups
        Of members, their scans prepared: what those take is in use already.
    output_bytes
        Of the label map, and of maps that are kept in memory.
    maps
        Whether probabilities or entropy are wanted.
    limit
        Bytes that the process may take while the scan is computed; None takes what the system has free. What
        it took and gave back before does not count: a viewer that once held more can still keep to it.
    threads
        Processors that add sums up.

    Raises
    ------
    OutOfMemory
        If none fits.
    """
    used = used_memory()
    free = available_memory()
    room = limit if limit is not None else None if free is None else used + free
    disk = free_disk(scratch)
    precisions: list[Precision] = ["f32", "f16"] if sums == "auto" else ["f16" if sums == "f16" else "f32"]
    plans = []
    for precision in precisions:
        for place in ("device", "memory", "disk"):
            if place != "device" or _on_device(groups):
                plans.append(_plan(groups, place, precision, used + output_bytes, maps, limit, threads))
    fitting = [plan for plan in plans if _fits(plan, room, disk, groups)]
    if not fitting:
        least = min(plans, key=lambda plan: plan.needed_bytes)
        what = "--max-memory allows" if limit is not None else "there are"
        needed, cure = amount(least.needed_bytes), "raise the limit, crop the scan"
        if least.scratch_bytes > disk:
            needed += f" and {amount(least.scratch_bytes)} of disk"
            cure += ", name a disk with room by --scratch"
        raise OutOfMemory(
            f"this scan and model need about {needed}, {what} {amount(room or 0)} ({amount(used)} are in use "
            f"before the first window): {cure}, or use a model with a smaller patch or fewer classes"
        )
    return fitting


def amount(number: int) -> str:
    """Bytes as people say them."""
    return f"{number / 1e9:.2f} GB" if number >= 1e8 else f"{number / 1e6:.3g} MB"


def _plan(
    groups: Sequence[Group],
    place: Place,
    precision: Precision,
    used: int,
    maps: bool,
    limit: int | None,
    threads: int,
) -> MemoryPlan:
    parts = [_Parts.of(group, precision, maps, threads) for group in groups]
    sums = sum(part.carried + part.in_hand for part in parts)
    staged = sum(part.staged + part.in_hand for part in parts)
    networks = sum(part.networks for part in parts)
    # What a network on a GPU takes lies there; on the host are its inputs and, if asked for, its logits.
    host_networks = sum(part.transfers for part in parts) if _on_device(groups) else networks
    boxes = max(part.boxes for part in parts)
    joined = _joined_bytes(groups) if len(groups) > 1 else 0
    host = {
        "device": boxes,
        "memory": host_networks + sums + boxes,
        "disk": host_networks + staged + boxes,
    }[place]
    needed = used + host + joined + _SUNDRIES
    return MemoryPlan(
        place=place,
        sums=precision,
        needed_bytes=needed,
        predicted_bytes=max(peak_memory(), needed),
        limit_bytes=limit,
        device_bytes=sums + networks + boxes if place == "device" else None,
        scratch_bytes=sum(part.carried for part in parts) if place == "disk" else 0,
    )


@dataclass(frozen=True, slots=True)
class _Parts:
    """Bytes that one group takes: carried from slab to slab and row to row, in hand, and so on."""

    carried: int
    staged: int
    in_hand: int
    networks: int
    transfers: int
    boxes: int

    @classmethod
    def of(cls, group: Group, precision: Precision, maps: bool, threads: int) -> _Parts:
        schedule, channels = group.schedule, group.channels
        slow, middle, fast = (schedule.axes[axis] for axis in schedule.order)
        kept = channels * _BYTES[precision]
        slab = slow.carried * middle.size * fast.size
        row = slow.worked * middle.carried * fast.size
        # Of the row's end, what goes on to the next slab takes the place of what that slab has used.
        carried = slab + max(row - slow.carried * middle.carried * fast.size, 0)
        piece = max(slow.carried * middle.worked, slow.worked * middle.carried) * fast.worked
        worked = slow.worked * middle.worked * fast.worked
        patch = int(np.prod(schedule.patch))
        in_hand = channels * hand_voxels(schedule) + min(threads, channels) * worked
        batch = patch * group.batch_size
        networks = sum(member.backend.activation_bytes() for member in group.members)
        transfers = 4 * batch * (2 * group.plan.input_channels + channels)
        networks += 4 * batch * 2 * group.plan.input_channels
        networks += 4 * batch * channels * 2 if group.averaged else 0
        return cls(
            carried=kept * carried,
            staged=min(threads, channels) * _BYTES[precision] * piece,
            in_hand=4 * in_hand,
            networks=networks,
            transfers=transfers,
            boxes=native_box_voxels(schedule) * 4 * (3 * channels if maps else _arrays_per_box(schedule)),
        )


def _arrays_per_box(schedule: Schedule) -> int:
    """Arrays as large as a finished box on the scan's grid that deciding its labels takes."""
    interpolated = any(axis.table.weight is not None for axis in schedule.axes)
    return 8 if interpolated else 3


def native_box_voxels(schedule: Schedule) -> int:
    """Voxels of the scan's own grid that one step finishes at most."""
    i, j, k = (max(s.stop - s.start for s in schedule.axes[axis].native) for axis in schedule.native_axes)
    return int(i * j * k)


def _joined_bytes(groups: Sequence[Group]) -> int:
    """Planes of the scan's own grid whose probabilities wait for the other groups."""
    schedule = groups[0].schedule
    axis = schedule.native_axes.index(schedule.order[0])
    planes = sum(
        max(s.stop - s.start for s in group.schedule.axes[group.schedule.native_axes[axis]].native)
        for group in groups
    )
    across = [schedule.axes[a].table.low.size for n, a in enumerate(schedule.native_axes) if n != axis]
    return int(4 * groups[0].channels * planes * np.prod(across))


def _on_device(groups: Sequence[Group]) -> bool:
    return all(
        isinstance(member.backend, DeviceBackend) and member.backend.device_memory() is not None
        for group in groups
        for member in group.members
    )


def _fits(plan: MemoryPlan, room: int | None, disk: int, groups: Sequence[Group]) -> bool:
    if plan.device_bytes is not None:
        for group in groups:
            for member in group.members:
                assert isinstance(member.backend, DeviceBackend)  # `_on_device` saw to it
                memory = member.backend.device_memory()
                if memory is None or plan.device_bytes > memory[0]:
                    return False
    return (room is None or plan.needed_bytes <= room) and plan.scratch_bytes <= disk
