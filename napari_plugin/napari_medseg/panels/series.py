"""Several series at one path: what a person is shown of each, and which may be opened. No Qt."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import medseg
from medseg import InputRefused, Verdict, Volume
from medseg.io.inspection import Inspection, SeriesInspection

Chooser = Callable[[str, Sequence["SeriesRow"]], str | None]

HEADINGS = ("series", "voxels", "spacing in mm", "verdict")
_SEVERAL = ("several-series", "four-dimensional")


@dataclass(frozen=True, slots=True)
class SeriesRow:
    """One series as the chooser lists it.

    Parameters
    ----------
    id
        As ``series=`` of `medseg.read` takes it.
    cells
        Texts under `HEADINGS`; a dash where something is not known.
    verdict
        What `medseg.read` would say of the series.
    """

    id: str
    cells: tuple[str, str, str, str]
    verdict: Verdict

    @property
    def may_open(self) -> bool:
        """Whether `medseg.read` would take it."""
        return self.verdict.status != "refused"

    @property
    def why(self) -> str:
        """The reasons of the verdict, a line each; "" for one that is ok."""
        return "\n".join(reason.message for reason in self.verdict.reasons)


def read_or_ask(path: Path, choose: Chooser | None) -> Volume | None:
    """Read a scan; where there are several series, the one that ``choose`` names.

    Parameters
    ----------
    path
        As `medseg.read` takes it.
    choose
        Called with the path's name and the series; gives a series' id, or None for none of them. Without it
        several series are refused.

    Returns
    -------
    Volume or None
        None where no series was chosen.

    Raises
    ------
    InputRefused
        As `medseg.read`.
    """
    try:
        return medseg.read(path)
    except InputRefused as refusal:
        if choose is None or refusal.code not in _SEVERAL:
            raise
        rows = series_rows(medseg.inspect(path))
        if len(rows) < 2:  # a file with a fourth dimension: the refusal says more than a list would
            raise
    chosen = choose(path.name, rows)
    return None if chosen is None else medseg.read(path, series=chosen)


def series_rows(inspection: Inspection) -> tuple[SeriesRow, ...]:
    """The series of an inspection, in its order."""
    return tuple(_row(number, series) for number, series in enumerate(inspection.series, start=1))


def first_choice(rows: Sequence[SeriesRow]) -> int | None:
    """Which row is selected at first: the first that may be opened; None where none may."""
    return next((n for n, row in enumerate(rows) if row.may_open), None)


def _row(number: int, series: SeriesInspection) -> SeriesRow:
    grid = series.geometry
    what = series.summary or series.modality or "-"
    voxels = "-" if grid is None else " x ".join(map(str, grid.shape))
    known = grid is not None and grid.spacing_known
    spacing = " x ".join(f"{mm:.3g}" for mm in grid.spacing) if grid is not None and known else "-"
    return SeriesRow(series.id, (f"{number}: {what}", voxels, spacing, series.verdict.status), series.verdict)
