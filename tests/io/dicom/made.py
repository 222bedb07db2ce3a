"""DICOM files with pixels of every layout, made with libraries that share no code with the reader."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import SimpleITK as sitk
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate, generate_frames
from pydicom.uid import (
    CTImageStorage,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    JPEGLosslessSV1,
    generate_uid,
)

from medseg.io.dicom.elements import read_dataset
from medseg.io.dicom.frames import frames_of
from medseg.io.dicom.objects import Frame, Source
from medseg.io.dicom.sources import FileSource

CANARY = "Canary^Patient"


def dataset(pixels: NDArray[Any], **tags: Any) -> Dataset:
    """An image of (row, column), (frame, row, column) or, told ``SamplesPerPixel``, with samples last.

    ``pixels`` are stored as they are, in their own type; ``tags`` replace whatever follows from it.
    """
    samples = tags.get("SamplesPerPixel", 1)
    grey = pixels.ndim - (samples > 1)
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = CTImageStorage, generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    item = Dataset()
    item.file_meta = meta
    item.SOPClassUID, item.SOPInstanceUID = CTImageStorage, meta.MediaStorageSOPInstanceUID
    item.PatientName, item.PatientID, item.StudyDescription = CANARY, CANARY, CANARY
    item.Modality, item.SeriesInstanceUID = "CT", "1.2.3.4"
    item.PixelSpacing, item.ImageOrientationPatient = [0.75, 1.25], [1, 0, 0, 0, 1, 0]
    item.ImagePositionPatient = [1.5, -2.5, 40]
    if grey == 3:
        item.NumberOfFrames = pixels.shape[0]
    item.Rows, item.Columns = pixels.shape[grey - 2 : grey]
    item.SamplesPerPixel = samples
    item.PhotometricInterpretation = "RGB" if samples == 3 else "MONOCHROME2"
    if samples > 1:
        item.PlanarConfiguration = 0
    bits = 8 * pixels.itemsize
    item.BitsAllocated, item.BitsStored, item.HighBit = bits, bits, bits - 1
    item.PixelRepresentation = int(pixels.dtype.kind == "i")
    for name, value in tags.items():
        setattr(item, name, value)
    if "BitsStored" in tags and "HighBit" not in tags:
        item.HighBit = item.BitsStored - 1
    if "PixelData" not in tags:
        content = pixels.tobytes()
        item.PixelData = content + bytes(len(content) % 2)
    item["PixelData"].VR = "OB" if item.BitsAllocated <= 8 else "OW"
    return item


def save(item: Dataset, path: Path, syntax: str = ExplicitVRLittleEndian) -> Path:
    """Write in a native syntax; pydicom encodes the elements, the pixels are turned here."""
    item.file_meta.TransferSyntaxUID = pydicom.uid.UID(syntax)
    if syntax == ExplicitVRBigEndian:
        size = max(2 if item["PixelData"].VR == "OW" else 1, item.BitsAllocated // 8)
        item.PixelData = np.frombuffer(item.PixelData, f"u{size}").byteswap().tobytes()
    item.save_as(path, enforce_file_format=True)
    return path


def save_streams(item: Dataset, path: Path, syntax: str, streams: list[bytes], **options: Any) -> Path:
    """Write compressed frames as they are, whatever the header says."""
    item.PixelData = encapsulate(streams, **options) if all(streams) else _without_content(streams)
    item["PixelData"].VR = "OB"
    item["PixelData"].is_undefined_length = True
    item.file_meta.TransferSyntaxUID = pydicom.uid.UID(syntax)
    # Told how, and unchecked, as pydicom does not know every syntax.
    pydicom.dcmwrite(path, item, implicit_vr=False, little_endian=True, force_encoding=True)
    return path


def _without_content(streams: list[bytes]) -> bytes:
    """An encapsulated value with fragments that pydicom would not make."""
    items = [b"", *streams]
    return b"".join(b"\xfe\xff\0\xe0" + len(item).to_bytes(4, "little") + item for item in items)


def lossless_jpeg(pixels: NDArray[Any], folder: Path) -> bytes:
    """One frame as lossless JPEG, by GDCM."""
    image = sitk.GetImageFromArray(pixels[None] if pixels.ndim == 2 else pixels, isVector=pixels.ndim == 3)
    writer = sitk.ImageFileWriter()
    writer.SetImageIO("GDCMImageIO")
    writer.UseCompressionOn()
    writer.SetCompressor("JPEG")
    writer.SetFileName(str(folder / "lossless.dcm"))
    writer.Execute(image)
    found = pydicom.dcmread(folder / "lossless.dcm")
    assert found.file_meta.TransferSyntaxUID == JPEGLosslessSV1
    return next(generate_frames(found.PixelData, number_of_frames=1))


def first(path: Path, source: Source | None = None) -> Frame:
    """The first frame of a file, as the reader finds it."""
    source = source or FileSource.of(path)
    found = frames_of(source, read_dataset(source))
    assert isinstance(found, tuple)
    return found[0]


def frames(path: Path, source: Source | None = None) -> tuple[Frame, ...]:
    """Every frame of a plain object."""
    one = first(path, source)
    return tuple(replace(one, number=n) for n in range(one.image.frames))
