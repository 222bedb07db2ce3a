"""Messages without the paths of a case: a file's or folder's name may be a patient's."""

from __future__ import annotations

import os
import re
import traceback
from collections.abc import Iterable
from pathlib import Path

from medseg.io.files import stem
from medseg.verdict import OK, Reason, Verdict

_SHORTEST = 3
# Names of folders that are nobody's, and words of messages: replaced, they would only garble these.
_ORDINARY = frozenset(
    {
        "case",
        "cases",
        "data",
        "dataset",
        "datasets",
        "derivatives",
        "dicom",
        "dicoms",
        "downloads",
        "file",
        "files",
    }
    | {
        "folder",
        "home",
        "image",
        "images",
        "imagests",
        "imagestr",
        "label",
        "labels",
        "labelstr",
        "media",
        "mnt",
    }
    | {
        "nifti",
        "opt",
        "private",
        "projects",
        "root",
        "scan",
        "scans",
        "series",
        "studies",
        "study",
        "tmp",
        "user",
    }
    | {"users", "usr", "var", "volume", "volumes", "work"}
)


def names_of(paths: Iterable[Path]) -> tuple[str, ...]:
    """Everything that could tell where files lie: paths, each folder's name, names within DICOM folders.

    Longest first, so that a whole path is replaced before its parts are.
    """
    found: set[str] = set()
    for path in paths:
        for form in {path, path.absolute(), path.resolve()}:
            found.update((str(form), form.as_posix(), repr(str(form))[1:-1]))
            found.update((*form.parts, stem(form)))
        if path.is_dir():
            for _, folders, files in os.walk(path):
                for name in (*folders, *files):
                    found.update((name, stem(name)))
    telling = (name for name in found if len(name) >= _SHORTEST and name.lower() not in _ORDINARY)
    return tuple(sorted(telling, key=lambda name: (-len(name), name)))


def without_names(text: str, names: Iterable[str], case_id: str) -> str:
    """A text with every path, and every word that is part of one, replaced by the case's id."""
    wanted = [re.escape(name) for name in names]
    if not wanted:
        return text
    told = re.sub("|".join(wanted), "\0", text)
    # "/\0/\0": what is left of a path
    return re.sub(r"[\\/]*\0(?:[\\/.]*\0)*", lambda _: case_id, told)


def private(verdict: Verdict, names: Iterable[str], case_id: str) -> Verdict:
    """The same verdict, its messages without paths."""
    if verdict.status == "ok":
        return OK
    names = tuple(names)
    return Verdict(
        verdict.status,
        tuple(Reason(r.code, without_names(r.message, names, case_id)) for r in verdict.reasons),
    )


def where_raised(error: BaseException) -> str:
    """The kind of an error and the lines of medseg that it came through: no message, no value, no path."""
    frames = traceback.extract_tb(error.__traceback__)
    lines = [f"{Path(frame.filename).name}:{frame.lineno}" for frame in frames if "medseg" in frame.filename]
    return f"{type(error).__name__} at {' > '.join(lines[-4:]) or 'an unknown place'}"
