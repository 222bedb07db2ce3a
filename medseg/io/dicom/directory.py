"""DICOMDIR: the files that a medium's directory lists, none of them outside the medium.

Source: DICOM PS3.3, annex F, and PS3.10, section 8.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from medseg.errors import InputRefused
from medseg.io.dicom import tags
from medseg.io.dicom.elements import BadHeader, DataSet, Parsed
from medseg.io.dicom.kinds import DIRECTORY
from medseg.io.dicom.objects import Lost, Source
from medseg.io.dicom.sources import FileSource

_FILE_ID = re.compile(r"[A-Za-z0-9_.\- ]{1,64}")
_ILLEGAL = set(":/\\\0")


def is_directory(parsed: Parsed) -> bool:
    """Whether an object is a DICOMDIR."""
    return parsed.meta.uid(tags.MediaStorageSOPClassUID) == DIRECTORY


def listed_files(path: Path, parsed: Parsed) -> tuple[list[Source], tuple[Lost, ...]]:
    """The files that a DICOMDIR lists, each once, and those that are not there.

    Names are found whatever their case, as media are copied by systems that keep it and that do not.

    Raises
    ------
    InputRefused
        ``outside-root`` where a name leads out of the folder of the DICOMDIR, by ``..``, as an absolute
        path or over a symbolic link; ``bad-header``.
    """
    medium = _Medium(path.parent)
    found: dict[Path, Source] = {}
    missing: dict[str, Lost] = {}
    records, series = _records(path, parsed)
    every = frozenset(series.values())
    for number, (record, parts) in enumerate(records, 1):
        if not parts:
            continue
        file = medium.file(parts)
        if file is None:
            raise _outside(path, number)
        if file.is_file():
            found.setdefault(file, FileSource.of(file))
        else:
            others = every - {series[record]} if record in series else frozenset[str]()
            name = _shown(parts, number)
            missing[name] = Lost("missing-files", name, "", file, medium.root, others)
    return list(found.values()), tuple(missing.values())


class _Medium:
    """A folder that no name leads out of. What has been looked up in it is remembered."""

    def __init__(self, root: Path) -> None:
        self.root = root.resolve()
        self._names: dict[Path, dict[str, str]] = {}
        self._folders: dict[tuple[Path, str], Path | None] = {}

    def file(self, parts: tuple[str, ...]) -> Path | None:
        """The file of a name, there or not; None where it would be outside."""
        place = self.root
        for part in parts[:-1]:
            key = place, part
            folder = self._folders[key] if key in self._folders else self._step(*key)
            self._folders[key] = folder
            if folder is None:
                return None
            place = folder
        return self._step(place, parts[-1])

    def _step(self, folder: Path, part: str) -> Path | None:
        if part in ("", ".", "..") or set(part) & _ILLEGAL:
            return None
        if folder not in self._names:
            self._names[folder] = _names(folder)
        # Resolved at every step, so that no folder outside is even listed.
        place = (folder / self._names[folder].get(part.lower(), part)).resolve()
        return place if place.is_relative_to(self.root) else None


def _records(path: Path, parsed: Parsed) -> tuple[list[tuple[int, tuple[str, ...]]], dict[int, str]]:
    """Of each record in use its place and its file, and by place the SeriesInstanceUID of files' records.

    A file's name is split into its parts; some writers put slashes into them.
    """
    try:
        records = parsed.dataset.items(tags.DirectoryRecordSequence)
        used = [record for record in records if record.integer(tags.RecordInUseFlag) != 0]  # 0: taken off
        files = [
            (
                _place(record),
                tuple(part for word in record.words(tags.ReferencedFileID) for part in word.split("/")),
            )
            for record in used
        ]
        return files, _series(used)
    except BadHeader as error:
        raise InputRefused(
            f"{path.name}: the directory cannot be read: {error}; give the folder instead",
            code=error.code,
            path=path,
        ) from None


def _place(record: DataSet) -> int:
    """Where a record begins, as links of other records say it: its first element is the link to the next."""
    at = record.place(tags.OffsetOfTheNextDirectoryRecord)
    return -1 if at is None else at - 16  # the heads of the item and of the element


def _series(records: Sequence[DataSet]) -> dict[int, str]:
    """By place the SeriesInstanceUID of what hangs below a series' record (PS3.3, F.2.2.2)."""
    try:
        return _below_series(records)
    except BadHeader:
        return {}  # then a missing file may be of any series


def _below_series(records: Sequence[DataSet]) -> dict[int, str]:
    by_place = {_place(record): record for record in records}
    found: dict[int, str] = {}
    for record in records:
        uid = record.uid(tags.SeriesInstanceUID)
        if record.text(tags.DirectoryRecordType) != "SERIES" or not uid:
            continue
        at = record.integer(tags.OffsetOfReferencedLowerLevelDirectoryEntity)
        while at in by_place and at not in found:
            found[at] = uid
            at = by_place[at].integer(tags.OffsetOfTheNextDirectoryRecord)
    found.pop(-1, None)
    return found


def _names(folder: Path) -> dict[str, str]:
    """The names in a folder by their lower case; none where there is no such folder."""
    if not folder.is_dir():
        return {}
    return {file.name.lower(): file.name for file in sorted(folder.iterdir())}


def _shown(parts: tuple[str, ...], number: int) -> str:
    """The name of a missing file; only its number where it is no name that media have."""
    return "/".join(parts) if all(_FILE_ID.fullmatch(part) for part in parts) else f"record {number}"


def _outside(path: Path, number: int) -> InputRefused:
    return InputRefused(
        f"{path.name}: record {number} names a file outside the directory's own folder; "
        "give the folder that holds the scan",
        code="outside-root",
        path=path,
    )
