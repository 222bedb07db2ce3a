"""A study's segmentations against the references of its manifest."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from medseg.cohort.folder import StudyFolder
from medseg.cohort.ledger import Ledger
from medseg.cohort.privacy import names_of, private
from medseg.errors import UsageError
from medseg.evaluation import CaseScores, Evaluation, Settings, evaluate_pairs, score_table
from medseg.evaluation.summary import Tally
from medseg.pipeline.options import Progress
from medseg.verdict import Verdict


def evaluate_study(
    path: Path,
    settings: Settings,
    *,
    workers: int = 1,
    out: Path | None = None,
    keep_cases: bool = True,
    progress: Progress | None = None,
) -> Evaluation:
    """Compare every case that has a reference with it, and write ``evaluation.csv`` into the study.

    Cases are called by their ids, also in messages. A case with a reference but without a segmentation is in
    the table with its reason, and enters no mean.

    Parameters
    ----------
    path
        The study's folder.
    settings, workers, keep_cases
        As in `medseg.evaluate`.
    out
        Another place for the table.
    progress
        Called as ``progress("evaluate", done, total)``.

    Raises
    ------
    UsageError
        If the manifest has no references.
    """
    folder = StudyFolder(path)
    with Ledger(folder.ledger) as ledger:
        references = {
            case_id: Path(reference)
            for case_id, reference, _ in ledger.manifest_values()
            if reference is not None
        }
        done = {entry.case_id for entry in ledger.entries() if entry.state == "done"}
    if not references:
        raise UsageError(
            f"{path.name}: its manifest has no column reference: add one and run the study again, or give a "
            "folder of references"
        )
    pairs = {
        case_id: (folder.outputs(case_id).segmentations[0], reference)
        for case_id, reference in references.items()
        if case_id in done
    }
    tally, kept = Tally(settings), []
    files = ((case_id, *pair) for case_id, pair in pairs.items())
    with (
        score_table(out or folder.evaluation, settings) as add_row,
        closing(evaluate_pairs(files, settings, workers=workers)) as scored,
    ):
        for number, case in enumerate(_with_failures(references, pairs, scored), start=1):
            tally.add(case)
            add_row(case)
            if keep_cases or case.verdict.reasons:
                kept.append(case)
            if progress is not None:
                progress("evaluate", number, len(references))
    return Evaluation(tuple(kept), settings, tally.rows())


def _with_failures(
    references: dict[str, Path], pairs: dict[str, tuple[Path, Path]], scored: Iterator[CaseScores]
) -> Iterator[CaseScores]:
    """The scored cases in the order of the manifest, with those between them that have no segmentation."""
    for case_id in references:
        if case_id not in pairs:
            missing = Verdict.of("failed", "no-segmentation", "the case was not segmented")
            yield CaseScores(case_id, (), missing)
            continue
        case = next(scored)
        if case.verdict.reasons:
            case = replace(case, verdict=private(case.verdict, names_of(pairs[case_id]), case_id))
        yield case
