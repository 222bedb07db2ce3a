"""What must hold of every case table, wherever it comes from; and what is worth a warning."""

from __future__ import annotations

import os
import unicodedata
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache

from medseg.cohort.folder import why_no_case_id
from medseg.cohort.manifest.cases import Manifest, ManifestCase
from medseg.cohort.manifest.problems import Numbering, Problem
from medseg.verdict import OK, Verdict

_MODALITY = "modality"
_SPELLINGS = {"MRI": "MR", "PET": "PT"}
_MOST_LISTED = 5


def problems_of(
    cases: Sequence[ManifestCase], lines: Sequence[int | None], numbering: Numbering
) -> list[Problem]:
    """Ids that name no files, or more than one case."""
    problems: list[Problem] = []
    seen: dict[str, int] = {}
    for n, (case, line) in enumerate(zip(cases, lines, strict=True)):
        why = _why_no_case_id(case.case_id)
        if why is not None:
            problems.append(
                Problem(f"case_id {case.case_id!r}: {why}; it names files, so choose another", line)
            )
            continue
        first = seen.setdefault(_as_file_systems_see(case.case_id), n)
        if first != n:
            text = _clash(case.case_id, cases[first].case_id, numbering.place(lines[first]))
            problems.append(Problem(text, line))
    return problems


def mixed_modalities(manifest: Manifest) -> Verdict:
    """A warning where a column ``modality`` has several values; a missing one counts as none."""
    column = next((name for name in manifest.columns if name.casefold() == _MODALITY), None)
    if column is None:
        return OK
    told = (case.columns.get(column) for case in manifest.cases)
    counts = Counter(_modality(value) for value in told if isinstance(value, str))
    if len(counts) < 2:
        return OK
    listed = [f"{name} ({count})" for name, count in counts.most_common(_MOST_LISTED)]
    more = f" and {len(counts) - _MOST_LISTED} more" if len(counts) > _MOST_LISTED else ""
    text = f"scans of several modalities in one study: {', '.join(listed)}{more}"
    return Verdict.of("warning", "mixed-modalities", text)


def no_image_found(cases: Sequence[ManifestCase]) -> Verdict:
    """A warning where not one image of a table is there; nothing is looked for after the first that is.

    Where paths begin in the wrong folder most of theirs are missing too, and one question answers for all
    images in one.
    """
    is_folder = lru_cache(1024)(os.path.isdir)
    paths = (os.fspath(path) for case in cases for _, path in case.images)
    if any(is_folder(os.path.dirname(path)) and os.path.exists(path) for path in paths):  # noqa: PTH110, PTH120
        return OK
    text = (
        f"none of the images ({sum(len(case.images) for case in cases)}) is there: are their paths relative "
        "to the table's folder? Otherwise give them whole"
    )
    return Verdict.of("warning", "no-image-found", text)


def _modality(value: str) -> str:
    return _SPELLINGS.get(value.upper(), value.upper())


def _why_no_case_id(case_id: str) -> str | None:
    try:
        case_id.encode()
    except UnicodeEncodeError:  # a file's name in another encoding, or half a character in JSON
        return "it holds bytes that are no text"
    return why_no_case_id(case_id)


def _as_file_systems_see(case_id: str) -> str:
    """The same for names that macOS or Windows take for one, which fold case and composed letters."""
    if case_id.isascii():
        return case_id.lower()
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", case_id).casefold())


def _clash(case_id: str, first: str, place: str) -> str:
    there = f" on {place}" if place else ""
    if case_id == first:
        return f"case_id {case_id!r} is there already{there}: every case needs its own"
    return (
        f"case_id {case_id!r} and {first!r}{there} differ only in upper and lower case or in how letters are "
        "composed, which some systems do not tell apart: rename one"
    )
