"""Scans on disk that no two voxels of which are alike, oblique, anisotropic, not cubic."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

CANARY = "Canary^Patient"
SHAPE = (9, 12, 7)


def _oblique() -> NDArray[np.float64]:
    """Unit columns by QR of a fixed matrix, turned to a right-handed set, at 0.7 x 1.1 x 2.3 mm."""
    axes, _ = np.linalg.qr(np.array([[-1.0, 0.2, 0.1], [0.3, -1.0, 0.2], [0.1, 0.25, 1.0]]))
    axes[:, 2] *= np.sign(np.linalg.det(axes))
    affine = np.eye(4)
    affine[:3, :3] = axes * (0.7, 1.1, 2.3)
    affine[:3, 3] = (-31.4, 12.7, 55.9)
    return affine


AFFINE = _oblique()


@pytest.fixture
def voxels() -> NDArray[np.int16]:
    return np.random.default_rng(3).permutation(np.prod(SHAPE)).reshape(SHAPE).astype(np.int16) - 300


@pytest.fixture
def nifti(tmp_path: Path) -> Callable[..., Path]:
    """Write an array with nibabel, sform and qform alike."""

    def write(name: str, array: NDArray[Any], affine: NDArray[np.float64] = AFFINE) -> Path:
        image = nibabel.Nifti1Image(array, affine)
        image.set_qform(affine, 1)
        image.set_sform(affine, 1)
        image.header["descrip"] = CANARY
        nibabel.save(image, tmp_path / name)
        return tmp_path / name

    return write


@pytest.fixture
def dicom_folder(tmp_path: Path) -> Callable[..., Path]:
    """Write a CT series whose voxels (column, row, slice) lie where AFFINE puts them, less ``without``."""

    def write(array: NDArray[np.int16], without: tuple[int, ...] = ()) -> Path:
        folder = tmp_path / "series"
        folder.mkdir()
        lps = np.diag([-1.0, -1.0, 1.0, 1.0]) @ AFFINE
        uid = generate_uid()
        for k in range(array.shape[2]):
            if k not in without:
                _slice(folder / f"{k}.dcm", array[..., k].T, lps, k, uid)
        return folder

    return write


def _slice(path: Path, pixels: NDArray[np.int16], lps: NDArray[np.float64], k: int, series: str) -> None:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = CTImageStorage, generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    item = FileDataset(path, {}, file_meta=meta, preamble=bytes(128))
    item.SOPClassUID, item.SOPInstanceUID = CTImageStorage, meta.MediaStorageSOPInstanceUID
    item.PatientName, item.PatientID, item.SeriesDescription = CANARY, CANARY, CANARY
    item.PatientBirthDate = item.PatientSex = item.AccessionNumber = item.ReferringPhysicianName = ""
    item.StudyInstanceUID, item.StudyID, item.StudyDate, item.StudyTime = "1.2.4", "", "", ""
    item.Modality, item.SeriesInstanceUID, item.FrameOfReferenceUID = "CT", series, "1.2.3"
    item.ImageType, item.SeriesNumber, item.InstanceNumber = ["ORIGINAL", "PRIMARY", "AXIAL"], 1, k + 1
    item.Rows, item.Columns = pixels.shape
    along, down = np.linalg.norm(lps[:3, :2], axis=0)
    item.PixelSpacing = [f"{down:.10g}", f"{along:.10g}"]
    item.ImageOrientationPatient = [f"{x:.10g}" for x in (*(lps[:3, 0] / along), *(lps[:3, 1] / down))]
    item.ImagePositionPatient = [f"{x:.10g}" for x in (lps @ (0, 0, k, 1))[:3]]
    item.SliceThickness = 2.3
    item.SamplesPerPixel, item.PhotometricInterpretation = 1, "MONOCHROME2"
    item.BitsAllocated, item.BitsStored, item.HighBit, item.PixelRepresentation = 16, 16, 15, 1
    item.RescaleSlope, item.RescaleIntercept = 1, 0
    item.PixelData = np.ascontiguousarray(pixels).tobytes()
    item.save_as(path, enforce_file_format=True)
