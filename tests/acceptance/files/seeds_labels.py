"""Seeds of DICOM segmentations and structure sets (pydicom), with their series."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import uid
from pydicom.dataset import Dataset, FileDataset
from pydicom.pixels import pack_bits
from pydicom.sequence import Sequence

from tests.acceptance.files.canary import CANARY
from tests.acceptance.files.seeds import Seed, real_data
from tests.acceptance.files.seeds_dicom import (
    COLUMN,
    COLUMNS,
    FIRST,
    ROW,
    ROWS,
    SERIES,
    SLICES,
    STEP,
    blank,
    fill,
    made_slice,
    to_bytes,
)

_LABEL_MAP_STORAGE = "1.2.840.10008.5.1.4.1.1.66.7"
_NAMES = ("liver", "spleen")


def seg(folder: Path) -> Iterator[Seed]:
    """Binary, fractional and label map segmentations, raw and compressed, alone and with their series."""
    series = {f"ct/IM{n}.dcm": to_bytes(made_slice(n)) for n in range(SLICES)}
    for kind in ("BINARY", "FRACTIONAL", "LABELMAP"):
        content = to_bytes(segmentation(kind))
        yield Seed("seg", kind.lower(), {"seg.dcm": content}, "seg.dcm", verb="read_labels")
        whole = {**series, "seg.dcm": content}
        yield Seed(
            "seg",
            f"{kind.lower()} on its scan",
            whole,
            "seg.dcm",
            "read_labels",
            {"scan": "ct"},
            ("seg.dcm",),
        )
    packed = {"seg.dcm": to_bytes(segmentation("FRACTIONAL"), uid.RLELossless)}
    yield Seed("seg", "fractional RLE", packed, "seg.dcm", verb="read_labels")
    deflated = {"seg.dcm": to_bytes(segmentation("BINARY"), uid.DeflatedExplicitVRLittleEndian)}
    yield Seed("seg", "binary deflated", deflated, "seg.dcm", verb="read_labels")
    data = real_data()
    if data is not None:
        real = data / "dicom" / "seg_dcmqi"
        for path in (real / "23x38x3" / "seg" / "label.seg", real / "sparse-labelmap-ppv5.dcm"):
            yield Seed("seg", path.name, {"seg.dcm": path.read_bytes()}, "seg.dcm", verb="read_labels")


def masks() -> NDArray[np.bool_]:
    """(segment, slice, row, column): two boxes that do not overlap; the second is not in the first slice."""
    found = np.zeros((2, SLICES, ROWS, COLUMNS), bool)
    found[0, :, 3:9, 4:20] = True
    found[1, 1:, 11:30, 2:17] = True
    return found


def segmentation(kind: str) -> FileDataset:
    """A DICOM SEG of `masks`; binary and fractional ones leave empty frames out."""
    item = blank(_LABEL_MAP_STORAGE if kind == "LABELMAP" else uid.SegmentationStorage, 50)
    item.Modality, item.SeriesInstanceUID, item.SegmentationType = "SEG", f"{SERIES}.5", kind
    item.ImageType = ["DERIVED", "PRIMARY"]
    item.SegmentSequence = Sequence([_segment(n, name) for n, name in enumerate(_NAMES, 1)])
    labels = masks()
    if kind == "LABELMAP":
        values = labels[0] + 2 * labels[1].astype(np.uint8)
        frames = [(None, n) for n in range(SLICES)]
        fill(item, values.astype(np.uint8))
    else:
        frames = [(s, n) for s in (0, 1) for n in range(SLICES) if labels[s, n].any()]
        values = np.stack([labels[s, n] for s, n in frames]).astype(np.uint8)
        fill(item, values * (255 if kind == "FRACTIONAL" else 1))
    if kind == "FRACTIONAL":
        item.SegmentationFractionalType, item.MaximumFractionalValue = "PROBABILITY", 255
    if kind == "BINARY":
        item.BitsAllocated = item.BitsStored = 1
        item.HighBit = 0
        item.PixelData = pack_bits(values)
    item.NumberOfFrames = len(frames)
    _place(item, frames)
    return item


def _segment(number: int, name: str) -> Dataset:
    segment, category, kind = Dataset(), Dataset(), Dataset()
    category.CodeValue, category.CodingSchemeDesignator, category.CodeMeaning = (
        "123037004",
        "SCT",
        "Structure",
    )
    kind.CodeValue, kind.CodingSchemeDesignator, kind.CodeMeaning = "10200004", "SCT", CANARY
    segment.SegmentNumber, segment.SegmentLabel, segment.SegmentAlgorithmType = number, name, "MANUAL"
    segment.SegmentDescription = CANARY
    segment.SegmentedPropertyCategoryCodeSequence = Sequence([category])
    segment.SegmentedPropertyTypeCodeSequence = Sequence([kind])
    return segment


def _place(item: Dataset, frames: list[Any]) -> None:
    measures, orientation, shared = Dataset(), Dataset(), Dataset()
    measures.PixelSpacing, measures.SliceThickness = [0.75, 1.25], 2.5
    orientation.ImageOrientationPatient = [f"{x:.10g}" for x in (*ROW, *COLUMN)]
    shared.PixelMeasuresSequence = Sequence([measures])
    shared.PlaneOrientationSequence = Sequence([orientation])
    item.SharedFunctionalGroupsSequence = Sequence([shared])
    groups = []
    for segment, number in frames:
        group, position, content = Dataset(), Dataset(), Dataset()
        position.ImagePositionPatient = [f"{x:.10g}" for x in FIRST + number * STEP]
        content.DimensionIndexValues = [1 if segment is None else segment + 1, number + 1]
        group.PlanePositionSequence = Sequence([position])
        group.FrameContentSequence = Sequence([content])
        if segment is not None:
            which = Dataset()
            which.ReferencedSegmentNumber = segment + 1
            group.SegmentIdentificationSequence = Sequence([which])
        groups.append(group)
    item.PerFrameFunctionalGroupsSequence = Sequence(groups)


def rtstruct(folder: Path) -> Iterator[Seed]:
    """Structure sets with their series: told where it is, and found beside them."""
    series = {f"ct/IM{n}.dcm": to_bytes(made_slice(n)) for n in range(SLICES)}
    files = {**series, "structures.dcm": to_bytes(structure_set())}
    only = ("structures.dcm",)
    yield Seed("rtstruct", "scan told", files, "structures.dcm", "read_labels", {"scan": "ct"}, only)
    yield Seed("rtstruct", "scan beside it", files, "structures.dcm", "read_labels", {}, only)
    yield Seed("rtstruct", "any file", files, "structures.dcm", "read_labels")


def structure_set() -> FileDataset:
    """Two structures: a triangle in every slice, a box with a box cut out of it in the last two."""
    item = blank(uid.RTStructureSetStorage, 60)
    item.Modality, item.SeriesInstanceUID, item.StructureSetLabel = "RTSTRUCT", f"{SERIES}.6", CANARY[:16]
    shapes = {
        1: [(n, [(4.2, 3.1), (30.7, 5.3), (12.4, 28.9)]) for n in range(SLICES)],
        2: [(n, box) for n in (1, 2) for box in (_box(24.3, 16.2, 36.6, 31.8), _box(27.3, 20.2, 33.6, 27.8))],
    }
    frame, study, of_series = Dataset(), Dataset(), Dataset()
    of_series.SeriesInstanceUID = SERIES
    of_series.ContourImageSequence = Sequence([_image(n) for n in range(SLICES)])
    study.ReferencedSOPClassUID, study.ReferencedSOPInstanceUID = "1.2.840.10008.3.1.2.3.1", f"{SERIES}.0"
    study.RTReferencedSeriesSequence = Sequence([of_series])
    frame.FrameOfReferenceUID = item.FrameOfReferenceUID
    frame.RTReferencedStudySequence = Sequence([study])
    item.ReferencedFrameOfReferenceSequence = Sequence([frame])
    rois, contours = [], []
    for number, outlines in shapes.items():
        roi, drawn = Dataset(), Dataset()
        roi.ROINumber, roi.ROIName, roi.ROIDescription = number, _NAMES[number - 1], CANARY
        roi.ReferencedFrameOfReferenceUID, roi.ROIGenerationAlgorithm = item.FrameOfReferenceUID, "MANUAL"
        drawn.ReferencedROINumber, drawn.ROIDisplayColor = number, [200, 30, 90]
        drawn.ContourSequence = Sequence([_contour(n, outline) for n, outline in outlines])
        rois.append(roi)
        contours.append(drawn)
    item.StructureSetROISequence, item.ROIContourSequence = Sequence(rois), Sequence(contours)
    return item


def _box(left: float, top: float, right: float, bottom: float) -> list[tuple[float, float]]:
    return [(left, top), (right, top), (right, bottom), (left, bottom)]


def _image(number: int) -> Dataset:
    image = Dataset()
    image.ReferencedSOPClassUID = uid.CTImageStorage
    image.ReferencedSOPInstanceUID = f"{SERIES}.{uid.CTImageStorage.rsplit('.', 1)[-1]}.{number + 1}"
    return image


def _contour(number: int, outline: list[tuple[float, float]]) -> Dataset:
    contour = Dataset()
    points = [FIRST + number * STEP + x * 1.25 * ROW + y * 0.75 * COLUMN for x, y in outline]
    contour.ContourGeometricType, contour.NumberOfContourPoints = "CLOSED_PLANAR", len(points)
    contour.ContourData = [f"{value:.6f}" for value in np.ravel(points)]
    contour.ContourImageSequence = Sequence([_image(number)])
    return contour
