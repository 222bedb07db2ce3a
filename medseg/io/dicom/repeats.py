"""Several images at one position: volumes in time, or stacks that overlap.

A series is parted only where that is plain: every part covers the same positions once (volumes in time), or
every part is an even stack of its own. Anything else stays whole, for `geometry` to refuse: so do volumes
that would mix images taken or reconstructed in two ways, as numbers and clocks that are out of order do.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medseg.io.dicom import settings
from medseg.io.dicom.geometry import has_copies, has_sound_place, normal_of
from medseg.io.dicom.objects import Frame
from medseg.io.dicom.spacing import POSITION_TOLERANCE_MM, is_even

# Counted by whatever wrote the files, so trusted only where it counts in a regular order.
_COUNTER = "InstanceNumber"
# Go on while a volume is acquired: slices of one volume differ, and only the order at a position tells.
_CLOCKS = (
    "TriggerTime", "FrameAcquisitionDateTime", "FrameReferenceDateTime", "AcquisitionDateTime",
    "AcquisitionTime", "FrameReferenceTime", "ContentTime",
)  # fmt: skip
_LABELS = {"AcquisitionNumber": "acquisition", "FrameAcquisitionNumber": "acquisition"}
# Parts of overlapping range are stacks of their own only if each has at least so many slices.
_FEWEST_SLICES = 3

Key = Callable[[Frame], Hashable]
Places = dict[int, int]  # by id of a frame: which position, counted along the normal
Labelled = list[tuple[str, tuple[Frame, ...]]]
Teller = Callable[[Sequence[Frame], Places], Labelled]  # nothing where it does not part the frames plainly


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """Some frames of a series, and in ``label`` what tells them from the other parts ("" if nothing does).

    ``volume`` is (number, of how many) for volumes in time.
    """

    frames: tuple[Frame, ...]
    label: str = ""
    volume: tuple[int, int] | None = None


def partition(frames: Sequence[Frame]) -> tuple[Part, ...]:
    """The parts of frames that share all traits; one part where nothing parts them plainly."""
    frames = tuple(frames)
    whole = (Part(frames),)
    if len(frames) < 2 or not all(has_sound_place(f) for f in frames) or has_copies(frames):
        return whole
    places = _places(frames)
    if len(set(places.values())) == len(frames):
        return whole if _is_even_stack(frames) else _stacks(frames, places) or whole
    for parts in (_kinds(frames, places, _TELLERS), _stacks(frames, places)):
        if parts and not _is_mixed(parts, frames, places):
            return parts
    return whole


def _places(frames: Sequence[Frame]) -> Places:
    depths = _depths(frames)
    order = np.argsort(depths, kind="stable")
    places = np.concatenate([[0], np.cumsum(np.diff(depths[order]) > POSITION_TOLERANCE_MM)])
    return {id(frames[n]): int(place) for n, place in zip(order, places, strict=True)}


def _depths(frames: Sequence[Frame]) -> NDArray[np.float64]:
    normal = normal_of(frames[0])
    return np.array([float(normal @ f.position) for f in frames])  # type: ignore[operator]


def _times(frames: Sequence[Frame], places: Places) -> tuple[frozenset[int], int]:
    """The positions of frames, and how often each occurs; 0 where that differs."""
    counts: dict[int, int] = {}
    for frame in frames:
        counts[places[id(frame)]] = counts.get(places[id(frame)], 0) + 1
    often = set(counts.values())
    return frozenset(counts), often.pop() if len(often) == 1 else 0


def _is_mixed(parts: Sequence[Part], frames: Sequence[Frame], places: Places) -> bool:
    """Whether a volume has two values of a setting of which one position has both.

    A setting that only goes from position to position, as some flip angles do, mixes nothing.
    """
    for name in settings.DECISIVE:
        of = settings.values(frames, name)
        if len({(places[n], value) for n, value in of.items()}) == len(set(places.values())):
            continue
        for part in parts:
            several = len({of[id(f)] for f in part.frames}) > 1
            if several and _times(part.frames, places)[1] == 1:
                return True
    return False


def _groups(frames: Sequence[Frame], key: Key) -> list[tuple[Frame, ...]]:
    """Frames of equal key, keys in ascending order; nothing where a key is missing or there is only one."""
    groups: dict[Any, list[Frame]] = {}
    for frame in frames:
        groups.setdefault(key(frame), []).append(frame)
    if None in groups or len(groups) == 1:
        return []
    return [tuple(groups[value]) for value in sorted(groups)]


def _kinds(frames: Sequence[Frame], places: Places, tellers: Sequence[Teller]) -> tuple[Part, ...]:
    """Parts by settings and by ImageType, as water and fat, and within these by time."""
    _, times = _times(frames, places)
    for n, teller in enumerate(tellers if times != 1 else ()):
        groups = teller(frames, places)
        if groups:
            return tuple(
                replace(part, label=", ".join(text for text in (label, part.label) if text))
                for label, group in groups
                for part in _kinds(group, places, tellers[n + 1 :]) or (Part(group),)
            )
    return _in_time(frames, places)


def _by_setting(name: str) -> Teller:
    def groups_of(frames: Sequence[Frame], places: Places) -> Labelled:
        """Values of a setting that each have all positions equally often."""
        groups = _groups(frames, _setting(frames, name))
        positions = frozenset(places[id(f)] for f in frames)
        if not all(at == positions and often for at, often in (_times(g, places) for g in groups)):
            return []
        return list(zip(settings.labels(groups, name), groups, strict=True))

    return groups_of


def _by_type(frames: Sequence[Frame], places: Places) -> Labelled:
    """Image types that each have every position of their own equally often."""
    groups = _groups(frames, lambda f: f.image_type)
    if not all(_times(group, places)[1] for group in groups):
        return []
    return list(zip(_numbered("image type", len(groups)), groups, strict=True))


_TELLERS: tuple[Teller, ...] = (*map(_by_setting, settings.NAMES), _by_type)


def _setting(frames: Sequence[Frame], name: str) -> Key:
    values = settings.values(frames, name)
    return lambda frame: values[id(frame)]


def _in_time(frames: Sequence[Frame], places: Places) -> tuple[Part, ...]:
    """Volumes that each have every position once, but for a few that are incomplete."""
    keys = tuple(_keys(frames))
    volumes = _volumes(tuple(frames), places, keys) or _broken_off(frames, places, keys)
    return tuple(Part(volume, volume=(n, len(volumes))) for n, volume in enumerate(volumes, 1) if volumes[1:])


def _broken_off(frames: Sequence[Frame], places: Places, keys: tuple[Key, ...]) -> list[tuple[Frame, ...]]:
    """Volumes of which most have every position once; the others lack some, as after a stopped scan."""
    positions, _ = _times(frames, places)
    for key in keys:
        groups = _groups(frames, key)
        found = [_times(group, places) for group in groups]
        whole = sum(at == positions for at, _ in found)
        if 2 * whole > len(groups) and all(often == 1 for _, often in found):
            return groups
    return []


def _volumes(frames: tuple[Frame, ...], places: Places, keys: tuple[Key, ...]) -> list[tuple[Frame, ...]]:
    positions, times = _times(frames, places)
    if times == 1:
        return [frames]
    if times == 0:
        return []
    for n, key in enumerate(keys):
        groups = _groups(frames, key)
        if groups and all(_times(group, places) == (positions, times // len(groups)) for group in groups):
            # Two numbers may be needed, as a phase and a direction.
            parts = [_volumes(group, places, keys[n + 1 :]) for group in groups]
            if all(parts):
                return [volume for part in parts for volume in part]
    return _by_clock(frames, places, times) or _by_counter(frames, places, times)


def _keys(frames: Sequence[Frame]) -> Iterator[Key]:
    """What may number volumes: the object, where one holds many slices, then the numbers in headers."""
    if any(f.image.frames > 1 or f.tile is not None for f in frames):
        order = {id(f.image): _object_order(f) for f in reversed(frames)}
        yield lambda f: order[id(f.image)]
    for name, _ in frames[0].moment:
        if name != _COUNTER:
            yield _key(name)


def _key(name: str) -> Key:
    return lambda frame: _moment(frame, name)


def _numbering(frames: Sequence[Frame]) -> list[str]:
    """What counts whole stacks: no clock, and nothing that counts every slice."""
    return [name for name, _ in frames[0].moment if name not in (*_CLOCKS, _COUNTER)]


def _object_order(first: Frame) -> tuple[Any, ...]:
    return tuple(value for _, value in first.moment), str(first.image.source.path), first.image.source.name


def _moment(frame: Frame, name: str) -> float | None:
    return dict(frame.moment).get(name)


def _by_clock(frames: Sequence[Frame], places: Places, times: int) -> list[tuple[Frame, ...]]:
    """The first images at all positions, the second ones, ...: by a clock that tells those of a position."""
    for name in _CLOCKS:
        rows: dict[int, list[Frame]] = {}
        for frame in frames:
            rows.setdefault(places[id(frame)], []).append(frame)
        read = [[_moment(f, name) for f in row] for row in rows.values()]
        if all(None not in row and len(set(row)) == times for row in read):
            ordered = [sorted(row, key=lambda f, name=name: _moment(f, name)) for row in rows.values()]  # type: ignore
            return [tuple(row[n] for row in ordered) for n in range(times)]
    return []


def _by_counter(frames: Sequence[Frame], places: Places, times: int) -> list[tuple[Frame, ...]]:
    """Volumes by the running number, if it runs through whole volumes, or through whole positions."""
    one_object = all(f.image is frames[0].image for f in frames)
    numbers = [float(f.number) if one_object else _moment(f, _COUNTER) for f in frames]
    if None in numbers or len(set(numbers)) < len(frames):
        return []
    order = np.argsort(np.array(numbers, dtype=np.float64))
    ran = np.array([places[id(frames[n])] for n in order])
    by_volume, by_place = ran.reshape(times, -1), ran.reshape(-1, times)
    if (by_volume == by_volume[0]).all():
        chosen = order.reshape(times, -1)
    elif (by_place == by_place[:, :1]).all():
        chosen = order.reshape(-1, times).T
    else:
        return []
    return [tuple(frames[n] for n in row) for row in chosen]


def _stacks(frames: Sequence[Frame], places: Places) -> tuple[Part, ...]:
    """Even stacks whose ranges overlap, told apart by settings, object, acquisition or ImageType."""
    for name, key in _what_tells_stacks(frames, places):
        groups = _groups(frames, key)
        if groups and all(_stands_alone(group, places) for group in groups) and _overlap(groups, places):
            known = name in settings.NAMES
            labels = settings.labels(groups, name) if known else _numbered(name, len(groups))
            return tuple(Part(group, label) for group, label in zip(groups, labels, strict=True))
    return ()


def _what_tells_stacks(frames: Sequence[Frame], places: Places) -> Iterator[tuple[str, Key]]:
    if len(set(places.values())) < len(frames):
        yield from ((name, _setting(frames, name)) for name in settings.NAMES)
    if len({id(f.image) for f in frames}) > 1 and all(f.image.frames > 1 for f in frames):
        yield "object", lambda f: _object_order(f)[1:]
    yield from ((_LABELS.get(name, "part"), _key(name)) for name in _numbering(frames))
    yield "image type", lambda f: f.image_type


def _stands_alone(group: Sequence[Frame], places: Places) -> bool:
    return len(group) >= _FEWEST_SLICES and _times(group, places)[1] == 1 and _is_even_stack(group)


def _is_even_stack(frames: Sequence[Frame]) -> bool:
    return is_even(np.sort(_depths(frames)))


def _overlap(groups: Sequence[Sequence[Frame]], places: Places) -> bool:
    """Whether some stack begins before another one ends; stacks one after the other may be one scan."""
    ranges = sorted((min(at), max(at)) for at in ([places[id(f)] for f in group] for group in groups))
    return any(after[0] <= before[1] for before, after in pairwise(ranges))


def _numbered(name: str, count: int) -> list[str]:
    return [f"{name} {n} of {count}" for n in range(1, count + 1)]
