"""Inspection: what `medseg.inspect` finds at a path, before anything is computed on it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from medseg.errors import InputRefused, SeveralVolumes
from medseg.geometry import Geometry
from medseg.io.raster import Raster, to_volume
from medseg.io.readers import Format, load, locate
from medseg.io.refusals import readable
from medseg.verdict import Verdict
from medseg.volume import Volume

if TYPE_CHECKING:
    from medseg.io.dicom.aside import Aside
    from medseg.io.dicom.series import Series

FORMAT_VERSION = 1
# Scans up to so many bytes of voxels, all series together, are decoded unless the caller says otherwise.
_DECODED_BYTES = 128 * 2**20
_MOST_VOLUMES_READ = 64


@dataclass(frozen=True, slots=True)
class SeriesInspection:
    """One series, image, or volume of a file with several: what it is, and whether `read` would take it.

    Parameters
    ----------
    id
        As ``series=`` of `read` takes it.
    verdict
        What `read` would say.
    geometry
        None where a refusal came before the grid was known.
    modality
        ``"CT"``, ``"MR"``, ... where the file says so.
    summary
        What tells it from the other series, in codes and numbers; "" for formats other than DICOM.
    pixels_decoded
        False where the verdict rests on headers and sizes alone: read might still refuse damaged pixels.
    """

    id: str
    verdict: Verdict
    geometry: Geometry | None = None
    modality: str | None = None
    summary: str = ""
    pixels_decoded: bool = True

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
            "summary": self.summary,
            "pixels_decoded": self.pixels_decoded,
        }


@dataclass(frozen=True, slots=True)
class Inspection:
    """The preflight of a path: the verdict that `read` would give, and every series found there.

    ``set_aside`` counts by name what lies there and is no scan.
    """

    path: Path
    verdict: Verdict
    series: tuple[SeriesInspection, ...]
    set_aside: tuple[Aside, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The ``inspect --json`` document."""
        return {
            "format_version": FORMAT_VERSION,
            "path": str(self.path),
            "verdict": self.verdict.status,
            "reasons": [reason.to_json() for reason in self.verdict.reasons],
            "series": [series.to_json() for series in self.series],
            "set_aside": [aside.to_json() for aside in self.set_aside],
        }


def inspect_path(path: Path, allow: frozenset[str], pixels: bool | None = None) -> Inspection:
    """Look at everything at ``path`` and report; a refusal is a finding here, not an error."""
    try:
        kind = locate(path)
    except InputRefused as refusal:
        return Inspection(path, Verdict.refusal(refusal), ())
    if kind == "dicom":
        return _inspect_dicom(path, allow, pixels)
    try:
        found = _judge(path, "1", partial(load, kind, path), allow)
    except SeveralVolumes as refusal:
        volumes = _volumes(kind, path, refusal.count, allow, pixels)
        return Inspection(path, Verdict.refusal(refusal), volumes)
    return Inspection(path, found.verdict, (found,))


def _volumes(
    kind: Format, path: Path, count: int, allow: frozenset[str], pixels: bool | None
) -> tuple[SeriesInspection, ...]:
    """The volumes of a file with a time axis, all on the grid of the first."""
    reader = partial(load, kind, path)
    try:
        with readable(path):
            first = reader(1)
    except InputRefused as refusal:  # what keeps one from being read, a file cut short, keeps all
        verdict = Verdict.refusal(refusal)
        return tuple(
            SeriesInspection(str(n), verdict, summary=f"volume {n} of {count}") for n in range(1, count + 1)
        )
    judged = [_judge(path, "1", lambda: first, allow)]
    if _are_read(count, first.data.nbytes) if pixels is None else pixels:
        judged += [_judge(path, str(n), partial(reader, n), allow) for n in range(2, count + 1)]
    else:
        unread = replace(first, data=np.broadcast_to(np.uint8(0), first.data.shape))
        another = _judge(path, "2", lambda: unread, allow, decoded=False)
        judged += [replace(another, id=str(n)) for n in range(2, count + 1)]
    what = f", {judged[0].summary}" if judged[0].summary else ""
    return tuple(replace(one, summary=f"volume {one.id} of {count}{what}") for one in judged)


