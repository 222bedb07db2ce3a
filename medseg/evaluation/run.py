"""evaluate: predicted label maps against references, case by case, and the summary of each label."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medseg.errors import InputRefused
from medseg.evaluation.cases import CaseScores
from medseg.evaluation.pairing import Pairs, case_name, pair_files
from medseg.evaluation.settings import Settings
from medseg.evaluation.stream import evaluate_pairs
from medseg.evaluation.summary import Tally
from medseg.evaluation.table import score_table
from medseg.labels import LabelSet
from medseg.verdict import Verdict

FORMAT_VERSION = 1
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What `evaluate` returns.

    Parameters
    ----------
    cases
        In the order of their names. Refused cases have no labels and a verdict that says why. Where
        ``keep_cases`` was False, only those whose verdict is not ``ok``.
    settings
        What was measured, and how.
    summary
        For each label and number: n, mean, standard deviation (n - 1) and median over cases, as in
        `summary.Tally.rows`.
    without_prediction
        Names of references that nothing was predicted for. They enter no mean, so look at them.
    """

    cases: tuple[CaseScores, ...]
    settings: Settings
    summary: list[dict[str, Any]]
    without_prediction: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The ``evaluate --json`` document."""
        return {
            "format_version": FORMAT_VERSION,
            **self.settings.to_json(),
            "cases": [case.to_json() for case in self.cases],
            "summary": self.summary,
            "without_prediction": list(self.without_prediction),
        }

    def to_csv(self, path: str | Path) -> Path:
        """Write the cases that were kept as `table.score_table` does; returns the path."""
        with score_table(path, self.settings) as add:
            for case in self.cases:
                add(case)
        return Path(path)


def evaluate(
    pred: str | Path,
    ref: str | Path,
    *,
    metrics: Iterable[str] | None = None,
    definitions: Mapping[str, str] | None = None,
    surface_tolerance_mm: float = 1.0,
    lesion_connectivity: int = 26,
    lesion_overlap: float = 0.0,
    lesion_smallest_mm3: float = 0.0,
    labels: LabelSet | None = None,
    workers: int = 1,
    out: str | Path | None = None,
    keep_cases: bool = True,
    progress: Progress | None = None,
) -> Evaluation:
    """Compare predicted label maps with references.

    Parameters
    ----------
    pred, ref
        Two files, or two folders whose files are paired by stem, ``_seg`` and ``_0000`` stripped.
    metrics
        Some of ``dice``, ``surface_dice``, ``hd95``, ``volume_error``, ``mean_surface_distance``,
        ``hausdorff``, ``volumetric_similarity``, ``lesions``, or ``all``. Unless told: the first five.
    definitions
        Other definitions by name, e.g. ``{"hd95": "voxels"}``; see `metrics.DEFINITIONS`.
    surface_tolerance_mm
        Distance up to which surfaces count as equal in surface Dice.
    lesion_connectivity, lesion_overlap, lesion_smallest_mm3
        What a lesion is, and when one is found: `lesions.LesionRules`.
    labels
        The labels to score, with their names. Without it: every label of either file, present or
        declared; the reference's name, unless only the prediction has one.
    workers
        Processes that compare cases; see `evaluate_pairs`.
    out
        A CSV file, written row by row; it takes its name at the end.
    keep_cases
        False keeps only cases with something to say, so that memory does not grow with their number.
    progress
        Called as ``progress("evaluate", done, total)``.

    Returns
    -------
    Evaluation
        docs/evaluation.md defines each number, and the rules where a structure is absent.

    Raises
    ------
    InputRefused
        If no pair can be compared. Else a pair that cannot be is refused by its own verdict.
    UsageError
        If nothing pairs up, or an option has a value that cannot be.
    """
    settings = Settings.parse(
        metrics,
        definitions,
        surface_tolerance_mm=surface_tolerance_mm,
        lesion_connectivity=lesion_connectivity,
        lesion_overlap=lesion_overlap,
        lesion_smallest_mm3=lesion_smallest_mm3,
    )
    pairs = pair_files(Path(pred), Path(ref))
    files = ((case, predicted, reference) for case, (predicted, reference) in pairs.paired.items())
    tally, kept, scored = Tally(settings), [], 0
    with ExitStack() as stack:
        add_row = None if out is None else stack.enter_context(score_table(out, settings))
        cases = stack.enter_context(closing(evaluate_pairs(files, settings, labels=labels, workers=workers)))
        counted = _counted(cases, len(pairs.paired), progress or _say_nothing)
        lone = (_without_reference(path, Path(ref)) for path in pairs.without_reference)
        for case in heapq.merge(counted, lone, key=lambda case: case.case):
            tally.add(case)
            scored += case.was_scored
            if add_row is not None:
                add_row(case)
            if keep_cases or case.verdict.reasons:
                kept.append(case)
        if not scored:
            _raise_where_all_were_refused(kept, pairs)
    return Evaluation(
        tuple(kept), settings, tally.rows(), tuple(case_name(path) for path in pairs.without_prediction)
    )


def _counted(cases: Iterable[CaseScores], total: int, progress: Progress) -> Iterator[CaseScores]:
    progress("evaluate", 0, total)
    for done, case in enumerate(cases, start=1):
        progress("evaluate", done, total)
        yield case


def _raise_where_all_were_refused(cases: Iterable[CaseScores], pairs: Pairs) -> None:
    compared = [case for case in cases if case.case in pairs.paired]
    if any(case.verdict.status != "refused" for case in compared):
        return
    first = compared[0]
    reasons = [(reason.code, reason.message) for reason in first.verdict.reasons]
    raise InputRefused(
        "; ".join(message for _, message in reasons),
        code=reasons[0][0],
        path=pairs.paired[first.case][0],
        reasons=reasons,
    )


def _say_nothing(stage: str, done: int, total: int) -> None: ...


def _without_reference(path: Path, folder: Path) -> CaseScores:
    text = f"{path.name}: no reference of that name in {folder}"
    return CaseScores(case_name(path), (), Verdict.of("refused", "no-reference", text))
