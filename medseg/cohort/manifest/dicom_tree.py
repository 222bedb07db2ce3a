"""A tree of DICOM studies: a case for each series that may be a scan. Headers alone are read."""

from __future__ import annotations

import hashlib
import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path

from medseg.cohort.manifest.cases import Manifest, ManifestCase, Value
from medseg.io.dicom.aside import NAMES
from medseg.io.dicom.files import scan
from medseg.io.dicom.objects import Found, Frame
from medseg.io.dicom.series import Series, split
from medseg.io.files import sha256_files
from medseg.pipeline.options import Progress
from medseg.verdict import OK, Verdict

COLUMNS = ("modality", "slices", "content")
_DIGITS = 10
# More series than that in one folder make reading slow: each case looks at the headers of them all.
_MANY_IN_FOLDER = 20
_NOT_TOLD = frozenset({"not-dicom", "empty", "directory"})
_LEFT_OUT = {
    "derived": "series derived from one of their study",
    "volumes": "series of several volumes in time: name one in a CSV with its series",
    "no-volume": "series whose images cannot be slices of a volume",
    "spread": "series without UID in more than one folder: put each into its own",
    "copies": "copies of images in other folders",
}


@dataclass(frozen=True, slots=True, eq=False)
class _Candidate:
    """A series, and the folder from which `medseg.read` takes it by its id."""

    series: Series
    folder: Path


def cases_in(path: Path, progress: Progress | None = None) -> Manifest:
    """The cases of a tree, in the order of their folders and series numbers.

    A case's id is made by SHA-256 of the SeriesInstanceUID, or where that is empty of the UIDs of the images,
    or without these of the middle file: so it is the same wherever the files lie, and tells no one who has
    not got them whose they are. What is left out is counted in the verdict: localisers and other set-aside
    images; derived series, where their study has a case of the same modality that is not; series of several
    volumes in time; copies.
    """
    found = scan(path, progress)
    left_out: Counter[str] = Counter()
    candidates = [*_of_uids(found.frames, left_out), *_without_uid(found.frames, left_out)]
    kept = list(_chosen(candidates, left_out))
    kept.sort(key=lambda one: str(one.folder))  # stable: series numbers stay in order
    cases = tuple(_case(one) for one in kept)
    return Manifest(cases, COLUMNS, _told(left_out, found) + _shared_folders(kept))


def _of_uids(frames: Sequence[Frame], left_out: Counter[str]) -> Iterator[_Candidate]:
    """Series that have a UID. Images that lie in several folders are taken from the first."""
    by_uid: defaultdict[str, list[Frame]] = defaultdict(list)
    for frame in frames:
        if frame.image.series_uid:
            by_uid[frame.image.series_uid].append(frame)
    for members in by_uid.values():
        folder, copies = _home(members)
        left_out["copies"] += copies
        # All that `medseg.read` will find of the UID there, so that its volumes have the same numbers.
        yield from (_Candidate(series, folder) for series in split([f for f in members if _is_in(f, folder)]))


def _without_uid(frames: Sequence[Frame], left_out: Counter[str]) -> Iterator[_Candidate]:
    """Series without a UID, as anonymisers leave them: those of one folder belong together."""
    by_folder: defaultdict[Path, list[int]] = defaultdict(list)
    for n, frame in enumerate(frames):
        if not frame.image.series_uid:
            by_folder[_folder(frame)].append(n)
    folders = sorted(by_folder)  # a folder stands right before those below it
    for at, folder in enumerate(folders):
        below = takewhile(lambda other: other.is_relative_to(folder), folders[at:])  # noqa: B023 - used at once
        # In the order in which `medseg.read` finds them there: their identifiers are numbers.
        numbers = sorted(n for other in below for n in by_folder[other])
        for series in split([frames[n] for n in numbers]):
            inside = {_folder(frame) == folder for frame in series.frames}
            if inside == {True}:
                yield _Candidate(series, folder)
            else:
                left_out["spread"] += inside == {True, False} and folder == min(map(_folder, series.frames))


