"""Bombs: NIfTI, MGH, NRRD and MetaImage."""

from __future__ import annotations

import struct
from pathlib import Path

import nibabel
import numpy as np

from tests.acceptance.files.bombs import BLOCK, GB, bomb, deflated, saved, sparse
from tests.acceptance.files.seeds import voxels


def _nifti(shape: tuple[int, ...], extension: bytes = b"\0\0\0\0") -> bytes:
    header = nibabel.Nifti2Header() if max(shape) > 32767 else nibabel.Nifti1Header()
    header.set_data_dtype(np.uint8)
    header.set_data_shape(shape)
    header.set_sform(np.diag([1.0, 1.0, 1.0, 1.0]), 1)
    header["magic"] = b"n+2\0\r\n\x1a\n"[:4] if max(shape) > 32767 else b"n+1\0"
    if max(shape) > 32767:
        header["magic"] = b"n+2"
    header["vox_offset"] = len(header.binaryblock) + len(extension)
    return bytes(header.binaryblock) + extension


@bomb()
def nifti_dimensions_lie_plain(folder: Path) -> Path:
    return saved(folder, "x.nii", _nifti((32767, 32767, 32767)) + bytes(1000))


@bomb()
def nifti_dimensions_lie_packed(folder: Path) -> Path:
    return saved(folder, "x.nii.gz", deflated(_nifti((32767, 32767, 300)), BLOCK, "gzip"))


@bomb()
def nifti2_dimensions_overflow(folder: Path) -> Path:
    return saved(folder, "x.nii", _nifti((2**40, 2**40, 2**40)) + bytes(1000))


@bomb()
def nifti_stream_longer_than_its_header_says(folder: Path) -> Path:
    return saved(folder, "x.nii.gz", deflated(_nifti((5, 7, 4)), 2 * GB, "gzip"))


@bomb()
def nifti_stream_as_long_as_its_header_says(folder: Path) -> Path:
    return saved(folder, "x.nii.gz", deflated(_nifti((1024, 1024, 4096)), 4 * GB, "gzip"))


@bomb()
def nifti_voxels_far_behind_the_header(folder: Path) -> Path:
    content = bytearray(_nifti((5, 7, 4)))
    content[108:112] = struct.pack("<f", 1.5e9)
    return saved(folder, "x.nii.gz", deflated(bytes(content), 2 * GB, "gzip"))


@bomb()
def nifti_a_million_extensions(folder: Path) -> Path:
    extension = b"\1\0\0\0" + struct.pack("<2i8x", 16, 6) * 1_000_000
    return saved(folder, "x.nii", _nifti((5, 7, 4), extension))


