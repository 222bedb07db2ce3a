"""Several series at one path, or volumes in one file: what is shown of each, and which may open. No Qt."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from medseg import Verdict
from medseg.io.inspection import Inspection, SeriesInspection
from medseg.io.raster import ALLOWABLE

HEADINGS = ("series", "voxels", "spacing in mm", "verdict")
_ASKS = "Open shows what that would mean, and asks."
# Reasons that are allowed under another word than their own.
_WORDS = {"missing-files": "missing-slices"}


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
    def is_refused(self) -> bool:
        """Whether `medseg.read` would refuse it."""
        return self.verdict.status == "refused"

    @property
    def may_open(self) -> bool:
        """Whether `medseg.read` would take it, unasked or with something allowed."""
        return not self.is_refused or words_to_allow(self.verdict.codes) is not None

    @property
    def why(self) -> str:
        """The reasons of the verdict, a line each; "" for one that is ok."""
        lines = [reason.message for reason in self.verdict.reasons]
        if self.is_refused and self.may_open:
            lines.append(_ASKS)
        return "\n".join(lines)


def words_to_allow(codes: Iterable[str]) -> frozenset[str] | None:
    """The words of ``allow=`` that open what is refused for these reasons; None where there are none.

    Faults beyond repair may bear the same codes: only reading tells.
    """
    words = frozenset(_WORDS.get(code, code) for code in codes)
    return words if words <= frozenset(ALLOWABLE) else None


def series_rows(inspection: Inspection) -> tuple[SeriesRow, ...]:
    """The series of an inspection, in its order."""
    return tuple(_row(number, series) for number, series in enumerate(inspection.series, start=1))


def first_choice(rows: Sequence[SeriesRow]) -> int | None:
    """Which row is selected at first: one that opens unasked, else one that may be opened; None for none."""
    may = [n for n, row in enumerate(rows) if row.may_open]
    return next((n for n in may if not rows[n].is_refused), may[0] if may else None)


def _row(number: int, series: SeriesInspection) -> SeriesRow:
    grid = series.geometry
    what = series.summary or series.modality or "-"
    voxels = "-" if grid is None else " x ".join(map(str, grid.shape))
    known = grid is not None and grid.spacing_known
    spacing = " x ".join(f"{mm:.3g}" for mm in grid.spacing) if grid is not None and known else "-"
    return SeriesRow(series.id, (f"{number}: {what}", voxels, spacing, series.verdict.status), series.verdict)
