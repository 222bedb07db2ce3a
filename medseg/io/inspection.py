"""Inspection: what `medseg.inspect` finds at a path, before anything is computed on it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medseg.errors import InputRefused
from medseg.geometry import Geometry
from medseg.verdict import Verdict

FORMAT_VERSION = 1


@dataclass(frozen=True, slots=True)
class SeriesInspection:
    """One series or image: what it is, and whether `read` would take it.

    ``geometry`` is None where a refusal came before the grid was known.
    """

    id: str
    verdict: Verdict
    geometry: Geometry | None = None
    modality: str | None = None

    def to_json(self) -> dict[str, Any]:
        """One entry of ``series`` in the ``inspect --json`` document."""
        grid = self.geometry
        known = grid is not None and grid.spacing_known
        return {
            "id": self.id,
            "verdict": self.verdict.status,
            "reasons": [reason.to_json() for reason in self.verdict.reasons],
            "shape": None if grid is None else list(grid.shape),
            "spacing_mm": list(grid.spacing) if grid is not None and known else None,
            "affine": None if grid is None else grid.affine.tolist(),
            "modality": self.modality,
        }


@dataclass(frozen=True, slots=True)
class Inspection:
    """The preflight of a path: the verdict that `read` would give, and every series found there."""

    path: Path
    verdict: Verdict
    series: tuple[SeriesInspection, ...]

    def to_json(self) -> dict[str, Any]:
        """The ``inspect --json`` document."""
        return {
            "format_version": FORMAT_VERSION,
            "path": str(self.path),
            "verdict": self.verdict.status,
            "reasons": [reason.to_json() for reason in self.verdict.reasons],
            "series": [series.to_json() for series in self.series],
        }


def inspect_path(path: Path, allow: frozenset[str]) -> Inspection:
    """Read everything at ``path`` and report; a refusal is a finding here, not an error."""
    from medseg.io import read

    try:
        volume = read(path, allow=tuple(allow))
    except InputRefused as refusal:
        verdict = Verdict.refusal(refusal)
        return Inspection(path, verdict, (SeriesInspection("1", verdict),))
    found = SeriesInspection("1", volume.verdict, volume.geometry, volume.source.modality)
    return Inspection(path, volume.verdict, (found,))