@bomb(labels=True, may_be_read=True)
def nifti_names_nested_a_hundred_thousand_deep(folder: Path) -> Path:
    text = b'{"medseg_labels": ' + b"[" * 100_000
    size = -(-(8 + len(text)) // 16) * 16
    extension = b"\1\0\0\0" + struct.pack("<2i", size, 6) + text.ljust(size - 8, b"\0")
    return saved(folder, "x.nii", _nifti((5, 7, 4), extension) + bytes(140))


@bomb(labels=True, may_be_read=True)
def sidecar_nested_a_hundred_thousand_deep(folder: Path) -> Path:
    saved(folder, "x.json", b'{"labels": ' + b"[" * 100_000)
    return saved(folder, "x.nii", _nifti((5, 7, 4)) + bytes(140))


@bomb(labels=True, may_be_read=True)
def sidecar_of_two_gigabytes(folder: Path) -> Path:
    sparse(saved(folder, "x.json", b"{}"), 2 * GB)
    return saved(folder, "x.nii", _nifti((5, 7, 4)) + bytes(140))


@bomb()
def nifti_sparse(folder: Path) -> Path:
    return sparse(saved(folder, "x.nii", _nifti((5, 7, 4))), 2 * GB)


@bomb()
def mgz_stream_longer_than_its_header_says(folder: Path) -> Path:
    nibabel.save(nibabel.MGHImage(voxels("u1"), np.eye(4)), folder / "y.mgh")
    content = (folder / "y.mgh").read_bytes()
    (folder / "y.mgh").unlink()
    return saved(folder, "x.mgz", deflated(content, 2 * GB, "gzip"))


@bomb()
def mgh_dimensions_lie(folder: Path) -> Path:
    header = struct.pack(">7ih", 1, 2**31 - 1, 2**31 - 1, 2**31 - 1, 1, 0, 0, 0)
    return saved(folder, "x.mgh", header.ljust(284 + 1000, b"\0"))


def _nrrd(sizes: str, encoding: str, more: str = "") -> bytes:
    lines = [
        "NRRD0004",
        "type: uchar",
        "dimension: 3",
        "space: left-posterior-superior",
        f"sizes: {sizes}",
        "space directions: (1,0,0) (0,1,0) (0,0,1)",
        "space origin: (0,0,0)",
        f"encoding: {encoding}",
        *filter(None, [more]),
        "",
        "",
    ]
    return "\n".join(lines).encode()


def _metaimage(size: str, *, packed: bool, more: str = "") -> bytes:
    fields = (
        f"ObjectType = Image\nNDims = 3\nBinaryData = True\nCompressedData = {packed}\n{more}"
        f"TransformMatrix = 1 0 0 0 1 0 0 0 1\nOffset = 0 0 0\nElementSpacing = 1 1 1\nDimSize = {size}\n"
        "ElementType = MET_UCHAR\nElementDataFile = LOCAL\n"
    )
    return fields.encode()


@bomb()
def nrrd_stream_longer_than_its_header_says(folder: Path) -> Path:
    return saved(folder, "x.nrrd", _nrrd("5 7 4", "gzip") + deflated(b"", 2 * GB, "gzip"))


@bomb()
def nrrd_stream_as_long_as_its_header_says(folder: Path) -> Path:
    return saved(folder, "x.nrrd", _nrrd("1024 1024 4096", "gzip") + deflated(b"", 4 * GB, "gzip"))


@bomb()
def nrrd_sizes_lie(folder: Path) -> Path:
    return saved(folder, "x.nrrd", _nrrd("999999 999999 999999", "raw") + bytes(100))


@bomb()
def nrrd_sizes_of_ten_thousand_digits(folder: Path) -> Path:
    return saved(folder, "x.nrrd", _nrrd(f"{'9' * 10_000} 7 4", "raw") + bytes(140))


@bomb()
def nrrd_skips_far(folder: Path) -> Path:
    head = _nrrd("5 7 4", "gzip", f"byte skip: {2 * GB}")
    return saved(folder, "x.nrrd", head + deflated(b"", 3 * GB, "gzip"))


@bomb()
def nrrd_skips_a_trillion_lines(folder: Path) -> Path:
    head = _nrrd("5 7 4", "gzip", "line skip: 1000000000000")
    return saved(folder, "x.nrrd", head + deflated(b"", 2 * GB, "gzip"))


@bomb()
def nrrd_as_text_without_spaces(folder: Path) -> Path:
    path = saved(folder, "x.nrrd", _nrrd("5 7 4", "ascii"))
    path.write_bytes(path.read_bytes() + b"9" * (64 << 20))
    return path


@bomb()
def nrrd_header_without_end(folder: Path) -> Path:
    return sparse(saved(folder, "x.nrrd", _nrrd("5 7 4", "raw").rstrip()), 2 * GB)


@bomb()
def nrrd_with_a_million_pairs(folder: Path) -> Path:
    pairs = "\n".join(f"k{n}:=v" for n in range(1_000_000))
    return saved(folder, "x.nrrd", _nrrd("5 7 4", "raw", pairs) + bytes(140))


@bomb()
def nrrd_sparse(folder: Path) -> Path:
    return sparse(saved(folder, "x.nrrd", _nrrd("5 7 4", "raw")), 2 * GB)


@bomb()
def metaimage_stream_longer_than_its_header_says(folder: Path) -> Path:
    head = _metaimage("5 7 4", packed=True)
    return saved(folder, "x.mha", head + deflated(b"", 2 * GB, "zlib"))


@bomb()
def metaimage_sizes_lie(folder: Path) -> Path:
    return saved(folder, "x.mha", _metaimage("999999 999999 9999", packed=False) + bytes(140))


@bomb()
def metaimage_skips_far(folder: Path) -> Path:
    head = _metaimage("5 7 4", packed=True, more=f"HeaderSize = {2 * GB}\n")
    return saved(folder, "x.mha", head + deflated(b"", 3 * GB, "zlib"))


@bomb()
def metaimage_sparse(folder: Path) -> Path:
    return sparse(saved(folder, "x.mha", _metaimage("5 7 4", packed=False)), 2 * GB)