def _are_read(count: int, size: int) -> bool:
    """Whether so many volumes of ``size`` bytes are: to reach one in a compressed file all is unpacked."""
    return count <= _MOST_VOLUMES_READ and count**2 * size <= _DECODED_BYTES


def _inspect_dicom(path: Path, allow: frozenset[str], pixels: bool | None) -> Inspection:
    from medseg.io import dicom
    from medseg.io.dicom import losses
    from medseg.io.dicom.aside import summarise

    try:
        with readable(path):
            listing = dicom.find(path)
    except InputRefused as refusal:
        return Inspection(path, Verdict.refusal(refusal), _label_object(path, refusal, allow))
    found = listing.series or listing.aside
    decode = _bytes_of(found) <= _DECODED_BYTES if pixels is None else pixels
    reader = dicom.load if decode else dicom.survey
    listed = tuple(
        _judge(path, item.id, partial(reader, path, item, allow, listing), allow, item, decode)
        for item in found
    )
    aside = summarise(listing)
    if not listed:
        try:
            dicom.choose(path, listing, None)
        except InputRefused as refusal:
            return Inspection(path, Verdict.refusal(refusal), (), aside)
    reason = dicom.ambiguity(found)
    missing = losses.missing(listing.lost)
    verdict = listed[0].verdict if reason is None else Verdict("refused", (reason, *missing))
    return Inspection(path, verdict, listed, aside)


def _label_object(path: Path, refusal: InputRefused, allow: frozenset[str]) -> tuple[SeriesInspection, ...]:
    """A segmentation or structure set: what it holds, and what `read_labels` would say besides."""
    from medseg.io.dicom import label_objects

    found = label_objects.find(path) if refusal.code in ("segmentation", "structure-set") else None
    if found is None:
        return ()
    verdict, grid, maps = Verdict.refusal(refusal), None, ""
    try:
        with readable(path):
            raster = label_objects.read(found, allow=allow)
        grid = Geometry(raster.data.shape[1:], raster.affine, raster.is_2d, raster.spacing_known)
        maps = f" in {len(raster.data)} label map{'s' if len(raster.data) > 1 else ''}"
        verdict += raster.verdict
    except InputRefused as labels:
        verdict += Verdict.refusal(labels)
    summary = f"{found.modality}, {found.content}{maps}"
    return (SeriesInspection(found.code, verdict, grid, found.modality, summary),)


def _bytes_of(series: tuple[Series, ...]) -> int:
    return sum(
        f.rows * f.columns * f.image.samples * f.image.bits[0] // 8 for item in series for f in item.frames
    )


def _judge(
    path: Path,
    name: str,
    reader: Callable[[], Raster],
    allow: frozenset[str],
    series: Series | None = None,
    decoded: bool = True,
) -> SeriesInspection:
    summary = "" if series is None else series.summary
    try:
        with readable(path):
            volume = to_volume(reader(), allow)
    except SeveralVolumes:
        raise
    except InputRefused as refusal:
        modality = None if series is None else series.modality
        return SeriesInspection(name, Verdict.refusal(refusal), None, modality, summary, decoded)
    summary = summary or _summary(volume)
    return SeriesInspection(name, volume.verdict, volume.geometry, volume.source.modality, summary, decoded)


def _summary(volume: Volume) -> str:
    """What a file of one scan holds: its type, where its axes point to, names of structures."""
    channels = f"{len(volume.data)} x " if len(volume.data) > 1 else ""
    names = volume.source.header.get("names", ())
    axes = "a picture" if volume.geometry.is_2d else volume.geometry.orientation
    return f"{channels}{volume.data.dtype}, {axes}" + (f", {len(names)} named structures" if names else "")
