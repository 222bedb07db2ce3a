"""Files that may hold slices and cannot be had: which series they are held against, and in which words."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from medseg.errors import InputRefused
from medseg.io.dicom.objects import Lost
from medseg.verdict import Reason

MISSING = "missing-files"
_NAMED = 5
_CURE = "what is none can be moved elsewhere"


def concerning(lost: Sequence[Lost], paths: Iterable[Path], uid: str = "") -> tuple[Lost, ...]:
    """What may hold slices of the series that has its files at ``paths``.

    That is what lies in one folder or archive with any of them; of a series in several folders, what lies
    anywhere below the folder that they share; and what a DICOMDIR lists, but as a file of another series.
    """
    if not lost:
        return ()
    files = frozenset(paths)
    folders = {file.parent for file in files}
    shared = Path(os.path.commonpath(folders)) if len(folders) > 1 else None

    def concerns(item: Lost) -> bool:
        if item.medium is not None:
            return uid not in item.others and any(file.is_relative_to(item.medium) for file in files)
        return item.path.parent in folders or (shared is not None and item.path.is_relative_to(shared))

    return tuple(item for item in lost if concerns(item))


def broken(lost: Sequence[Lost]) -> tuple[Reason, ...]:
    """The faults of a series that files which cannot be read may belong to, one for each code."""
    by_code: dict[str, list[Lost]] = {}
    for item in lost:
        if item.code != MISSING:
            by_code.setdefault(item.code, []).append(item)
    return tuple(Reason(code, _may_be_slices(items)) for code, items in by_code.items())


def _may_be_slices(items: list[Lost]) -> str:
    first = items[0]
    if len(items) == 1:
        what = "hold slices" if first.path.is_dir() else "be a slice"
        return f"{first.name} might {what} of this series: {first.message}; {_CURE}"
    named = named_few([item.name for item in items])
    return (
        f"{len(items)} files might be slices of this series ({named}): of the first, {first.message}; {_CURE}"
    )


def missing(lost: Sequence[Lost]) -> tuple[Reason, ...]:
    """The fault of a series that files which are not there may belong to."""
    text = _not_there(lost)
    cure = "copy the whole medium or folder, or allow=missing-slices reads what is there"
    return (Reason(MISSING, f"{text}, which may be slices; {cure}"),) if text else ()


def missing_allowed(lost: Sequence[Lost]) -> tuple[Reason, ...]:
    """The warning that is left of that fault where it is allowed."""
    text = _not_there(lost)
    return (Reason(MISSING, f"{text}; slices at the ends of a scan may be among them"),) if text else ()


def _not_there(lost: Sequence[Lost]) -> str:
    names = [item.name for item in lost if item.code == MISSING]
    if not names:
        return ""
    files = (
        "1 file that should be there is"
        if len(names) == 1
        else f"{len(names)} files that should be there are"
    )
    return f"{files} missing ({named_few(names)})"


def nothing_else(path: Path, lost: Sequence[Lost]) -> InputRefused | None:
    """The refusal of a path at which there is nothing but what cannot be had; None where nothing is lost."""
    unread = [item for item in lost if item.code != MISSING]
    if unread:
        first = unread[0]
        return InputRefused(f"{first.name}: {first.message}", code=first.code, path=first.path)
    for reason in missing(lost):
        return InputRefused(f"{path.name}: {reason.message}", code=reason.code, path=path)
    return None


def named_few(names: Sequence[str]) -> str:
    """The first few of some names."""
    return ", ".join(names[:_NAMED]) + (", ..." if len(names) > _NAMED else "")
