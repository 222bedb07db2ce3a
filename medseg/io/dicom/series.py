"""Frames to series: what belongs together in one volume, what each is called, and which one is meant."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from medseg.errors import InputRefused, UsageError
from medseg.io.dicom import losses
from medseg.io.dicom.geometry import Stack, is_unplaced, stack
from medseg.io.dicom.objects import Frame, Lost, SetAside, name_in
from medseg.io.dicom.repeats import Part, partition
from medseg.io.dicom.sources import ZipMember
from medseg.io.dicom.traits import Traits, kind_fault, plane_name, traits_of, words
from medseg.io.files import DICOM_EXTENSIONS, extension
from medseg.verdict import Reason, Verdict

_MOST_LISTED = 20


@dataclass(frozen=True, slots=True, eq=False)
class Series:
    """What one volume is read from.

    Parameters
    ----------
    id
        As ``series=`` takes it: the SeriesInstanceUID, and ``#1``, ``#2``, ... where it has several volumes.
        ``no-uid`` where it is absent; ``unreadable-uid-1``, ... where it is none, in the order of the files.
    frames
        Its slices, in no order.
    summary
        What it is and what tells it apart, without any text of the header.
    volume
        (number, of how many) where one series holds volumes in time.
    fault
        Why its frames cannot be slices of a volume, where that is known without their places.
    aside
        ``"localizer"``, ``"colour-page"``, ``"secondary-capture"``: set aside where there is a scan; else "".
    """

    id: str
    frames: tuple[Frame, ...]
    summary: str = ""
    volume: tuple[int, int] | None = None
    fault: Reason | None = None
    aside: str = ""

    @property
    def uid(self) -> str:
        """The SeriesInstanceUID, or what stands for it."""
        return self.id.partition("#")[0]

    @property
    def modality(self) -> str | None:
        """``"CT"``, ``"MR"``, ... as the first slice says."""
        return self.frames[0].image.modality

    @property
    def paths(self) -> tuple[Path, ...]:
        """The files that hold its slices, each once."""
        return tuple(dict.fromkeys(f.image.source.path for f in self.frames))


@dataclass(frozen=True, slots=True, eq=False)
class Listing:
    """The series at a path in the order of their numbers, what was set aside, and what could not be had.

    ``aside`` are series that are no scans; they can be chosen by their identifier, and are then refused by
    name, or read if they are plain pictures.
    """

    series: tuple[Series, ...]
    aside: tuple[Series, ...] = ()
    set_aside: tuple[SetAside, ...] = ()
    lost: tuple[Lost, ...] = ()


def split(frames: Sequence[Frame]) -> tuple[Series, ...]:
    """The series among frames, ordered by series number, UID and appearance."""
    by_uid: dict[str, list[Frame]] = {}
    for frame, uid in zip(frames, _uids(frames), strict=True):
        by_uid.setdefault(uid, []).append(frame)
    found = [series for uid, members in by_uid.items() for series in _of_one_uid(uid, members)]
    return tuple(sorted(found, key=_order))


def _uids(frames: Sequence[Frame]) -> Iterator[str]:
    """What each frame's series is called.

    What is no UID may be a name. It is counted: a digest of it would be known to who digests all names.
    """
    unreadable: dict[int, int] = {}
    for frame in frames:
        image = frame.image
        if image.series_uid:
            yield image.series_uid
        elif image.series is None:
            yield "no-uid"
        else:
            yield f"unreadable-uid-{unreadable.setdefault(image.series, len(unreadable) + 1)}"


def _order(series: Series) -> tuple[bool, int, str]:
    number = series.frames[0].image.series_number
    return number is None, number or 0, series.uid


def _of_one_uid(uid: str, frames: Sequence[Frame]) -> list[Series]:
    groups = _by_traits(frames)
    parts = [(traits, part) for traits, frames in groups for part in partition(frames)]
    told = words([(traits, part.frames[0]) for traits, part in parts])
    several = len(parts) > 1
    return [
        Series(
            id=f"{uid}#{n}" if several else uid,
            frames=part.frames,
            summary=_summary(part, also),
            volume=part.volume,
            fault=kind_fault(traits, part.frames[0]),
            aside=traits.aside,
        )
        for n, ((traits, part), also) in enumerate(zip(parts, told, strict=True), 1)
    ]


def _by_traits(frames: Sequence[Frame]) -> list[tuple[Traits, tuple[Frame, ...]]]:
    number_tells = len({f.image.series_number for f in frames}) > 1
    groups: dict[Traits, list[Frame]] = {}
    for frame, traits in zip(frames, traits_of(frames, number_tells), strict=True):
        groups.setdefault(traits, []).append(frame)
    _join_lost_slices(groups)
    ordered = sorted(groups, key=lambda traits: traits.number or 0)
    return [(traits, tuple(groups[traits])) for traits in ordered]


def _join_lost_slices(groups: dict[Traits, list[Frame]]) -> None:
    """Put slices without position to the largest stack that they may come from, so that it is refused.

    As a group of their own they would leave a stack with a hole that nobody sees.
    """
    for traits in list(groups):
        if traits.aside or traits.film or not is_unplaced(groups[traits][0]):
            continue
        stacks = [
            other
            for other in groups
            if not other.aside and other.matrix == traits.matrix and not is_unplaced(groups[other][0])
        ]
        if stacks:
            groups[max(stacks, key=lambda other: len(groups[other]))] += groups.pop(traits)


def _summary(part: Part, told: str) -> str:
    first = part.frames[0]
    size = f"{len(part.frames)} x {first.columns}x{first.rows}"
    volume = f"volume {part.volume[0]} of {part.volume[1]}" if part.volume else ""
    parts = (first.image.modality or "unknown modality", size, plane_name(first), told, part.label, volume)
    return ", ".join(text for text in parts if text)


def choose(path: Path, found: Listing, series: str | int | None) -> Series:
    """The series asked for, or the only one."""
    if not found.series and not found.aside:
        raise losses.nothing_else(path, found.lost) or _no_scan(path, found.set_aside)
    if series is not None:
        return _named(path, found, str(series))
    among = found.series or found.aside
    reason = ambiguity(among)
    if reason is not None:
        raise _undecided(path, (reason, *losses.missing(found.lost)), among, among)
    return among[0]


def placed(
    path: Path, series: Series, allow: frozenset[str] = frozenset(), lost: Sequence[Lost] = ()
) -> Stack:
    """The slices of a series in their places, see `geometry.stack`; with the faults of the whole series.

    What is ``lost`` and may be of the series is a fault; missing files alone are a warning where
    ``missing-slices`` is allowed.
    """
    found = stack(series.frames, allow, path)
    own = losses.concerning(lost, series.paths, series.uid) if lost else ()
    faults = losses.broken(own) + (found.faults if series.fault is None else (series.fault,))
    if faults or "missing-slices" not in allow:
        faults += losses.missing(own)
    warnings = () if faults else losses.missing_allowed(own)
    verdict = found.verdict + Verdict("warning", warnings) if warnings else found.verdict
    return replace(found, faults=faults, verdict=verdict)


def _no_scan(path: Path, set_aside: Sequence[SetAside]) -> InputRefused:
    """What to say of a path without any image: what else is there, and what to do with it."""
    files = [name_in(item.source, path) for item in set_aside if item.source.size and _is_other(item)]
    objects = sorted({item.code for item in set_aside} - {"not-dicom", "empty", "unreadable"})
    if files:
        formats, give = ("files of other formats", "one of them")
        if len(files) == 1:
            formats, give = ("file of another format", "that one")
        text = f"it holds {len(files)} {formats}"
        text += f", as {files[0]}: give {give}" if path.is_dir() else f": unpack it first, then give {give}"
    elif objects:
        text = f"it holds DICOM objects that are no scans ({', '.join(objects)}); give the folder of a scan"
    else:
        text = "no file of a known format in it; give the file or folder of a scan"
    return InputRefused(f"{path.name}: no DICOM scan in there; {text}", code="no-scan", path=path)


def _is_other(item: SetAside) -> bool:
    """Whether the name of something set aside is that of another format."""
    name = item.source.member if isinstance(item.source, ZipMember) else item.source.name
    return item.code in ("not-dicom", "empty", "unreadable") and extension(name) not in (
        "",
        *DICOM_EXTENSIONS,
    )


def ambiguity(among: Sequence[Series]) -> Reason | None:
    """Why nobody can tell which of several series is meant; None for one."""
    if len(among) == 1:
        return None
    cure = "expected one. Choose with series=N or its UID"
    if not all(item.volume for item in among) or among[-1].volume != (len(among), len(among)):
        return Reason("several-series", f"{len(among)} series, {cure}")
    slices = max(len(item.frames) for item in among)
    each = f"of {slices} slices each" if slices > 1 else "of one slice"
    code = "four-dimensional" if slices > 1 else "repeated-positions"
    what = f"{len(among)} volumes of one series at the same positions (times, directions)"
    return Reason(code, f"{what}, {each}, {cure}")


def _named(path: Path, found: Listing, name: str) -> Series:
    numbered = found.series or found.aside
    by_name = {item.id: item for item in (*numbered, *found.aside)}
    by_name |= {str(n): item for n, item in enumerate(numbered, 1)}
    if name in by_name:
        return by_name[name]
    of_uid = [item for item in numbered if item.uid == name]
    reason = ambiguity(of_uid) if of_uid else None
    if reason is not None:
        raise _undecided(path, (reason, *losses.missing(found.lost)), of_uid, numbered)
    raise UsageError(f"{path.name}: series={name} is not there; there is {_listed(numbered, numbered)}")


def _undecided(
    path: Path, reasons: tuple[Reason, ...], among: Sequence[Series], numbered: Sequence[Series]
) -> InputRefused:
    first, *others = reasons
    message = f"{first.message}: {_listed(among, numbered)}"
    told = [(first.code, message), *((other.code, other.message) for other in others)]
    text = "; ".join(message for _, message in told)
    return InputRefused(f"{path.name}: {text}", code=first.code, path=path, reasons=told)


def _listed(among: Sequence[Series], numbered: Sequence[Series]) -> str:
    numbers = {id(item): n for n, item in enumerate(numbered, 1)}
    listed = [f"{numbers[id(item)]}: {item.summary}, {item.id}" for item in among[:_MOST_LISTED]]
    more = len(among) - len(listed)
    return "; ".join(listed) + (f"; and {more} more (medseg inspect lists all)" if more else "")
