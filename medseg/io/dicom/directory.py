"""DICOMDIR: the files that a medium's directory lists, none of them outside the medium.

Source: DICOM PS3.3, annex F, and PS3.10, section 8.
"""

from __future__ import annotations

import re
from pathlib import Path

from medseg.errors import InputRefused
from medseg.io.dicom import tags
from medseg.io.dicom.elements import BadHeader, Parsed
from medseg.io.dicom.kinds import DIRECTORY
from medseg.io.dicom.objects import Source
from medseg.io.dicom.sources import FileSource

_FILE_ID = re.compile(r"[A-Za-z0-9_.\- ]{1,64}")
_ILLEGAL = set(":/\\\0")


def is_directory(parsed: Parsed) -> bool:
    """Whether an object is a DICOMDIR."""
    return parsed.meta.uid(tags.MediaStorageSOPClassUID) == DIRECTORY


def listed_files(path: Path, parsed: Parsed) -> tuple[list[Source], tuple[str, ...]]:
    """The files that a DICOMDIR lists, each once, and the names of those that are not there.

    Names are found whatever their case, as media are copied by systems that keep it and that do not.

    Raises
    ------
    InputRefused
        ``outside-root`` where a name leads out of the folder of the DICOMDIR, by ``..``, as an absolute
        path or over a symbolic link; ``bad-header``.
    """
    medium = _Medium(path.parent)
    found: dict[Path, Source] = {}
    missing: dict[str, None] = {}
    for number, parts in enumerate(_file_ids(path, parsed), 1):
        if not parts:
            continue
        file = medium.file(parts)
        if file is None:
            raise _outside(path, number)
        if file.is_file():
            found.setdefault(file, FileSource.of(file))
        else:
            missing[_shown(parts, number)] = None
    return list(found.values()), tuple(missing)


class _Medium:
    """A folder that no name leads out of. What has been looked up in it is remembered."""

    def __init__(self, root: Path) -> None:
        self._root = root.resolve()
        self._names: dict[Path, dict[str, str]] = {}
        self._folders: dict[tuple[Path, str], Path | None] = {}

    def file(self, parts: tuple[str, ...]) -> Path | None:
        """The file of a name, there or not; None where it would be outside."""
        place = self._root
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
        return place if place.is_relative_to(self._root) else None


def _file_ids(path: Path, parsed: Parsed) -> list[tuple[str, ...]]:
    """The file of each record, split into its parts; some writers put slashes into them."""
    try:
        return [
            tuple(part for word in record.words(tags.ReferencedFileID) for part in word.split("/"))
            for record in parsed.dataset.items(tags.DirectoryRecordSequence)
            if record.integer(tags.RecordInUseFlag) != 0  # 0: taken off the medium
        ]
    except BadHeader as error:
        raise InputRefused(
            f"{path.name}: the directory cannot be read: {error}; give the folder instead",
            code=error.code,
            path=path,
        ) from None


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
