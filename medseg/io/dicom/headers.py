"""DICOM headers: which files of a folder are scans, and what places each slice.

Only what the reader needs is kept, as plain numbers. No text of a header reaches a message: it may
name the patient.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medseg.errors import InputRefused
from medseg.io.files import DICOM_EXTENSIONS, extension, is_dicom_file
from medseg.io.quiet import quiet

_DICOMDIR = "1.2.840.10008.1.3.10"
# Objects that have rows and columns and yet are no scan: they belong to one.
_DERIVED_MODALITIES = ("SEG", "RTSTRUCT", "RTDOSE", "RTPLAN", "SR", "PR", "KO", "ANN", "REG")
_NOT_FINITE = float("nan")


@dataclass(frozen=True, slots=True, eq=False)
class Slice:
    """One file of a series. Positions and directions as DICOM has them: LPS, millimetres.

    ``row`` is the direction in which the column index grows, ``column`` that in which the row index does;
    both and ``position`` are None where the file does not place itself in the patient.
    """

    path: Path
    series_uid: str
    series_number: str
    sop_uid: str
    frame_of_reference: str
    modality: str | None
    image_type: tuple[str, ...]
    rows: int
    columns: int
    frames: int
    samples: int
    photometric: str
    bits: tuple[int, int, int, int]
    position: NDArray[np.float64] | None
    row: NDArray[np.float64] | None
    column: NDArray[np.float64] | None
    pixel_spacing: tuple[float, float] | None
    spacing_measured: bool
    thickness: float | None
    slope: float
    intercept: float
    has_lookup_table: bool

    @property
    def series(self) -> tuple[str, str]:
        """What tells series apart: the UID, and the number where copies of one image share a UID."""
        return self.series_uid, self.series_number


def scan_folder(folder: Path, *, nested: bool) -> list[Slice]:
    """The slices under a folder, in the order of their names; other files are passed over.

    Raises
    ------
    InputRefused
        ``bad-header`` if a file that is named like DICOM, or bears its mark, cannot be read: it might
        be a slice, so the series would have a hole.
    """
    slices = []
    for path in _files(folder, nested):
        if extension(path) in DICOM_EXTENSIONS or is_dicom_file(path):
            found = read_slice(path)
            if found is not None:
                slices.append(found)
    return slices


def read_slice(path: Path) -> Slice | None:
    """What places one file, or None if it is no scan (a DICOMDIR, a report, a segmentation)."""
    from pydicom import dcmread
    from pydicom.errors import InvalidDicomError

    with quiet("pydicom"):
        try:
            dataset = dcmread(path, stop_before_pixels=True)
            return _slice(path, dataset)
        except InvalidDicomError:
            problem = "the mark of a DICOM file is missing"
        except (
            ValueError,
            TypeError,
            KeyError,
            AttributeError,
            EOFError,
            OverflowError,
            NotImplementedError,
        ):
            problem = "its header cannot be read"
    raise InputRefused(f"{path.name}: {problem}; copy or export it again", code="bad-header", path=path)


def _files(folder: Path, nested: bool) -> Iterator[Path]:
    for parent, folders, names in os.walk(folder):
        folders[:] = sorted(folders) if nested else []
        for name in sorted(names):
            if not name.startswith("."):
                yield Path(parent) / name


def _slice(path: Path, dataset: Any) -> Slice | None:
    if str(dataset.file_meta.get("MediaStorageSOPClassUID", "")) == _DICOMDIR:
        return None
    modality = str(dataset.get("Modality") or "") or None
    if not dataset.get("Rows") or not dataset.get("Columns") or modality in _DERIVED_MODALITIES:
        return None
    orientation = _numbers(dataset, "ImageOrientationPatient", 6)
    pixel_spacing = _numbers(dataset, "PixelSpacing", 2)
    detector_spacing = _numbers(dataset, "ImagerPixelSpacing", 2)
    bits = tuple(
        int(dataset.get(tag) or 0)
        for tag in ("BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation")
    )
    return Slice(
        path=path,
        series_uid=str(dataset.get("SeriesInstanceUID") or ""),
        series_number=str(dataset.get("SeriesNumber") or ""),
        sop_uid=str(dataset.get("SOPInstanceUID") or ""),
        frame_of_reference=str(dataset.get("FrameOfReferenceUID") or ""),
        modality=modality,
        image_type=tuple(str(word) for word in dataset.get("ImageType") or ()),
        rows=int(dataset.Rows),
        columns=int(dataset.Columns),
        frames=int(dataset.get("NumberOfFrames") or 1),
        samples=int(dataset.get("SamplesPerPixel") or 1),
        photometric=str(dataset.get("PhotometricInterpretation") or "MONOCHROME2"),
        bits=bits,  # type: ignore[arg-type]
        position=_numbers(dataset, "ImagePositionPatient", 3),
        row=None if orientation is None else orientation[:3],
        column=None if orientation is None else orientation[3:],
        pixel_spacing=None if pixel_spacing is None else (float(pixel_spacing[0]), float(pixel_spacing[1])),
        # A detector's own spacing, copied, says nothing about sizes in the patient.
        spacing_measured=pixel_spacing is not None
        and (detector_spacing is None or not np.array_equal(pixel_spacing, detector_spacing)),
        thickness=_number(dataset, "SliceThickness", None) or _number(dataset, "SpacingBetweenSlices", None),
        slope=_number(dataset, "RescaleSlope", 1.0) or _NOT_FINITE,
        intercept=_number(dataset, "RescaleIntercept", 0.0) or 0.0,
        has_lookup_table="ModalityLUTSequence" in dataset,
    )


def _numbers(dataset: Any, tag: str, count: int) -> NDArray[np.float64] | None:
    value = dataset.get(tag)
    if value is None or isinstance(value, str) or not hasattr(value, "__len__") or len(value) == 0:
        return None
    numbers = np.array([float(v) for v in value])
    if numbers.size != count or not np.isfinite(numbers).all():
        raise ValueError(f"{tag} has {numbers.size} numbers, expected {count} finite ones")
    return numbers


def _number(dataset: Any, tag: str, default: float | None) -> float | None:
    value = dataset.get(tag)
    return default if value is None or value == "" else float(value)
