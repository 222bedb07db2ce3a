"""DICOM structure sets: closed contours drawn on the slices of a scan, to label maps on its grid.

A structure set has no grid of its own, only points in the patient. They are put on the grid of the series it
refers to; contours that do not lie on that series' slices, or that refer to images that are not there, are
refused. Source of the format: DICOM PS3.3, sections C.8.8.5, C.8.8.6 and C.8.8.8.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from medseg.io.dicom import tags
from medseg.io.dicom.contours import Polygon, cross, crossings, fill
from medseg.io.dicom.elements import BadHeader, DataSet, Parsed
from medseg.io.dicom.grids import Grid, References, ScanChoice, grid_of_scan
from medseg.io.dicom.layers import Layers, Patch
from medseg.io.naming import Structure, label_set, snomed_code
from medseg.io.raster import Raster
from medseg.io.refusals import refused
from medseg.labels import Colour
from medseg.verdict import OK, Verdict

# How far a contour may lie from the slice it is drawn on. Programs round coordinates to 0.01 or 0.1 mm, and
# put contours on slices; what lies further off was drawn on another grid.
OFF_SLICE_SHARE, OFF_SLICE_MM = 0.1, 0.05
_CLOSED = ("CLOSED_PLANAR", "CLOSEDPLANAR_XOR")
_OTHERS = ("POINT", "OPEN_PLANAR", "OPEN_NONPLANAR")
_LARGEST_ID = 65535
# Beyond this a coordinate is no place in a patient, and beyond that no contour is anyone's drawing.
_FARTHEST_MM = 1e5
_MOST_CROSSINGS = 500_000_000


@dataclass(frozen=True, slots=True, eq=False)
class Roi:
    """One structure: what it is, and its closed contours (points, 3) in LPS mm."""

    structure: Structure
    contours: tuple[NDArray[np.float64], ...] = field(repr=False)


@dataclass(frozen=True, slots=True, eq=False)
class StructureSet:
    """What a structure set's file holds.

    Parameters
    ----------
    rois
        Structures with closed contours, ids valid and different.
    listed
        How many structures there are, those without closed contours included.
    references
        The series it refers to, and the images that its contours are drawn on.
    verdict
        Findings that do not refuse it.
    """

    rois: tuple[Roi, ...]
    listed: int
    references: References
    verdict: Verdict = OK


def read(path: Path, parsed: Parsed, scan: ScanChoice) -> Raster:
    """Read a structure set onto the grid of its scan.

    Raises
    ------
    BadHeader
        As `parse`.
    InputRefused
        ``no-segments`` (nothing with closed contours), ``no-reference-scan``,
        ``contours-off-slices``, ``grid-differs`` (no contour lies within the scan), ``too-large``, and what
        forbids to read the scan.
    """
    found = parse(parsed.dataset)
    if not found.rois:
        text = f"{found.listed} structures, none with closed contours; there is nothing to fill"
        raise refused(path, "no-segments", text)
    grid, verdict = grid_of_scan(path, scan, found.references)
    return _rasterise(path, found, grid, verdict)


def parse(dataset: DataSet) -> StructureSet:
    """Take a structure set's header apart.

    Raises
    ------
    BadHeader
        If numbers of structures or points of contours are malformed, or contours belong to no structure, or
        to several.
    """
    listed = dataset.items(tags.StructureSetROISequence)
    numbers = [item.integer(tags.ROINumber) for item in listed]
    contours = _by_number(dataset, numbers)
    codes = _codes(dataset)
    rois, partly, empty = [], 0, 0
    images: set[str] = set()
    for number, item in zip(numbers, listed, strict=True):
        drawn = contours.get(number)
        closed, others, without = _contours(drawn, images)
        partly += others and bool(closed)
        empty += without
        if closed and number is not None:
            colour = None if drawn is None else _colour(drawn)
            rois.append(
                Roi(Structure(number, item.name(tags.ROIName) or "", colour, codes.get(number)), closed)
            )
    series, frames = _references(dataset)
    numbered, verdict = _numbered(rois)
    return StructureSet(
        rois=numbered,
        listed=len(listed),
        references=References(series, frozenset(images), frames),
        verdict=verdict + _left_out(len(listed) - len(rois), partly, empty),
    )


def _by_number(dataset: DataSet, numbers: Sequence[int | None]) -> dict[int | None, DataSet]:
    """The contours of each structure.

    A number that is damaged would take contours from a structure whose volume then comes out too small.
    """
    listed = Counter(numbers)
    found: dict[int | None, DataSet] = {}
    for item in dataset.items(tags.ROIContourSequence):
        number = item.integer(tags.ReferencedROINumber)
        if number is not None and listed[number] == 1 and number not in found:
            found[number] = item
        elif not item.items(tags.ContourSequence):
            continue
        elif number is None:
            raise BadHeader("contours that do not say of which structure they are")
        elif number in found:
            raise BadHeader(f"structure {number} has contours at two places, expected one")
        else:
            raise BadHeader(
                f"contours of structure {number}, which is listed {listed[number]} times, not once"
            )
    return found


def _contours(drawn: DataSet | None, images: set[str]) -> tuple[tuple[NDArray[np.float64], ...], bool, int]:
    """The closed contours of a structure, whether there are others, and how many have no points.

    UIDs of images are added.
    """
    closed, others, empty = [], False, 0
    for item in () if drawn is None else drawn.items(tags.ContourSequence):
        kind = item.text(tags.ContourGeometricType) or "CLOSED_PLANAR"
        if kind in _OTHERS:
            others = True
            continue
        if kind not in _CLOSED:
            raise BadHeader(f"a contour is none of {', '.join((*_CLOSED, *_OTHERS))}")
        points = _points(item)
        if points is None:
            empty += 1
        else:
            closed.append(points)
            images.update(i.uid(tags.ReferencedSOPInstanceUID) for i in item.items(tags.ContourImageSequence))
    images.discard("")
    return tuple(closed), others, empty


def _points(item: DataSet) -> NDArray[np.float64] | None:
    numbers = item.numbers(tags.ContourData)
    size = 0 if numbers is None else numbers.size
    expected = item.integer(tags.NumberOfContourPoints)
    if size % 3 or (expected is not None and size != 3 * expected):
        raise BadHeader(f"a contour of {expected} points has {size} coordinates")
    if numbers is None:
        return None
    if np.abs(numbers).max() > _FARTHEST_MM:
        raise BadHeader(f"a contour has points more than {_FARTHEST_MM / 1000:.0f} m away")
    return numbers.reshape(-1, 3)


def _colour(drawn: DataSet) -> Colour | None:
    shares = drawn.numbers(tags.ROIDisplayColor)
    if shares is None or shares.size != 3:
        return None
    red, green, blue = (int(min(255, max(0, share))) for share in shares)
    return red, green, blue


def _codes(dataset: DataSet) -> dict[int | None, str | None]:
    """SNOMED CT codes by the number of the structure, from what was observed about it."""
    return {
        item.integer(tags.ReferencedROINumber): snomed_code(
            code.text(tags.CodingSchemeDesignator), code.text(tags.CodeValue)
        )
        for item in dataset.items(tags.RTROIObservationsSequence)
        for code in item.items(tags.RTROIIdentificationCodeSequence)[:1]
    }


def _references(dataset: DataSet) -> tuple[frozenset[str], str]:
    """UIDs of the series that a structure set refers to, and of its frame of reference where it has one."""
    frames = dataset.items(tags.ReferencedFrameOfReferenceSequence)
    studies = [study for frame in frames for study in frame.items(tags.RTReferencedStudySequence)]
    series = {
        item.uid(tags.SeriesInstanceUID)
        for study in studies
        for item in study.items(tags.RTReferencedSeriesSequence)
    }
    spaces = {frame.uid(tags.FrameOfReferenceUID) for frame in frames}
    return frozenset(series - {""}), spaces.pop() if len(spaces) == 1 else ""


def _numbered(rois: Sequence[Roi]) -> tuple[tuple[Roi, ...], Verdict]:
    """Structures with the numbers they have, or counted from 1 where those cannot be ids."""
    numbers = [roi.structure.id for roi in rois]
    if all(1 <= number <= _LARGEST_ID for number in numbers):
        return tuple(rois), OK
    text = "the structures' numbers are not from 1 to 65535; they are counted from 1 instead"
    renumbered = tuple(
        Roi(Structure(n, roi.structure.name, roi.structure.colour, roi.structure.snomed), roi.contours)
        for n, roi in enumerate(rois, 1)
    )
    return renumbered, Verdict.of("warning", "structures-renumbered", text)


def _left_out(whole: int, partly: int, empty: int) -> Verdict:
    texts = []
    if whole:
        have = "structure has" if whole == 1 else "structures have"
        texts.append(f"{whole} {have} no closed contour (empty, points or open lines)")
    if partly:
        have = "structure has" if partly == 1 else "structures have"
        texts.append(f"{partly} {have} points or open lines besides closed contours")
    if empty:
        texts.append(f"{empty} {'contour has' if empty == 1 else 'contours have'} no points")
    if not texts:
        return OK
    return Verdict.of("warning", "structures-left-out", f"{' and '.join(texts)}; these are left out")


def _rasterise(path: Path, found: StructureSet, grid: Grid, verdict: Verdict) -> Raster:
    if len(found.rois) > _LARGEST_ID:
        raise refused(path, "too-large", f"{len(found.rois)} structures, expected at most {_LARGEST_ID}")
    placed = [_on_slices(path, roi, grid) for roi in found.rois]
    drawn = sum(len(roi.contours) for roi in found.rois)
    inside = sum(len(polygons) for slices in placed for polygons in slices.values())
    if not inside:
        text = f"none of its {drawn} contours lies within the scan; give the scan they were drawn on"
        raise refused(path, "grid-differs", text)
    work = sum(crossings(polygons, grid.shape[1]) for slices in placed for polygons in slices.values())
    if work > _MOST_CROSSINGS:
        raise refused(path, "too-large", f"contours with {work} crossings of lines of voxels")
    labels, naming = label_set([roi.structure for roi in found.rois])
    layers = Layers(path, grid.shape, labels.ids[-1])
    for roi, slices in zip(found.rois, placed, strict=True):
        layers.place(roi.structure.id, list(_patches(slices, grid)))
    data, sets = layers.finish(labels)
    crossed = sum(_crosses(polygons, grid) for slices in placed for polygons in slices.values())
    if crossed:
        text = (
            f"on {crossed} slices contours of one structure cross; what two of them share counts as outside"
        )
        verdict += Verdict.of("warning", "contours-cross", text)
    if inside < drawn:
        text = f"{drawn - inside} of {drawn} contours lie above or below the scan and are left out"
        verdict += Verdict.of("warning", "contours-outside", text)
    return Raster(
        data=data,
        affine=grid.affine,
        path=path,
        paths=(path,),
        format="dicom",
        modality="RTSTRUCT",
        verdict=found.verdict + verdict + naming,
        is_2d=grid.is_2d,
        spacing_known=grid.spacing_known,
        labels=sets[0] if len(sets) == 1 else None,
        layers=sets if len(sets) > 1 else (),
    )


def _on_slices(path: Path, roi: Roi, grid: Grid) -> dict[int, list[Polygon]]:
    """The contours of a structure by the slice they lie on, in indices (i, j); those outside left out."""
    inverse = np.linalg.inv(grid.affine)
    tolerance = max(OFF_SLICE_SHARE, OFF_SLICE_MM * float(np.linalg.norm(inverse[2, :3])))
    slices: dict[int, list[Polygon]] = {}
    for points in roi.contours:
        index = (points * (-1.0, -1.0, 1.0)) @ inverse[:3, :3].T + inverse[:3, 3]
        k = int(np.rint(np.median(index[:, 2])))
        if not 0 <= k < grid.shape[2]:
            continue
        off = float(np.abs(index[:, 2] - k).max())
        if off > tolerance:
            text = (
                f"a contour of structure {roi.structure.id} lies {off:.2g} slices beside slice {k + 1}, "
                f"expected at most {tolerance:.2g}; give the scan it was drawn on (scan=PATH)"
            )
            raise refused(path, "contours-off-slices", text)
        slices.setdefault(k, []).append(np.ascontiguousarray(index[:, :2]))
    return slices


def _crosses(polygons: list[Polygon], grid: Grid) -> bool:
    if len(polygons) < 2:
        return False
    low, size = _box(polygons, grid)
    return min(size) > 0 and cross([polygon - low for polygon in polygons], size)


def _box(polygons: list[Polygon], grid: Grid) -> tuple[NDArray[np.int64], tuple[int, int]]:
    """The first voxel and the size of the part of a slice that holds polygons."""
    most = np.array(grid.shape[:2])
    low = np.floor(np.min([p.min(axis=0) for p in polygons], axis=0)).clip(0, most).astype(np.int64)
    high = np.ceil(np.max([p.max(axis=0) for p in polygons], axis=0) + 1).clip(0, most).astype(np.int64)
    return low, (int(high[0] - low[0]), int(high[1] - low[1]))


def _patches(slices: dict[int, list[Polygon]], grid: Grid) -> Iterator[Patch]:
    """The mask of every slice, no larger than the contours on it."""
    for k, polygons in slices.items():
        low, size = _box(polygons, grid)
        if min(size) > 0:
            yield k, int(low[0]), int(low[1]), fill([polygon - low for polygon in polygons], size)
