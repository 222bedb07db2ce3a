"""Inspection: what `medseg.inspect` finds at a path, before anything is computed on it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from medseg.errors import InputRefused
from medseg.geometry import Geometry
from medseg.io.raster import Raster, to_volume
from medseg.io.readers import load, locate
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
    try:
        kind = locate(path)
    except InputRefused as refusal:
        return Inspection(path, Verdict.refusal(refusal), ())
    if kind == "dicom":
        return _inspect_dicom(path, allow)
    found = _judge("1", lambda: load(kind, path), allow)
    return Inspection(path, found.verdict, (found,))


def _inspect_dicom(path: Path, allow: frozenset[str]) -> Inspection:
    from medseg.io import dicom

    try:
        series = dicom.find_series(path)
    except InputRefused as refusal:
        return Inspection(path, Verdict.refusal(refusal), ())
    listed = tuple(
        _judge(item.id or str(n), partial(dicom.load, path, item), allow, item.modality)
        for n, item in enumerate(series, 1)
    )
    try:
        dicom.choose(path, series, None)
    except InputRefused as refusal:
        return Inspection(path, Verdict.refusal(refusal), listed)
    return Inspection(path, listed[0].verdict, listed)


def _judge(
    name: str, reader: Callable[[], Raster], allow: frozenset[str], modality: str | None = None
) -> SeriesInspection:
    try:
        volume = to_volume(reader(), allow)
    except InputRefused as refusal:
        return SeriesInspection(name, Verdict.refusal(refusal), None, modality)
    return SeriesInspection(name, volume.verdict, volume.geometry, volume.source.modality)
