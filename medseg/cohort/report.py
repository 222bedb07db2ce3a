"""A study as a page: what the ledger knows, and its statistics, handed to `medseg.report.study`."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from datetime import datetime
from math import fsum, isnan, nan
from pathlib import Path
from typing import Any

import pandas as pd

from medseg.cohort.analysis import Analysis, Volumes, against_reference, between, by_group, summary
from medseg.cohort.folder import StudyFolder
from medseg.cohort.ledger import Ledger
from medseg.cohort.records import State
from medseg.evaluation.statistics import LeftOut, StudyFacts, methods_paragraph, software_versions
from medseg.pipeline.options import Progress
from medseg.pipeline.report import read_sidecar
from medseg.report.study import Counts, Measure, StudyCase, StudyPage, write_study_page

# What the page shows of each label: all of the table would make it too large, and unreadable.
_MEASURES = {
    "volume_ml": Measure(
        "volume_ml", "Volume", "mL", "Voxels times the volume of one; 0 where nothing was found."
    ),
    "quality": Measure("quality", "Estimated Dice", "", "The Dice that the model expects of itself."),
    "dice": Measure("dice", "Dice", "", "Overlap with the reference, 0 to 1."),
    "surface_dice": Measure(
        "surface_dice", "Surface Dice", "", "Share of both surfaces within the tolerance."
    ),
    "hd95_mm": Measure("hd95_mm", "HD95", "mm", "Distance that 95 % of the surfaces do not exceed."),
}


def write_report(
    path: Path,
    *,
    group: str | None = None,
    covariates: Sequence[str] = (),
    compare: Path | None = None,
    progress: Progress | None = None,
    tell: Callable[[str], None] | None = None,
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
    tell
        Called with each warning of the page.

    Raises
    ------
    UsageError
        If a column is not there, or the statistics asked for cannot be computed for any label.
    """
    folder = StudyFolder(path)
    with Ledger(folder.ledger) as ledger:
        volumes = read_volumes(ledger)
        scores = read_scores(folder.evaluation)
        analysis = summary(volumes)
        if not scores.empty:
            analysis += against_reference(scores, volumes)
        if group is not None:
            analysis += by_group(volumes, group, covariates)
        if compare is not None:
            with Ledger(StudyFolder(compare).ledger) as other:
                analysis += between(volumes, read_volumes(other))
        counts = ledger.counts()
        warnings = [reason["message"] for reason in ledger.get("warnings") or ()]
        warnings += [*_stale(folder, scores), *_unfinished(counts), *analysis.problems]
        if tell is not None:
            for warning in warnings:
                tell(warning)
        shown = [name for name in _MEASURES if name == "volume_ml" or name in volumes.told or name in scores]
        page = StudyPage(
            title=f"Study {path.resolve().name}",
            created=datetime.now().astimezone(),
            counts=Counts(
                total=sum(counts.values()),
                done=counts["done"],
                failed=counts["failed"],
                pending=counts["pending"] + counts["running"],
            ),
            cases=_cases(ledger, folder, shown, scores),
            labels=volumes.labels,
            measures=[_MEASURES[name] for name in shown],
            facts=_facts(ledger, _execution(ledger, folder)),
            methods=_methods(ledger, folder, volumes, analysis),
            warnings=warnings,
            groups=_groups(ledger, group),
            score_name="Estimated Dice" if scores.empty else "Dice against the reference",
            comparisons=analysis.tables,
            agreements=analysis.agreements,
        )
        return write_study_page(page, folder.report, progress=progress)


def read_volumes(ledger: Ledger) -> Volumes:
    """Volumes, groups and covariates of all cases, and why some have no volumes."""
    ids: list[str] = []
    columns: list[dict[str, Any]] = []
    reasons: dict[Hashable, str] = {}
    volumes: dict[str, array[float]] = {}
    told: set[str] = set()
    for case_id, verdict, state, given, rows in ledger.rows():
        told.update(name for name in ("quality",) if any(value is not None for value in rows.get(name, ())))
        for label, volume in zip(rows.get("label", ()), rows.get("volume_ml", ()), strict=True):
            column = volumes.setdefault(label, array("d"))
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
        frozenset(told),
    )


def read_scores(path: Path) -> pd.DataFrame:
    """What `medseg evaluate` wrote: scores by case and label; empty where it has not been run."""
    if not path.is_file():
        return pd.DataFrame()
    wanted = {"case", "label", "dice", "surface_dice", "hd95_mm", "volume_ml", "reference_volume_ml"}
    table = pd.read_csv(path, usecols=lambda name: name in wanted, dtype={"case": str, "label": str})
    return table.dropna(subset="label").set_index(["case", "label"]).dropna(axis="columns", how="all")


