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
_MOST_LEVELS = 64


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
    root = path.parent.resolve()
    folders: dict[Path, dict[str, str]] = {}
    found: dict[Path, Source] = {}
    missing: dict[str, None] = {}
    for number, parts in enumerate(_file_ids(path, parsed), 1):
        if not parts:
            continue
        if len(parts) > _MOST_LEVELS or any(part in ("", ".", "..") or ":" in part for part in parts):
            raise _outside(path, number)
        file = root
        for part in parts:
            names = folders.get(file)
            if names is None:
                names = folders[file] = _names(file)
            file = file / names.get(part.lower(), part)
        target = file.resolve()
        if not target.is_relative_to(root):
            raise _outside(path, number)
        if target.is_file():
            found.setdefault(target, FileSource.of(file))
        else:
            missing[_shown(parts, number)] = None
    return list(found.values()), tuple(missing)


def _file_ids(path: Path, parsed: Parsed) -> list[tuple[str, ...]]:
    """The file of each record, split into its parts; some writers put slashes into them."""
    try:
        return [
            tuple(part for word in record.words(tags.ReferencedFileID) for part in word.split("/"))
            for record in parsed.dataset.items(tags.DirectoryRecordSequence)
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
