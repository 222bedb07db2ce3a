"""What a run writes down: two CSV files and a TensorBoard folder, cut back to the checkpoint on resume."""

from __future__ import annotations

import csv
import io
import warnings
from pathlib import Path
from types import TracebackType
from typing import Any

from medseg.io import files

STEPS, SCORES = "steps.csv", "validation.csv"


class RunLog:
    """Appends one row per step to ``steps.csv`` and one per validation to ``validation.csv``.

    Parameters
    ----------
    folder
        The run.
    labels
        Names of the labels, columns of ``validation.csv``.
    resume_at
        Rows of this step and later are dropped: the run is about to make them again.
    """

    def __init__(self, folder: Path, labels: tuple[str, ...], resume_at: int = 0) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # TensorBoard's own imports are noisy
            from torch.utils.tensorboard import SummaryWriter

        self._labels = labels
        _cut(folder / STEPS, ["step", "loss", "learning_rate", "seconds"], resume_at)
        _cut(folder / SCORES, ["step", "mean_dice", *(f"dice {name}" for name in labels)], resume_at)
        # Line by line, so that a run can be watched from outside.
        self._steps = (folder / STEPS).open("a", 1, newline="", encoding="utf-8")
        self._scores = (folder / SCORES).open("a", 1, newline="", encoding="utf-8")
        self._board = SummaryWriter(str(folder / "tensorboard"), purge_step=resume_at or None)

    def step(self, step: int, loss: float, learning_rate: float, seconds: float) -> None:
        """One training step. The loss is written in full precision."""
        csv.writer(self._steps, lineterminator="\n").writerow(
            [step, repr(loss), f"{learning_rate:.6g}", f"{seconds:.3f}"]
        )
        self._board.add_scalar("loss", loss, step)
        self._board.add_scalar("learning rate", learning_rate, step)

    def scores(self, step: int, mean: float | None, per_label: list[float | None]) -> None:
        """One validation; an absent score is an empty cell."""
        row = ["" if value is None else f"{value:.5f}" for value in (mean, *per_label)]
        csv.writer(self._scores, lineterminator="\n").writerow([step, *row])
        for name, value in zip(("mean", *self._labels), (mean, *per_label), strict=True):
            if value is not None:
                self._board.add_scalar(f"Dice/{name}", value, step)

    def flush(self) -> None:
        """Everything written so far is on disk, before a checkpoint refers to it."""
        self._board.flush()

    def __enter__(self) -> RunLog:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._steps.close()
        self._scores.close()
        self._board.close()


def read_rows(path: Path) -> list[dict[str, Any]]:
    """Rows of one of the two CSV files; numbers as floats, empty cells as None."""
    if not path.is_file():
        return []
    with path.open(newline="", encoding="utf-8") as stream:
        return [{k: None if v == "" else float(v) for k, v in row.items()} for row in csv.DictReader(stream)]


def _cut(path: Path, header: list[str], resume_at: int) -> None:
    kept: list[list[str]] = []
    if resume_at and path.is_file():
        with path.open(newline="", encoding="utf-8") as stream:
            rows = list(csv.reader(stream))[1:]
        # A killed process may have left half a line: whole rows of earlier steps are what counts.
        kept = [
            row for row in rows if len(row) == len(header) and row[0].isdigit() and int(row[0]) < resume_at
        ]
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows([header, *kept])  # a label's name may hold a comma
    files.write_text(path, text.getvalue())
