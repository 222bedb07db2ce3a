"""medseg.import_dataset: a dataset in a foreign layout to one that ``medseg train`` takes as it is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medseg.datasets.journal import Journal
from medseg.datasets.sources.registry import survey as survey_of
from medseg.datasets.sources.survey import Problem, SourceCase, SourceOptions, Survey, listing
from medseg.datasets.storing import Names, store, stored, structure_names, verified, write_lists
from medseg.errors import InputRefused, UsageError
from medseg.words import counted

Progress = Callable[[str, int, int], None]
FORMAT_VERSION = 1


@dataclass(frozen=True, slots=True)
class ImportReport:
    """What an import did.

    Parameters
    ----------
    source, out, layout
        From where, to where (None: only looked at), and the layout it had.
    datasets
        What ``medseg train`` takes: ``out``, or a list per structure where structures overlap. Empty where
        cases were refused and have to be corrected first.
    cases
        Ids of the cases that are there now.
    refused
        Problems of cases that are not.
    notes
        What was decided.
    earlier
        Those of ``cases`` that an earlier run had written.
    """

    source: Path
    out: Path | None
    layout: str
    datasets: tuple[Path, ...]
    cases: tuple[str, ...]
    refused: tuple[Problem, ...]
    notes: tuple[Problem, ...]
    earlier: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The ``data import --json`` document."""
        return {
            "format_version": FORMAT_VERSION,
            "source": str(self.source),
            "out": None if self.out is None else str(self.out),
            "layout": self.layout,
            "datasets": [str(path) for path in self.datasets],
            "cases": list(self.cases),
            "refused": [_entry(problem) for problem in self.refused],
            "notes": [_entry(note) for note in self.notes],
            "earlier": list(self.earlier),
        }


def import_dataset(
    source: Path | str,
    out: Path | str | None = None,
    *,
    layout: str = "auto",
    target: Sequence[str] = (),
    channels: Sequence[str] = (),
    voxel_mm: float = 50.0,
    separate: bool = False,
    skip_faulty: bool = False,
    dry_run: bool = False,
    progress: Progress | None = None,
) -> ImportReport:
    """Read a dataset in a foreign layout, and write one in medseg's own.

    ``out`` gets ``images/``, ``labels/`` and ``dataset.json``, which is written last: without it the import
    is not finished, and the same call goes on where it stopped. Every file is read back and compared before
    it takes its name; nothing that is there is overwritten.

    Parameters
    ----------
    source
        A folder or file, see docs/datasets.md for the layouts.
    out
        A folder that does not exist, is empty, or holds this import begun. Needed unless ``dry_run``.
    layout
        ``"auto"`` or one of `medseg.datasets.sources.registry.LAYOUTS`.
    target
        Which labels, where there are several kinds: the kind (BIDS, Cityscapes), or names of structures
        (DICOM).
    channels
        The images of a case, by their BIDS suffixes.
    voxel_mm
        Edge of the voxels that points are gathered in (S3DIS).
    separate
        Structures that overlap are written as a label map each, and a list per structure beside
        dataset.json's place. Otherwise such a case is refused.
    skip_faulty
        Leave cases with problems out. Otherwise problems of the layout refuse the import before anything is
        written, and those found while reading leave it unfinished.
    dry_run
        Read and judge every case, write nothing.
    progress
        Called with ``"cases"``, the number done and that of all; an exception cancels.

    Raises
    ------
    NotFound, UsageError
        If the source is not there, or ``out`` holds something else.
    InputRefused
        If no layout fits, or the survey finds problems; each is listed.
    """
    source = Path(source)
    if out is None and not dry_run:
        raise UsageError("import: give a folder to write to (-o OUT), or only look (--dry-run)")
    options = SourceOptions(tuple(target), tuple(channels), voxel_mm)
    found = survey_of(source, layout, options)
    if found.problems and not (skip_faulty and found.cases):
        count = counted(len(found.problems), "problem")
        raise InputRefused(
            f"{source}: {count} ({found.layout})\n  {listing(found.problems)}",
            code=found.problems[0].code,
            path=source,
            reasons=[(problem.code, str(problem)) for problem in found.problems],
        )
    names = Names(found.files, structure_names(found) if separate else ())
    if dry_run or out is None:
        return _look(source, found, separate, progress)
    folder = Path(out)
    _check_apart(source, folder)
    Journal.of(found, options, separate).begin(folder, names)
    refused = list(found.problems)
    cases: list[SourceCase] = []
    earlier: list[str] = []
    for number, case in enumerate(found.cases):
        try:
            if stored(folder, case.id, names) is not None:
                earlier.append(case.id)
            else:
                store(folder, case.id, verified(case.read(), found, separate), names)
            cases.append(case)
        except InputRefused as refusal:
            refused += _of_case(case, refusal)
        if progress is not None:
            progress("cases", number + 1, len(found.cases))
    finished = bool(cases) and (skip_faulty or not refused)
    datasets = write_lists(folder, found, cases, names) if finished else ()
    ids = tuple(case.id for case in cases)
    return ImportReport(
        source, folder, found.layout, datasets, ids, tuple(refused), found.notes, tuple(earlier)
    )


def _look(source: Path, found: Survey, separate: bool, progress: Progress | None) -> ImportReport:
    """Read and judge every case."""
    refused = list(found.problems)
    fine: list[str] = []
    for number, case in enumerate(found.cases):
        try:
            verified(case.read(), found, separate)
            fine.append(case.id)
        except InputRefused as refusal:
            refused += _of_case(case, refusal)
        if progress is not None:
            progress("cases", number + 1, len(found.cases))
    return ImportReport(source, None, found.layout, (), tuple(fine), tuple(refused), found.notes)


def _check_apart(source: Path, folder: Path) -> None:
    """The output may lie beside the source, not in it: the next import would read what this one wrote."""
    inside = source.resolve()
    if source.is_dir() and (folder.resolve() == inside or inside in folder.resolve().parents):
        raise UsageError(f"{folder}: lies in the dataset that is imported: choose a folder beside {source}")


def _of_case(case: SourceCase, refusal: InputRefused) -> list[Problem]:
    return [Problem(refusal.code, case.id, str(refusal))]


def _entry(problem: Problem) -> dict[str, str]:
    return {"code": problem.code, "where": problem.where, "message": problem.message}
