"""The grid that a DICOM segmentation or structure set is put on: its own frames', or that of its scan."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from medseg.errors import InputRefused
from medseg.io.dicom import files, series
from medseg.io.dicom.geometry import Stack, is_unplaced, normal_of, plane_faults, stack
from medseg.io.dicom.objects import Frame
from medseg.io.dicom.spacing import POSITION_TOLERANCE_MM, ROUNDING_MM
from medseg.io.raster import to_volume
from medseg.io.readers import load, locate
from medseg.io.refusals import refused
from medseg.verdict import OK, Reason, Verdict

# A grid without a scan that would be mostly slices that nobody stored is a fault of the positions.
_MOST_EMPTY = 64
_LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0])


@dataclass(frozen=True, slots=True, eq=False)
class Grid:
    """Shape (columns, rows, slices) and affine (index to RAS+ mm) that label maps are made on."""

    shape: tuple[int, int, int]
    affine: NDArray[np.float64]
    is_2d: bool = False
    spacing_known: bool = True


@dataclass(frozen=True, slots=True)
class References:
    """What a label object refers to: UIDs of series, of images in them, of its frame of reference or ""."""

    series: frozenset[str] = frozenset()
    images: frozenset[str] = frozenset()
    frame_of_reference: str = ""


@dataclass(frozen=True, slots=True)
class ScanChoice:
    """The scan a label object is to be put on: where it is, and how to read it.

    ``named`` says that the caller named it: then what the object refers to does not overrule that.
    """

    path: Path
    named: bool = False
    series: str | int | None = None
    allow: frozenset[str] = frozenset()


def grid_of_scan(path: Path, scan: ScanChoice, references: References) -> tuple[Grid, Verdict]:
    """The grid of the scan that the label object at ``path`` was drawn on.

    Raises
    ------
    InputRefused
        ``no-reference-scan``, ``several-series``, and what forbids to place the scan's slices.
    """
    if locate(scan.path) != "dicom":
        raster = load(locate(scan.path), scan.path, scan.series, scan.allow)
        geometry = to_volume(raster, scan.allow).geometry
        return Grid(geometry.shape, geometry.affine, geometry.is_2d, geometry.spacing_known), OK
    there = files.scan(scan.path)
    found = _series(path, scan, references, series.split(there.frames))
    verdict = _check_references(path, found, references, scan.named)
    placed = series.placed(scan.path, found, scan.allow, there.lost)
    return grid_of(path, placed), placed.verdict + verdict


def _series(
    path: Path, scan: ScanChoice, references: References, among: tuple[series.Series, ...]
) -> series.Series:
    """The series of a scan that is chosen, else the one referred to, else the only one that was named."""
    if scan.series is not None:
        return series.choose(scan.path, series.Listing(among), scan.series)
    found = _referenced(path, among, references)
    if found is not None:
        return found
    if scan.named:
        return series.choose(scan.path, series.Listing(among), None)
    text = "the series it was drawn on is not in its folder; give it with scan=PATH"
    raise refused(path, "no-reference-scan", text)


def grid_of(path: Path, placed: Stack) -> Grid:
    """The grid of placed frames, or the refusal that their faults are."""
    if placed.faults or placed.affine is None:
        reasons = [(fault.code, fault.message) for fault in placed.faults]
        raise InputRefused(
            f"{path.name}: " + "; ".join(fault.message for fault in placed.faults),
            code=reasons[0][0],
            path=path,
            reasons=reasons,
        )
    return Grid(placed.shape, placed.affine, placed.is_2d, placed.spacing_known)


def _referenced(path: Path, among: Sequence[series.Series], references: References) -> series.Series | None:
    """The series that is referred to: by its UID, and by its images where that leaves several or none."""
    found = [item for item in among if item.uid in references.series]
    if len(found) != 1 and references.images:
        held = {id(item): len(references.images & _images(item)) for item in found or among}
        most = max(held.values(), default=0)
        found = [item for item in found or among if most and held[id(item)] == most]
    if len(found) > 1:
        return series.choose(path, series.Listing(tuple(found)), None)  # refuses with the list
    return found[0] if found else None


def _images(item: series.Series) -> set[str]:
    return {frame.image.sop_uid for frame in item.frames}


def _check_references(path: Path, found: series.Series, references: References, given: bool) -> Verdict:
    """Refuse a scan without the images that are referred to; where the scan was given, warn."""
    reasons = []
    missing = len(references.images - _images(found))
    if missing:
        text = f"{missing} of {len(references.images)} images it refers to are not in the series"
        if not given:
            raise refused(path, "no-reference-scan", f"{text} in its folder; give the scan with scan=PATH")
        reasons.append(Reason("references-differ", f"{text} that was given"))
    space = found.frames[0].image.frame_of_reference
    if space and references.frame_of_reference not in ("", space):
        text = "its frame of reference has another identifier than that of the scan"
        reasons.append(Reason("references-differ", text))
    return Verdict("warning", tuple(reasons)) if reasons else OK


def grid_of_frames(path: Path, frames: Sequence[Frame]) -> tuple[Grid, Verdict]:
    """The smallest even grid that holds frames (see `check_planes`), several of which may share a place."""
    placed = stack(_one_per_place(path, frames))
    return grid_of(path, placed), placed.verdict


def check_planes(path: Path, frames: Sequence[Frame]) -> None:
    """Refuse frames that are not all placed, each by itself, on planes of one kind; or all unplaced."""
    faults = () if all(is_unplaced(frame) for frame in frames) else plane_faults(tuple(frames))
    if faults:
        raise refused(path, faults[0].code, faults[0].message)


def _one_per_place(path: Path, frames: Sequence[Frame]) -> Sequence[Frame]:
    if is_unplaced(frames[0]):
        return frames[:1]
    normal = normal_of(frames[0])
    depths = np.array([float(normal @ frame.position) for frame in frames])  # type: ignore[operator]
    order = np.argsort(depths, kind="stable")
    new = np.diff(depths[order], prepend=-np.inf) > POSITION_TOLERANCE_MM
    distinct = [frames[n] for n in order[new]]
    return _without_gaps(path, distinct, depths[order][new])


def _without_gaps(path: Path, distinct: list[Frame], depths: NDArray[np.float64]) -> list[Frame]:
    """The frames and, where planes between them are left out, stand-ins for those."""
    if len(distinct) < 2:
        return distinct
    planes = _planes(distinct[0], depths)
    if planes is None:
        return distinct  # uneven: `stack` names it
    count = int(planes[-1]) + 1
    if count > _MOST_EMPTY * len(distinct):
        text = f"{len(distinct)} slices spread over {count}; give the scan it was drawn on (scan=PATH)"
        raise refused(path, "uneven-spacing", text)
    every = range(count)
    positions = np.array([frame.position for frame in distinct])
    filled = np.stack([np.interp(np.arange(count), planes, positions[:, axis]) for axis in range(3)], axis=1)
    held = {int(plane): frame for plane, frame in zip(planes, distinct, strict=True)}
    return [held.get(n) or replace(distinct[0], position=filled[n]) for n in every]


def _planes(first: Frame, depths: NDArray[np.float64]) -> NDArray[np.float64] | None:
    """Which plane of an even stack each depth is, by the spacing told or a fraction of the smallest gap."""
    smallest = float(np.diff(depths).min())
    told = [mm for mm in (first.step, first.thickness) if mm is not None and np.isfinite(mm) and mm > 0.01]
    for pitch in (*told, *(smallest / part for part in (1, 2, 3, 4))):
        planes = np.rint((depths - depths[0]) / pitch)
        fitted = (depths[-1] - depths[0]) / planes[-1] if planes[-1] else pitch
        if (
            np.diff(planes).min() >= 1
            and np.abs(depths - depths[0] - planes * fitted).max() <= POSITION_TOLERANCE_MM
        ):
            return np.asarray(planes)
    return None


def places(path: Path, frames: Sequence[Frame], grid: Grid) -> NDArray[np.int64]:
    """Where on a grid frames lie: (N, 3) index of each one's first pixel.

    Raises
    ------
    InputRefused
        ``grid-differs`` where a corner of a frame is not on a voxel of the grid, within 0.01 mm.
    """
    if grid.is_2d or is_unplaced(frames[0]):
        if grid.shape != (frames[0].columns, frames[0].rows, 1):
            raise _off_grid(path, "its one plane has another size than the scan")
        return np.zeros((len(frames), 3), np.int64)
    corners = _corners(frames) @ _LPS_TO_RAS
    inverse = np.linalg.inv(grid.affine)
    found = corners[:, 0] @ inverse[:3, :3].T + inverse[:3, 3]
    first = np.rint(found)
    size = np.array([frames[0].columns, frames[0].rows, 1])
    if not ((first >= 0) & (first + size <= grid.shape)).all():
        raise _off_grid(path, "some of its frames reach beyond the scan")
    unit = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [1, 1, 0]])
    index = first[:, None] + unit * (size - 1)
    there = index @ grid.affine[:3, :3].T + grid.affine[:3, 3]
    away = float(np.linalg.norm(there - corners, axis=2).max())
    if away > POSITION_TOLERANCE_MM + ROUNDING_MM:
        raise _off_grid(path, f"its pixels lie up to {away:.3g} mm beside those of the grid")
    return np.asarray(first, np.int64)


def _corners(frames: Sequence[Frame]) -> NDArray[np.float64]:
    """The centres of the four corner pixels of every frame (N, 4, 3) by its own header, LPS mm."""
    last = np.array([frames[0].columns - 1, frames[0].rows - 1])
    ends = np.array([frame.pixel_spacing for frame in frames])[:, ::-1] * last
    along = np.array([frame.row for frame in frames]) * ends[:, :1]
    down = np.array([frame.column for frame in frames]) * ends[:, 1:]
    start = np.array([frame.position for frame in frames])
    return np.stack([start, start + along, start + down, start + along + down], axis=1)


def _off_grid(path: Path, text: str) -> InputRefused:
    return refused(path, "grid-differs", f"{text}; give the scan it was drawn on, or resample it")
