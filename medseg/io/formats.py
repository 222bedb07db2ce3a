"""Which format a file is in: by its content first, by its name where the content has no mark."""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Literal

from medseg.io.files import extension

Format = Literal["nifti", "nrrd", "metaimage", "png", "tiff", "dicom"]

_BY_EXTENSION: dict[str, Format] = {
    ".nii": "nifti", ".nii.gz": "nifti", ".hdr": "nifti", ".img": "nifti",
    ".nrrd": "nrrd", ".seg.nrrd": "nrrd", ".nhdr": "nrrd", ".mha": "metaimage", ".mhd": "metaimage",
    ".png": "png", ".tif": "tiff", ".tiff": "tiff", ".dcm": "dicom", ".ima": "dicom",
}  # fmt: skip
_TIFF_MARKS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_NIFTI_SIZES = (b"\x5c\x01\0\0", b"\0\0\x01\x5c", b"\x1c\x02\0\0", b"\0\0\x02\x1c")


def identify(path: Path) -> Format | None:
    """The format of a file, or None if neither its content nor its name tells."""
    with path.open("rb") as file:
        start = file.read(4096)
    if start[:2] == b"\x1f\x8b":
        start = _inflated(start)
    if start[128:132] == b"DICM":
        return "dicom"
    if start.startswith(b"NRRD000"):
        return "nrrd"
    if start.startswith(b"\x89PNG\r\n\x1a\n"):
        return "png"
    if start[:4] in _TIFF_MARKS:
        return "tiff"
    if start[:4] in _NIFTI_SIZES:
        return "nifti"
    return _BY_EXTENSION.get(extension(path))


def format_of_name(path: Path) -> Format | None:
    """The format that a name asks for, for writing."""
    return _BY_EXTENSION.get(extension(path))


def _inflated(start: bytes) -> bytes:
    try:
        return zlib.decompressobj(wbits=31).decompress(start, 512)
    except zlib.error:
        return b""  # the reader that the name asks for will say what is wrong
