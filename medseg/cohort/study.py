"""A study as it lies in its folder: cases, paths, verdicts, the table. Looking at it never changes it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medseg.cohort.folder import StudyFolder
from medseg.cohort.ledger import Ledger
from medseg.cohort.lock import is_locked
from medseg.cohort.records import Entry, State
from medseg.pipeline.options import Progress
from medseg.verdict import Verdict

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

    from medseg.evaluation import Evaluation


@dataclass(frozen=True, slots=True)
class StudyCase:
    """One case of a study.

    Parameters
    ----------
    case_id
        As in the manifest.
    state
        ``"pending"``, ``"running"``, ``"done"`` or ``"failed"``.
    verdict
        Of scan and result, or why there is none.
    images
        The name of each channel and its path; ``""`` for a lone image.
    segmentation
        The label map, None where there is none.
    """

    case_id: str
    state: State
    verdict: Verdict
    images: tuple[tuple[str, Path], ...]
    segmentation: Path | None


@dataclass(frozen=True, slots=True)
class Study:
    """What `run_cohort` and `open_study` return. Everything is read from the folder when it is asked for."""

    path: Path

    @property
    def cases(self) -> tuple[StudyCase, ...]:
        """In the order of the manifest."""
        with self._ledger() as ledger:
            return tuple(self._case(entry) for entry in ledger.entries())

    @property
    def counts(self) -> dict[str, int]:
        """``total``, ``done``, ``failed``, ``pending``, ``running``."""
        return {key: value for key, value in self.status().items() if key in _COUNTED}

    @property
    def is_running(self) -> bool:
        """Whether a run has it now; of one on another computer that was killed this cannot be told."""
        return is_locked(self._folder.lock)

    @property
    def failures(self) -> tuple[StudyCase, ...]:
        """The cases without a result, with the reasons."""
        with self._ledger() as ledger:
            return tuple(self._case(entry) for entry in ledger.entries("failed"))

    @property
    def facts(self) -> dict[str, Any]:
        """Model, options and versions of the last run."""
        with self._ledger() as ledger:
            return {key: ledger.get(key) for key in _FACTS}

    @property
    def exit_code(self) -> int:
        """0 all done; 3 every case refused; 4 some refused, failed or not done yet."""
        counts = self.counts
        if counts["done"] == counts["total"]:
            return 0
        refused = sum(case.verdict.status == "refused" for case in self.failures)
        return 3 if refused == counts["total"] else 4

    def status(self) -> dict[str, Any]:
        """The ``cohort status --json`` document, without its version.

        ``pending`` counts cases that were done with another model or other options than the last run's.
        ``warnings`` counts done cases by what is noteworthy about them; they are part of every statistic.
        """
        running = self.is_running
        with self._ledger() as ledger:
            counts = ledger.counts()
            failed = list(ledger.entries("failed"))
            warned = Counter(code for verdict in ledger.noteworthy() for code in verdict.codes)
        if not running:  # left by a run that was killed
            counts["pending"] += counts["running"]
            counts["running"] = 0
        return {
            "total": sum(counts.values()),
            "done": counts["done"],
            "failed": counts["failed"],
            "pending": counts["pending"],
            "running": counts["running"],
            "warnings": [{"code": code, "cases": n} for code, n in warned.most_common()],
            "failures": [
                {"case_id": entry.case_id, "reason": entry.verdict.reasons[0].to_json()} for entry in failed
            ],
        }

    def evaluate(
        self,
        *,
        metrics: Iterable[str] | None = None,
        definitions: Mapping[str, str] | None = None,
        surface_tolerance_mm: float = 1.0,
        lesion_connectivity: int = 26,
        lesion_overlap: float = 0.0,
        lesion_smallest_mm3: float = 0.0,
        workers: int = 1,
        out: str | Path | None = None,
        keep_cases: bool = True,
        progress: Progress | None = None,
    ) -> Evaluation:
        """Compare the segmentations with the manifest's references; parameters as in `medseg.evaluate`.

        The table goes to ``evaluation.csv`` in the study unless ``out`` is given; the report shows what is
        there.
        """
        from medseg.cohort.scores import evaluate_study
        from medseg.evaluation import Settings

        settings = Settings.parse(
            metrics,
            definitions,
            surface_tolerance_mm=surface_tolerance_mm,
            lesion_connectivity=lesion_connectivity,
            lesion_overlap=lesion_overlap,
            lesion_smallest_mm3=lesion_smallest_mm3,
        )
        return evaluate_study(
            self.path,
            settings,
            workers=workers,
            out=None if out is None else Path(out),
            keep_cases=keep_cases,
            progress=progress,
        )

    def report(
        self,
        *,
        group: str | None = None,
        covariates: Sequence[str] = (),
        compare: str | Path | Study | None = None,
        progress: Progress | None = None,
        tell: Callable[[str], None] | None = None,
    ) -> Path:
        """Write the report, ``report.html``, and return its path.

        Parameters
        ----------
        group
            A column of the manifest whose groups are compared.
        covariates
            Columns of the manifest that are held equal in that comparison.
        compare
            Another study of the same cases, by another model or rater.
        progress
            Called as ``progress("report", done, total)``.
        tell
            Called with what the page warns of: statistics that could not be computed, outdated scores.
        """
        from medseg.cohort.report import write_report  # statistics and templates, only where they are wanted

        other = compare.path if isinstance(compare, Study) else None if compare is None else Path(compare)
        return write_report(
            self.path, group=group, covariates=covariates, compare=other, progress=progress, tell=tell
        )

    def arrow(self) -> pa.Table:
        """The tidy table, a row per case and label, as `write_tables` writes it, from the ledger as it is."""
        import pyarrow as pa

        from medseg.cohort.table import batches, table_schema

        with self._ledger() as ledger:
            schema = table_schema(ledger)
            return pa.Table.from_batches(batches(ledger, schema), schema)

    def table(self) -> pd.DataFrame:
        """The same as a pandas data frame."""
        frame: pd.DataFrame = self.arrow().to_pandas()
        return frame

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        """So that ``pandas.DataFrame.from_arrow(study)``, polars and DuckDB take it as it is."""
        return self.arrow().__arrow_c_stream__(requested_schema)

    @property
    def _folder(self) -> StudyFolder:
        return StudyFolder(self.path)

    def _ledger(self) -> Ledger:
        return Ledger(self._folder.ledger)

    def _case(self, entry: Entry) -> StudyCase:
        done = entry.state == "done"
        segmentation = self._folder.outputs(entry.case_id).segmentations[0] if done else None
        state: State = "pending" if entry.state == "outdated" else entry.state
        return StudyCase(entry.case_id, state, entry.verdict, entry.images, segmentation)


_COUNTED = ("total", "done", "failed", "pending", "running")
_FACTS = ("medseg", "model", "model_sha256", "labels", "options", "warnings", "last_run", "columns")


def open_study(path: str | Path) -> Study:
    """A study that was run before, or is being run.

    Raises
    ------
    NotFound
        If there is none.
    InputRefused
        If its ledger is damaged, or of another version.
    """
    study = Study(Path(path))
    with study._ledger():
        return study
