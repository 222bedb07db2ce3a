"""Decoding the pixels of DICOM slices into one array."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medseg.errors import InputRefused
from medseg.io.dicom.headers import Slice
from medseg.io.quiet import quiet

# Lossless JPEG: pydicom's decoder for it is GPL, so SimpleITK (GDCM) decodes.
_LOSSLESS_JPEG = ("1.2.840.10008.1.2.4.57", "1.2.840.10008.1.2.4.70")
_PIXEL_TAGS = (
    "Rows", "Columns", "SamplesPerPixel", "PhotometricInterpretation", "BitsAllocated", "BitsStored",
    "HighBit", "PixelRepresentation", "PixelData",
)  # fmt: skip
# No transfer syntax shrinks pixels more than this.
_LARGEST_RATIO = 4096
_SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"


def read_pixels(slices: Sequence[Slice]) -> NDArray[Any]:
    """Voxels (column, row, slice) of the ordered slices, rescaled as each slice says.

    Integers stay integers where slope is 1 and the intercept whole, the same in all slices; otherwise
    float32.
    """
    first = slices[0]
    whole = {(s.slope, s.intercept, s.bits) for s in slices}
    exact = len(whole) == 1 and first.slope == 1.0 and first.intercept == int(first.intercept)
    dtype = _integer_type(first) if exact else np.dtype(np.float32)
    _check_sizes(slices)
    data = np.empty((first.columns, first.rows, len(slices)), dtype, order="F")
    for k, item in enumerate(slices):
        stored = _decode(item).T
        if exact:
            data[..., k] = stored.astype(dtype, copy=False) + dtype.type(first.intercept)
        else:
            data[..., k] = stored * np.float64(item.slope) + np.float64(item.intercept)
    return data


def _check_sizes(slices: Sequence[Slice]) -> None:
    """Refuse headers that ask for more pixels than their files can hold, before memory is taken."""
    for item in slices:
        if item.rows * item.columns * item.bits[0] // 8 > item.path.stat().st_size * _LARGEST_RATIO:
            raise _undecodable(item, f"{item.columns} x {item.rows} pixels do not fit into the file")


def _integer_type(item: Slice) -> np.dtype[Any]:
    """The smallest integer type that holds every value the header permits, after the intercept."""
    _, stored, _, signed = item.bits
    low, high = (-(1 << stored - 1), (1 << stored - 1) - 1) if signed else (0, (1 << stored) - 1)
    low, high = low + int(item.intercept), high + int(item.intercept)
    for name in ("u1", "i2", "u2", "i4", "i8"):
        limits = np.iinfo(name)
        if limits.min <= low and high <= limits.max:
            return np.dtype(name)
    raise _undecodable(item, f"values from {low} to {high} fit no integer type")


def _decode(item: Slice) -> NDArray[Any]:
    """Stored values (row, column), unused high bits cleared or filled with the sign."""
    from pydicom import dcmread

    allocated, stored, high, _ = item.bits
    if allocated not in (8, 16, 32) or not 1 <= stored <= allocated or high != stored - 1:
        raise _undecodable(item, f"{stored} bits stored in {allocated} with high bit {high}")
    with quiet("pydicom"):
        try:
            dataset = dcmread(item.path)
            if str(dataset.file_meta.TransferSyntaxUID) in _LOSSLESS_JPEG:
                pixels = _decode_with_gdcm(dataset)
            else:
                pixels = dataset.pixel_array
        except (
            ValueError,
            RuntimeError,
            AttributeError,
            KeyError,
            TypeError,
            EOFError,
            ArithmeticError,
        ) as error:
            # The decoder's own words may quote the header, and that names the patient.
            raise _undecodable(item, f"its pixels cannot be decoded ({type(error).__name__})") from None
    if pixels.shape != (item.rows, item.columns):
        raise _undecodable(item, f"{pixels.shape} pixels, its header says {(item.rows, item.columns)}")
    unused = 8 * pixels.dtype.itemsize - stored
    return (pixels << unused) >> unused if unused else pixels


def _decode_with_gdcm(dataset: Any) -> NDArray[Any]:
    """Stored values through SimpleITK, from a copy that holds nothing but the pixels."""
    import SimpleITK as sitk
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import generate_uid

    bare = Dataset()
    for tag in _PIXEL_TAGS:
        bare[tag] = dataset[tag]
    bare.SOPClassUID, bare.SOPInstanceUID = _SECONDARY_CAPTURE, generate_uid()
    bare.file_meta = FileMetaDataset()
    bare.file_meta.TransferSyntaxUID = dataset.file_meta.TransferSyntaxUID
    bare.file_meta.MediaStorageSOPClassUID = bare.SOPClassUID
    bare.file_meta.MediaStorageSOPInstanceUID = bare.SOPInstanceUID
    with tempfile.TemporaryDirectory(prefix="medseg-") as folder:
        path = Path(folder) / "slice.dcm"
        bare.save_as(path, enforce_file_format=True)
        image = sitk.ReadImage(str(path), imageIO="GDCMImageIO")
    pixels: NDArray[Any] = sitk.GetArrayFromImage(image)[0]
    return pixels


def _undecodable(item: Slice, problem: str) -> InputRefused:
    return InputRefused(f"{item.path.name}: {problem}", code="undecodable", path=item.path)
