"""What an importer knows of a foreign dataset before a voxel is read: cases, channels, labels, problems."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from medseg.labels import LabelSet
from medseg.volume import LabelMap, Volume

_UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong: a stable ``code``, the file or case ("" for the whole), what to do."""

    code: str
    where: str
    message: str

    def __str__(self) -> str:
        return f"{self.where}: {self.message}" if self.where else self.message


@dataclass(frozen=True, slots=True)
class SourceOptions:
    """Choices that a layout may leave open.

    Parameters
    ----------
    target
        Which labels, where there are several kinds: a name (BIDS, Cityscapes) or structures (DICOM).
    channels
        Which images of a case (BIDS suffixes); empty takes the one there is.
    voxel_mm
        Edge of a voxel that points are gathered in (S3DIS).
    """

    target: tuple[str, ...] = ()
    channels: tuple[str, ...] = ()
    voxel_mm: float = 50.0


@dataclass(frozen=True, slots=True, eq=False)
class Example:
    """A case as arrays: a `Volume` per file of the survey, and the labels, in layers where they overlap."""

    images: tuple[Volume, ...]
    labels: tuple[LabelMap, ...]


@dataclass(frozen=True, slots=True)
class SourceCase:
    """One case that can be read.

    Parameters
    ----------
    id
        Safe as a file's name: letters, digits, ``.``, ``_`` and ``-``.
    files
        What it is read from: a change of size or time of one makes it another case.
    read
        Reads it; raises `InputRefused`.
    patient
        Who it is of, where the layout says so: cases of one patient do not belong into different folds.
    part
        Which item of its files it is, where they hold many.
    """

    id: str
    files: tuple[Path, ...]
    read: Callable[[], Example]
    patient: str | None = None
    part: str = ""


@dataclass(frozen=True, slots=True)
class Survey:
    """A foreign dataset.

    Parameters
    ----------
    layout, name
        The layout's name in ``--layout``; the dataset's own name.
    files
        Names of the files that a case's images are written to, ``("",)`` where it is one.
    channels
        Names of all channels of those files, in order.
    labels
        Ids and names; None where nobody names them.
    cases
        Sorted by id.
    ignore_label
        The value of voxels that nobody judged.
    problems
        What forbids to import all cases as they are; each names its case or file.
    notes
        What was decided and is good to know.
    """

    layout: str
    name: str
    files: tuple[str, ...]
    channels: tuple[str, ...]
    labels: LabelSet | None
    cases: tuple[SourceCase, ...]
    ignore_label: int | None = None
    problems: tuple[Problem, ...] = ()
    notes: tuple[Problem, ...] = ()


def safe_name(text: str) -> str:
    """A text as part of a file's name: other characters become ``_``; never hidden, never empty."""
    return _UNSAFE.sub("_", text).strip("._") or "case"


def settled(survey: Survey) -> Survey:
    """The survey with its cases in order, and ids that clash as problems.

    Ids that differ in case alone clash as well: some file systems hold one file for both.
    """
    counts = Counter(case.id.lower() for case in survey.cases)
    repeated = sorted({case.id for case in survey.cases if counts[case.id.lower()] > 1})
    problems = [
        Problem("repeated-case", case_id, "several cases have this name: rename all but one of them")
        for case_id in repeated
    ]
    ordered = tuple(sorted(survey.cases, key=lambda case: case.id))
    return replace(survey, cases=ordered, problems=(*survey.problems, *problems))


def missing_files(case_id: str, files: Iterable[Path], root: Path) -> list[Problem]:
    """A problem for each file of a case that is not there."""
    return [
        Problem("missing-file", case_id, f"{_below(file, root)} does not exist: add it, or remove the case")
        for file in files
        if not file.exists()
    ]


def listing(problems: Sequence[Problem], most: int = 20) -> str:
    """Problems line by line, the first of many."""
    lines = [str(problem) for problem in problems[:most]]
    if len(problems) > most:
        lines.append(f"and {len(problems) - most} more")
    return "\n  ".join(lines)


def _below(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else path.name
