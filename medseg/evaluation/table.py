"""The scores as a CSV file, written row by row."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from medseg.evaluation.cases import CaseScores
from medseg.evaluation.settings import Settings
from medseg.io.files import atomic_output


@contextmanager
def score_table(path: str | Path, settings: Settings) -> Iterator[Callable[[CaseScores], None]]:
    """A function that appends a case to the table at ``path``.

    One row per case and label; a case without labels has one row without a label. Missing numbers are empty,
    and ``missing`` holds ``number:code`` for each. The file takes its name when the block ends well; else
    nothing of it is left.
    """
    numbers = (*settings.fields, "volume_ml", "reference_volume_ml")
    with atomic_output(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(("case", "label_id", "label", *numbers, "missing", "verdict"))

        def add(case: CaseScores) -> None:
            verdict = " ".join((case.verdict.status, *case.verdict.codes))
            for label in case.labels:
                values = [_text(getattr(label, name)) for name in numbers]
                missing = " ".join(f"{name}:{code}" for name, (code, _) in label.missing.items())
                rows.writerow((case.case, label.id, label.name, *values, missing, verdict))
            if not case.labels:
                rows.writerow((case.case, *[""] * (len(numbers) + 3), verdict))

        yield add


def _text(value: float | int | None) -> str:
    return "" if value is None else repr(value)