def _cases(
    ledger: Ledger, folder: StudyFolder, shown: Sequence[str], scores: pd.DataFrame
) -> Iterator[StudyCase]:
    compared = {
        name: dict(zip(scores.index, scores[name].tolist(), strict=True)) for name in shown if name in scores
    }
    for case_id, verdict, state, columns, rows in ledger.rows():
        names = rows.get("label", [])
        measured = {name: rows.get(name, [None] * len(names)) for name in shown}
        labels = {
            label: {name: values[n] for name, values in measured.items()} for n, label in enumerate(names)
        }
        for name, values in compared.items():
            for label, of_label in labels.items():
                value = values.get((case_id, label), nan)
                of_label[name] = None if isnan(value) else value
        yield StudyCase(
            case_id,
            verdict,
            columns,
            labels,
            score=_mean(labels, "quality" if scores.empty else "dice"),
            picture=folder.picture(case_id) if state == "done" else None,
        )


def _mean(labels: Mapping[str, Mapping[str, float | None]], name: str) -> float | None:
    """The mean over the labels that have this measure."""
    told = [value for measured in labels.values() if (value := measured.get(name)) is not None]
    return fsum(told) / len(told) if told else None


def _unfinished(counts: Mapping[State, int]) -> list[str]:
    left = counts["pending"] + counts["running"]
    if not left:
        return []
    return [
        f"{left} of {sum(counts.values())} cases are not done yet with the model and options of the last "
        "run: the statistics leave them out."
    ]


def _stale(folder: StudyFolder, scores: pd.DataFrame) -> list[str]:
    """A warning where cases were run after they had been compared with their references."""
    if scores.empty or folder.evaluation.stat().st_mtime >= folder.ledger.stat().st_mtime:
        return []
    return ["The study was run again after `medseg evaluate`: scores may belong to earlier segmentations."]


def _facts(ledger: Ledger, execution: Mapping[str, Any]) -> dict[str, str]:
    options: Mapping[str, Any] = ledger.get("options") or {}
    return {
        "Model": str(ledger.get("model")),
        "Model SHA-256": str(ledger.get("model_sha256")),
        "Settings": ", ".join(f"{name} {value}" for name, value in _told(options, execution).items()),
        "medseg": str(ledger.get("medseg")),
        "Last run": str(ledger.get("last_run")),
    }


def _execution(ledger: Ledger, folder: StudyFolder) -> dict[str, Any]:
    """How the first done case was computed, as its sidecar tells; empty where there is none."""
    done = next(ledger.entries("done"), None)
    sidecar = None if done is None else read_sidecar(folder.outputs(done.case_id).sidecar)
    found: dict[str, Any] = {} if sidecar is None else sidecar["provenance"].get("execution", {})
    return found


def _told(options: Mapping[str, Any], execution: Mapping[str, Any]) -> dict[str, str]:
    """Options worth a word: those that decide the labels and differ from doing nothing."""
    backend = execution.get("backend", options.get("backend"))
    told = {
        "backend": f"{backend} {execution.get('backend_version', '')}".strip(),
        "precision": execution.get("precision", options.get("precision")),
        "device": execution.get("device", options.get("device")),
    }
    told |= {
        name: value
        for name, value in options.items()
        if name not in told and value not in (None, False, [], "auto") and name != "skip_empty"
    }
    return {name: ", ".join(value) if isinstance(value, list) else str(value) for name, value in told.items()}


def _methods(ledger: Ledger, folder: StudyFolder, volumes: Volumes, analysis: Analysis) -> str:
    failed = Counter(volumes.reasons.values())
    cases = len(volumes.frame)
    warned = Counter(code for verdict in ledger.noteworthy() for code in verdict.codes)
    about_warned = tuple(
        f"{n} of the analysed case{'s' if n > 1 else ''} had the warning {code}."
        for code, n in sorted(warned.items())
    )
    return methods_paragraph(
        StudyFacts(
            cases=cases,
            analysed=cases - failed.total(),
            model=str(ledger.get("model")),
            model_sha256=str(ledger.get("model_sha256")),
            versions=software_versions(),
            failed=tuple(LeftOut(reason, n) for reason, n in sorted(failed.items())),
            parameters=tuple(_told(ledger.get("options") or {}, _execution(ledger, folder)).items()),
            definitions=("Volumes are counts of voxels times the volume of a voxel.", *about_warned),
            analyses=analysis.methods,
        )
    )


def _groups(ledger: Ledger, first: str | None) -> list[str]:
    """Columns to group and filter by: those of text, the one that was asked for first."""
    kinds: dict[str, str] = ledger.get("columns") or {}
    names = [name for name, kind in kinds.items() if kind == "text" or name == first]
    return sorted(names, key=lambda name: name != first)