def _home(frames: Sequence[Frame]) -> tuple[Path, int]:
    """The folder that holds the images of a series, and how many of them lie in another one as well."""
    by_folder: defaultdict[Path, list[Frame]] = defaultdict(list)
    for frame in frames:
        by_folder[_folder(frame)].append(frame)
    seen: set[tuple[str, int, object]] = set()
    homes, copies = [], 0
    # The fullest first: what is a part of it is a copy, and what has more than it is not.
    for folder, members in sorted(by_folder.items(), key=lambda item: -len(item[1])):
        keys = {(f.image.sop_uid, f.number, f.tile) for f in members}
        if keys <= seen and all(uid for uid, _, _ in keys):
            copies += len(members)
        else:
            homes.append(folder)
            seen |= keys
    return Path(os.path.commonpath(homes)), copies


def _chosen(candidates: Sequence[_Candidate], left_out: Counter[str]) -> Iterator[_Candidate]:
    """The candidates that are scans; the others are counted."""
    originals = {
        _study(series)
        for series in (one.series for one in candidates)
        if not series.aside and series.volume is None and series.fault is None and not _derived(series)
    }
    for one in candidates:
        series = one.series
        if series.aside:
            left_out[series.aside] += len(series.frames)
        elif series.volume is not None:
            left_out["volumes"] += series.volume[0] == 1
        elif series.fault is not None:
            left_out["no-volume"] += 1
        elif _derived(series) and _study(series) in originals:
            left_out["derived"] += 1
        else:
            yield one


def _study(series: Series) -> tuple[int, int, str | None]:
    image = series.frames[0].image
    return image.patient, image.study, series.modality


def _derived(series: Series) -> bool:
    return series.frames[0].image_type[:1] == ("DERIVED",)


def _case(one: _Candidate) -> ManifestCase:
    series = one.series
    values: tuple[Value, ...] = (series.modality, float(len(series.frames)), series.summary)
    columns = dict(zip(COLUMNS, values, strict=True))
    return ManifestCase(_case_id(series), (("", one.folder),), columns=columns, series=series.id)


def _case_id(series: Series) -> str:
    """``case-`` and ten hex digits, and ``-2`` for part 2 of one UID."""
    uid = series.frames[0].image.series_uid
    if uid:
        part = series.id.partition("#")[2]
        return f"case-{_digest([uid])}" + (f"-{part}" if part else "")
    images = {frame.image.sop_uid for frame in series.frames}
    if "" not in images:
        return f"case-{_digest(sorted(images))}"
    # No UID at all is left. The middle one by name: at the ends of a scan there may be nothing but zeros.
    paths = sorted(series.paths)
    return f"case-{_digest([sha256_files([paths[len(paths) // 2]])])}"


def _digest(uids: Iterable[str]) -> str:
    return hashlib.sha256("\n".join(uids).encode()).hexdigest()[:_DIGITS]


def _folder(frame: Frame) -> Path:
    return frame.image.source.path.parent


def _is_in(frame: Frame, folder: Path) -> bool:
    return frame.image.source.path.is_relative_to(folder)


def _told(left_out: Counter[str], found: Found) -> Verdict:
    """What is left out, by kind and number; no name of a file."""
    counts = left_out + Counter(item.code for item in found.set_aside if item.code not in _NOT_TOLD)
    parts = []
    for code, count in sorted(counts.items()):
        if count and code in _LEFT_OUT:
            parts.append(f"{count} {_LEFT_OUT[code]}")
        elif count:
            parts.append(f"{count} {NAMES.get(code, NAMES['not-an-image'])[count > 1]}")
    verdict = Verdict.of("warning", "left-out", f"left out: {'; '.join(parts)}") if parts else OK
    if not found.lost:
        return verdict
    text = f"{len(found.lost)} DICOM files cannot be read or are not there; they may be slices of a scan"
    return verdict + Verdict.of("warning", "unreadable-files", text)


def _shared_folders(kept: Sequence[_Candidate]) -> Verdict:
    crowded = [n for n in Counter(one.folder for one in kept).values() if n > _MANY_IN_FOLDER]
    if not crowded:
        return OK
    text = (
        f"{sum(crowded)} series share {len(crowded)} folders, and each case looks through its folder: a "
        "folder for each series is faster"
    )
    return Verdict.of("warning", "shared-folders", text)
