"""The cases of a study, read once and kept as columns: a number takes 4 bytes, a text one place."""

from __future__ import annotations

import os
from array import array
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import get_args
from urllib.parse import quote

import numpy as np
from numpy.typing import NDArray

from medseg.report.study.page import Measure, StudyCase, StudyPage, Value
from medseg.verdict import Reason, Status

Progress = Callable[[str, int, int], None]

STATUSES: tuple[Status, ...] = get_args(Status)
MOST_NUMBERS = 10_000_000  # values of labels in a page: about 23 MB of it
_LONGEST_MESSAGE = 600
_REPORTED_EVERY = 1000
# Lower comes first. A score places a case among the scored ones; without one a warning comes before
# and all others come after them.
_UNSEGMENTED = {"failed": 0, "refused": 1}
_SCORED = 3
_UNSCORED = {"warning": 2, "repaired": 4, "ok": 5}


@dataclass(frozen=True, slots=True)
class CaseColumns:
    """All cases, column by column; entry n of each is case n.

    Parameters
    ----------
    labels, measures
        What values are kept of: those of the page, or the first ones where all would be too many.
    values
        By label and measure, NaN where missing.
    columns
        Group and covariates as given, None where missing.
    statuses
        Places in `STATUSES`.
    scores
        NaN where missing.
    reasons, reason_places
        The different reasons, and for each case the places of its own among them.
    pictures
        URL relative to the page, or None.
    """

    labels: tuple[str, ...]
    measures: tuple[Measure, ...]
    ids: list[str] = field(default_factory=list)
    statuses: array[int] = field(default_factory=lambda: array("b"))
    scores: array[float] = field(default_factory=lambda: array("d"))
    values: dict[tuple[str, str], array[float]] = field(default_factory=dict)
    columns: dict[str, list[Value]] = field(default_factory=dict)
    reasons: dict[Reason, int] = field(default_factory=dict)
    reason_places: list[tuple[int, ...]] = field(default_factory=list)
    pictures: list[str | None] = field(default_factory=list)

    def worst_first(self) -> NDArray[np.int64]:
        """Places of all cases from the worst to the best; equal ones in the order in which they came."""
        scores = np.array(self.scores)
        tiers = np.full(len(self.ids), _SCORED)
        for code, status in enumerate(STATUSES):
            here = np.array(self.statuses) == code
            if status in _UNSEGMENTED:
                tiers[here] = _UNSEGMENTED[status]
            else:
                tiers[here & np.isnan(scores)] = _UNSCORED[status]
        return np.lexsort((np.where(tiers == _SCORED, scores, 0.0), tiers))


def collect(page: StudyPage, folder: Path, progress: Progress | None) -> CaseColumns:
    """Read all cases of a page that will lie in ``folder``.

    Raises
    ------
    ValueError
        If a case id repeats, a label or measure is not among those of the page, or a picture lies
        outside the folder.
    """
    labels, measures = _kept(page)
    kept = CaseColumns(labels, measures)
    kept.values.update({(label, measure.name): array("f") for label in labels for measure in measures})
    labels_known = frozenset(page.labels)
    measures_known = frozenset(measure.name for measure in page.measures)
    place = os.path.abspath(folder)  # noqa: PTH100
    seen: set[str] = set()
    for n, case in enumerate(page.cases):
        if progress is not None and n % _REPORTED_EVERY == 0:
            progress("cases", n, max(n, page.counts.total))
        if case.case_id in seen:
            raise ValueError(f"case {case.case_id!r} appears twice, expected unique case ids")
        seen.add(case.case_id)
        _refuse_unknown(case, labels_known, measures_known)
        _add(kept, case, n, place)
    for name in page.groups:
        if name not in kept.columns:
            kept.columns[name] = [None] * len(kept.ids)
    return kept


def _kept(page: StudyPage) -> tuple[tuple[str, ...], tuple[Measure, ...]]:
    """Labels and measures whose values fit into the page."""
    columns = max(1, MOST_NUMBERS // max(1, page.counts.total))
    measures = max(1, columns // max(1, len(page.labels)))
    return tuple(page.labels[:columns]), tuple(page.measures[:measures])


def _refuse_unknown(case: StudyCase, labels: frozenset[str], measures: frozenset[str]) -> None:
    for what, found, known in (
        ("label", case.labels.keys(), labels),
        ("measure", {name for values in case.labels.values() for name in values}, measures),
    ):
        if not found <= known:
            raise ValueError(
                f"case {case.case_id!r} has the {what} {sorted(found - known)[:5]}, "
                f"the page only {sorted(known)[:10]}"
            )


def _add(kept: CaseColumns, case: StudyCase, n: int, folder: str) -> None:
    kept.ids.append(case.case_id)
    kept.statuses.append(STATUSES.index(case.verdict.status))
    kept.scores.append(_number(case.score))
    reasons = (Reason(reason.code, _shortened(reason.message)) for reason in case.verdict.reasons)
    kept.reason_places.append(tuple(kept.reasons.setdefault(reason, len(kept.reasons)) for reason in reasons))
    kept.pictures.append(_link(case, folder))
    for label in kept.labels:
        found: Mapping[str, float | None] = case.labels.get(label, {})
        for measure in kept.measures:
            kept.values[label, measure.name].append(_number(found.get(measure.name)))
    for name in case.columns:
        if name not in kept.columns:
            kept.columns[name] = [None] * n
    for name, values in kept.columns.items():
        values.append(case.columns.get(name))


def _number(value: float | None) -> float:
    return float("nan") if value is None else float(value)


def _shortened(text: str) -> str:
    return text if len(text) <= _LONGEST_MESSAGE else text[: _LONGEST_MESSAGE - 1] + "…"


def _link(case: StudyCase, folder: str) -> str | None:
    """The picture's place as a URL relative to the page: every character that means something is quoted."""
    if case.picture is None:
        return None
    # Not Path.resolve: symbolic links are kept, as the link in the page goes by the same names.
    path = os.path.abspath(case.picture)  # noqa: PTH100
    if not path.startswith(os.path.join(folder, "")):  # noqa: PTH118
        raise ValueError(
            f"case {case.case_id!r}: its picture is not below the folder of the page, which links to it; "
            "write pictures beside the page"
        )
    return quote(os.fsencode(os.path.relpath(path, folder).replace(os.sep, "/")))
