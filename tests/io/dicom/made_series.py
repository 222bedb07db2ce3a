"""An oblique, anisotropic CT series on the disk, made with pydicom, for objects that are drawn on it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

CANARY = "Canary^Patient"
ROW = np.array([0.96, 0.28, 0.0])
COLUMN = np.array([-0.28 * 0.8, 0.96 * 0.8, 0.6])
STEP = 2.5 * np.cross(ROW, COLUMN)
FIRST = np.array([-101.5, 42.25, 310.125])
ROWS, COLUMNS, SLICES = 9, 12, 6
DOWN, ALONG = 0.75, 1.25
SERIES_UID, SPACE_UID = "1.2.826.0.1.3680043.8.498.77", "1.2.826.0.1.3680043.8.498.78"
SHAPE = (COLUMNS, ROWS, SLICES)
# Index (column, row, slice) to LPS mm.
LPS = np.eye(4)
LPS[:3] = np.stack([ROW * ALONG, COLUMN * DOWN, STEP, FIRST], axis=1)
RAS = np.diag([-1.0, -1.0, 1.0, 1.0]) @ LPS


def image_uid(k: int) -> str:
    """SOPInstanceUID of a slice, from 0."""
    return f"{SERIES_UID}.{k + 1}"


def write_series(folder: Path) -> list[FileDataset]:
    """Write the slices, shuffled by name, and return their data sets in order."""
    folder.mkdir(exist_ok=True)
    return [_slice(folder / f"{(7 * k) % SLICES}.dcm", k) for k in range(SLICES)]


def points(index: NDArray[np.float64]) -> NDArray[np.float64]:
    """LPS mm of indices (..., 3)."""
    return np.asarray(index @ LPS[:3, :3].T + LPS[:3, 3])


def texts(numbers: NDArray[np.float64]) -> list[str]:
    """Decimal strings of at most 16 characters, as DICOM has them."""
    return [f"{x:.8g}" for x in np.ravel(numbers)]


def _slice(path: Path, k: int) -> FileDataset:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = CTImageStorage, image_uid(k)
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    item = FileDataset(path, {}, file_meta=meta, preamble=bytes(128))
    item.SOPClassUID, item.SOPInstanceUID = CTImageStorage, image_uid(k)
    item.PatientName, item.PatientID, item.PatientBirthDate, item.PatientSex = CANARY, CANARY, "", ""
    item.StudyInstanceUID, item.SeriesInstanceUID = "1.2.826.0.1.3680043.8.498.76", SERIES_UID
    item.StudyDate, item.StudyTime, item.StudyID, item.AccessionNumber = "", "", "", ""
    item.ReferringPhysicianName = ""
    item.Modality, item.SeriesNumber, item.InstanceNumber = "CT", 3, SLICES - k
    item.FrameOfReferenceUID, item.PositionReferenceIndicator = SPACE_UID, ""
    item.Rows, item.Columns = ROWS, COLUMNS
    item.PixelSpacing = [DOWN, ALONG]
    item.ImageOrientationPatient = texts(np.concatenate([ROW, COLUMN]))
    item.ImagePositionPatient = texts(FIRST + k * STEP)
    item.SliceThickness = 2.5
    item.SamplesPerPixel, item.PhotometricInterpretation = 1, "MONOCHROME2"
    item.BitsAllocated, item.BitsStored, item.HighBit, item.PixelRepresentation = 16, 12, 11, 0
    item.PixelData = np.full((ROWS, COLUMNS), k, np.uint16).tobytes()
    item.save_as(path, enforce_file_format=True)
    return item
