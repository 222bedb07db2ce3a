"""A study as a page: what the ledger knows, and its statistics, handed to `medseg.report.study`."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from math import fsum, nan
from pathlib import Path
from typing import Any

import pandas as pd

from medseg.cohort.analysis import Analysis, Volumes, between, by_group, summary
from medseg.cohort.columns import ROW_COLUMNS
from medseg.cohort.folder import StudyFolder
from medseg.cohort.ledger import Ledger
from medseg.cohort.records import Row
from medseg.evaluation.statistics import LeftOut, StudyFacts, methods_paragraph, software_versions
from medseg.pipeline.options import Progress
from medseg.report.study import Counts, Measure, StudyCase, StudyPage, write_study_page

# What the page shows of each label: all of the table would make it too large, and unreadable.
_SHOWN = ("volume_ml", "quality")


def write_report(
    path: Path,
    *,
    group: str | None = None,
    covariates: Sequence[str] = (),
    compare: Path | None = None,
    progress: Progress | None = None,
) -> Path:
    """Write ``report.html`` of the study in a folder.

    Parameters
    ----------
    path
        The study's folder.
    group
        A column of the manifest whose groups are compared.
    covariates
        Columns that are held equal in that comparison.
    compare
        The folder of another study of the same cases, by another model or rater.
    progress
        Called as ``progress("report", done, total)``.

    Raises
    ------
    UsageError
        If a column is not there, or the statistics asked for cannot be computed for any label.
    """
    folder = StudyFolder(path)
    with Ledger(folder.ledger) as ledger:
        volumes = read_volumes(ledger)
        analysis = summary(volumes)
        if group is not None:
            analysis += by_group(volumes, group, covariates)
        if compare is not None:
            with Ledger(StudyFolder(compare).ledger) as other:
                analysis += between(volumes, read_volumes(other))
        counts = ledger.counts()
        page = StudyPage(
            title=f"Study {path.resolve().name}",
            created=datetime.now().astimezone(),
            counts=Counts(
                total=sum(counts.values()),
                done=counts["done"],
                failed=counts["failed"],
                pending=counts["pending"] + counts["running"],
            ),
            cases=_cases(ledger, folder),
            labels=tuple(map(str, volumes.frame)),
            measures=_measures(),
            facts=_facts(ledger),
            methods=_methods(ledger, volumes, analysis),
            warnings=[reason["message"] for reason in ledger.get("warnings") or ()],
            groups=_groups(ledger, group),
            score_name="Estimated Dice",
            comparisons=analysis.tables,
            agreements=analysis.agreements,
        )
        return write_study_page(page, folder.report, progress=progress)


def read_volumes(ledger: Ledger) -> Volumes:
    """Volumes, groups and covariates of all cases, and why some have no volumes."""
    ids: list[str] = []
    columns: list[dict[str, Any]] = []
    reasons: dict[str, str] = {}
    volumes: dict[str, array[float]] = {}
    for case_id, verdict, state, given, rows in ledger.rows():
        for row in rows:
            volume = row["volume_ml"]
            column = volumes.setdefault(row["label"], array("d"))
            column.extend([nan] * (len(ids) - len(column)))
            column.append(nan if volume is None else volume)
        if state != "done":
            reasons[case_id] = verdict.codes[0] if verdict.codes else "not run yet"
        ids.append(case_id)
        columns.append(given)
    for column in volumes.values():
        column.extend([nan] * (len(ids) - len(column)))
    index = pd.Index(ids, name="case_id")
    return Volumes(
        str(ledger.get("model")),
        pd.DataFrame({label: pd.Series(column, index) for label, column in volumes.items()}, index),
        pd.DataFrame(columns, index, columns=list(ledger.get("columns") or {})),
        reasons,
    )


def _cases(ledger: Ledger, folder: StudyFolder) -> Iterator[StudyCase]:
    for case_id, verdict, state, columns, rows in ledger.rows():
        yield StudyCase(
            case_id,
            verdict,
            columns,
            {row["label"]: {name: row.get(name) for name in _SHOWN} for row in rows},
            score=_score(rows),
            picture=folder.picture(case_id) if state == "done" else None,
        )


def _score(rows: Sequence[Row]) -> float | None:
    """The mean of the labels' estimated Dice, where the model estimates it."""
    told = [row["quality"] for row in rows if row.get("quality") is not None]
    return fsum(told) / len(told) if told else None


def _measures() -> list[Measure]:
    by_name = {column.name: column for column in ROW_COLUMNS}
    titles = {"volume_ml": "Volume", "quality": "Estimated Dice"}
    return [Measure(name, titles[name], by_name[name].unit, by_name[name].description) for name in _SHOWN]


def _facts(ledger: Ledger) -> dict[str, str]:
    options: Mapping[str, Any] = ledger.get("options") or {}
    return {
        "Model": str(ledger.get("model")),
        "Model SHA-256": str(ledger.get("model_sha256")),
        "Settings": ", ".join(f"{name} {value}" for name, value in _told(options).items()),
        "medseg": str(ledger.get("medseg")),
        "Last run": str(ledger.get("last_run")),
    }


def _told(options: Mapping[str, Any]) -> dict[str, str]:
    """Options worth a word: those that decide the labels and differ from doing nothing."""
    told = {"backend": options.get("backend"), "precision": options.get("precision")}
    told |= {
        name: value
        for name, value in options.items()
        if name not in told and value not in (None, False, [], "auto") and name != "skip_empty"
    }
    return {name: ", ".join(value) if isinstance(value, list) else str(value) for name, value in told.items()}


def _methods(ledger: Ledger, volumes: Volumes, analysis: Analysis) -> str:
    failed = Counter(volumes.reasons.values())
    cases = len(volumes.frame)
    return methods_paragraph(
        StudyFacts(
            cases=cases,
            analysed=cases - failed.total(),
            model=str(ledger.get("model")),
            model_sha256=str(ledger.get("model_sha256")),
            versions=software_versions(),
            failed=tuple(LeftOut(reason, n) for reason, n in sorted(failed.items())),
            parameters=tuple(_told(ledger.get("options") or {}).items()),
            definitions=("Volumes are counts of voxels times the volume of a voxel.",),
            analyses=analysis.methods,
        )
    )


def _groups(ledger: Ledger, first: str | None) -> list[str]:
    """Columns to group and filter by: those of text, the one that was asked for first."""
    kinds: dict[str, str] = ledger.get("columns") or {}
    names = [name for name, kind in kinds.items() if kind == "text" or name == first]
    return sorted(names, key=lambda name: name != first)
