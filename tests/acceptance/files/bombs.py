"""Files that are small, or say that they are, and ask for a great deal.

Every maker writes into an empty folder and returns what is to be read.
"""

from __future__ import annotations

import io
import json
import os
import struct
import zipfile
import zlib
from collections.abc import Callable
from functools import cache
from pathlib import Path

import nibabel
import numpy as np
from PIL import Image
from pydicom import uid
from pydicom.encaps import encapsulate

from tests.acceptance.files.seeds import voxels
from tests.acceptance.files.seeds_dicom import blank, enhanced, made_slice, to_bytes
from tests.acceptance.files.seeds_labels import segmentation

GB = 1 << 30
_BLOCK = 16 << 20
Maker = Callable[[Path], Path]
BOMBS: dict[str, Maker] = {}
# Large, yet honest: reading them is right too, as long as the limits hold.
MAY_BE_READ = set()
LABELS = set()


def _bomb(*, may_be_read: bool = False, labels: bool = False) -> Callable[[Maker], Maker]:
    def note(make: Maker) -> Maker:
        name = make.__name__.replace("_", " ")
        BOMBS[name] = make
        MAY_BE_READ.update({name} if may_be_read else ())
        LABELS.update({name} if labels else ())
        return make

    return note


@cache
def _packed_block() -> bytes:
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    return packer.compress(bytes(_BLOCK)) + packer.flush(zlib.Z_FULL_FLUSH)


def deflated(start: bytes, zeros: int, kind: str) -> bytes:
    """``start``, then so many zeros (whole blocks of them), as ``"raw"``, ``"zlib"`` or ``"gzip"``."""
    count = zeros // _BLOCK
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    body = packer.compress(start) + packer.flush(zlib.Z_FULL_FLUSH) + _packed_block() * count + b"\x03\x00"
    if kind == "raw":
        return body
    block, check = bytes(_BLOCK), zlib.adler32(start) if kind == "zlib" else zlib.crc32(start)
    for _ in range(count):
        check = zlib.adler32(block, check) if kind == "zlib" else zlib.crc32(block, check)
    if kind == "zlib":
        return b"\x78\xda" + body + struct.pack(">I", check)
    size = (len(start) + count * _BLOCK) & 0xFFFFFFFF
    return b"\x1f\x8b\x08\0\0\0\0\0\0\xff" + body + struct.pack("<II", check, size)


def _saved(folder: Path, name: str, content: bytes) -> Path:
    path = folder / name
    path.write_bytes(content)
    return path


def _sparse(path: Path, size: int) -> Path:
    """Grown to so many bytes that take no room on the disk."""
    os.truncate(path, size)
    return path


# NIfTI


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


@_bomb()
def nifti_dimensions_lie_plain(folder: Path) -> Path:
    return _saved(folder, "x.nii", _nifti((32767, 32767, 32767)) + bytes(1000))


@_bomb()
def nifti_dimensions_lie_packed(folder: Path) -> Path:
    return _saved(folder, "x.nii.gz", deflated(_nifti((32767, 32767, 300)), _BLOCK, "gzip"))


@_bomb()
def nifti2_dimensions_overflow(folder: Path) -> Path:
    return _saved(folder, "x.nii", _nifti((2**40, 2**40, 2**40)) + bytes(1000))


@_bomb()
def nifti_stream_longer_than_its_header_says(folder: Path) -> Path:
    return _saved(folder, "x.nii.gz", deflated(_nifti((5, 7, 4)), 2 * GB, "gzip"))


@_bomb()
def nifti_stream_as_long_as_its_header_says(folder: Path) -> Path:
    return _saved(folder, "x.nii.gz", deflated(_nifti((1024, 1024, 4096)), 4 * GB, "gzip"))


@_bomb()
def nifti_voxels_far_behind_the_header(folder: Path) -> Path:
    content = bytearray(_nifti((5, 7, 4)))
    content[108:112] = struct.pack("<f", 1.5e9)
    return _saved(folder, "x.nii.gz", deflated(bytes(content), 2 * GB, "gzip"))


@_bomb()
def nifti_a_million_extensions(folder: Path) -> Path:
    extension = b"\1\0\0\0" + struct.pack("<2i8x", 16, 6) * 1_000_000
    return _saved(folder, "x.nii", _nifti((5, 7, 4), extension))


@_bomb(labels=True, may_be_read=True)
def nifti_names_nested_a_hundred_thousand_deep(folder: Path) -> Path:
    text = b'{"medseg_labels": ' + b"[" * 100_000
    size = -(-(8 + len(text)) // 16) * 16
    extension = b"\1\0\0\0" + struct.pack("<2i", size, 6) + text.ljust(size - 8, b"\0")
    return _saved(folder, "x.nii", _nifti((5, 7, 4), extension) + bytes(140))


@_bomb(labels=True, may_be_read=True)
def sidecar_nested_a_hundred_thousand_deep(folder: Path) -> Path:
    _saved(folder, "x.json", b'{"labels": ' + b"[" * 100_000)
    return _saved(folder, "x.nii", _nifti((5, 7, 4)) + bytes(140))


@_bomb(labels=True, may_be_read=True)
def sidecar_of_two_gigabytes(folder: Path) -> Path:
    _sparse(_saved(folder, "x.json", b"{}"), 2 * GB)
    return _saved(folder, "x.nii", _nifti((5, 7, 4)) + bytes(140))


@_bomb()
def nifti_sparse(folder: Path) -> Path:
    return _sparse(_saved(folder, "x.nii", _nifti((5, 7, 4))), 2 * GB)


@_bomb()
def mgz_stream_longer_than_its_header_says(folder: Path) -> Path:
    nibabel.save(nibabel.MGHImage(voxels("u1"), np.eye(4)), folder / "y.mgh")
    content = (folder / "y.mgh").read_bytes()
    (folder / "y.mgh").unlink()
    return _saved(folder, "x.mgz", deflated(content, 2 * GB, "gzip"))


@_bomb()
def mgh_dimensions_lie(folder: Path) -> Path:
    header = struct.pack(">7ih", 1, 2**31 - 1, 2**31 - 1, 2**31 - 1, 1, 0, 0, 0)
    return _saved(folder, "x.mgh", header.ljust(284 + 1000, b"\0"))


# NRRD and MetaImage


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


@_bomb()
def nrrd_stream_longer_than_its_header_says(folder: Path) -> Path:
    return _saved(folder, "x.nrrd", _nrrd("5 7 4", "gzip") + deflated(b"", 2 * GB, "gzip"))


@_bomb()
def nrrd_stream_as_long_as_its_header_says(folder: Path) -> Path:
    return _saved(folder, "x.nrrd", _nrrd("1024 1024 4096", "gzip") + deflated(b"", 4 * GB, "gzip"))


@_bomb()
def nrrd_sizes_lie(folder: Path) -> Path:
    return _saved(folder, "x.nrrd", _nrrd("999999 999999 999999", "raw") + bytes(100))


@_bomb()
def nrrd_sizes_of_ten_thousand_digits(folder: Path) -> Path:
    return _saved(folder, "x.nrrd", _nrrd(f"{'9' * 10_000} 7 4", "raw") + bytes(140))


@_bomb()
def nrrd_skips_far(folder: Path) -> Path:
    head = _nrrd("5 7 4", "gzip", f"byte skip: {2 * GB}")
    return _saved(folder, "x.nrrd", head + deflated(b"", 3 * GB, "gzip"))


@_bomb()
def nrrd_skips_a_trillion_lines(folder: Path) -> Path:
    head = _nrrd("5 7 4", "gzip", "line skip: 1000000000000")
    return _saved(folder, "x.nrrd", head + deflated(b"", 2 * GB, "gzip"))


@_bomb()
def nrrd_as_text_without_spaces(folder: Path) -> Path:
    path = _saved(folder, "x.nrrd", _nrrd("5 7 4", "ascii"))
    path.write_bytes(path.read_bytes() + b"9" * (64 << 20))
    return path


@_bomb()
def nrrd_header_without_end(folder: Path) -> Path:
    return _sparse(_saved(folder, "x.nrrd", _nrrd("5 7 4", "raw").rstrip()), 2 * GB)


@_bomb()
def nrrd_with_a_million_pairs(folder: Path) -> Path:
    pairs = "\n".join(f"k{n}:=v" for n in range(1_000_000))
    return _saved(folder, "x.nrrd", _nrrd("5 7 4", "raw", pairs) + bytes(140))


@_bomb()
def nrrd_sparse(folder: Path) -> Path:
    return _sparse(_saved(folder, "x.nrrd", _nrrd("5 7 4", "raw")), 2 * GB)


@_bomb()
def metaimage_stream_longer_than_its_header_says(folder: Path) -> Path:
    head = _metaimage("5 7 4", packed=True)
    return _saved(folder, "x.mha", head + deflated(b"", 2 * GB, "zlib"))


@_bomb()
def metaimage_sizes_lie(folder: Path) -> Path:
    return _saved(folder, "x.mha", _metaimage("999999 999999 9999", packed=False) + bytes(140))


@_bomb()
def metaimage_skips_far(folder: Path) -> Path:
    head = _metaimage("5 7 4", packed=True, more=f"HeaderSize = {2 * GB}\n")
    return _saved(folder, "x.mha", head + deflated(b"", 3 * GB, "zlib"))


@_bomb()
def metaimage_sparse(folder: Path) -> Path:
    return _sparse(_saved(folder, "x.mha", _metaimage("5 7 4", packed=False)), 2 * GB)


# Pictures


def _png(width: int, height: int, *chunks: tuple[bytes, bytes], depth: int = 8, interlaced: int = 0) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, depth, 0, 0, 0, interlaced)
    whole = ((b"IHDR", header), *chunks, (b"IEND", b""))
    parts = (struct.pack(">I", len(b)) + k + b + struct.pack(">I", zlib.crc32(k + b)) for k, b in whole)
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


@_bomb()
def png_of_four_gigapixels(folder: Path) -> Path:
    return _saved(folder, "x.png", _png(65535, 65535, (b"IDAT", deflated(b"", 4 * GB, "zlib"))))


@_bomb()
def png_of_a_trillion_pixels(folder: Path) -> Path:
    return _saved(folder, "x.png", _png(2**31 - 1, 2**31 - 1, (b"IDAT", zlib.compress(bytes(100)))))


@_bomb()
def png_of_200_megapixels_and_no_data(folder: Path) -> Path:
    content = _png(16000, 14000, (b"IDAT", zlib.compress(bytes(1000))), depth=16)
    return _saved(folder, "x.png", content)


@_bomb()
def png_interlaced(folder: Path) -> Path:
    content = _png(60000, 60000, (b"IDAT", zlib.compress(bytes(1000))), interlaced=1)
    return _saved(folder, "x.png", content)


@_bomb(may_be_read=True)
def png_with_text_of_two_gigabytes(folder: Path) -> Path:
    picture = (b"IDAT", zlib.compress(bytes(9 * 14)))
    text = (b"zTXt", b"Comment\0\0" + deflated(b"", 2 * GB, "zlib"))
    return _saved(folder, "x.png", _png(13, 9, text, picture))


@_bomb(may_be_read=True)
def png_of_a_million_chunks(folder: Path) -> Path:
    content = _png(13, 9, *[(b"tEXt", b"k\0v")] * 1_000_000, (b"IDAT", zlib.compress(bytes(9 * 14))))
    return _saved(folder, "x.png", content)


@_bomb()
def png_chunk_longer_than_the_file(folder: Path) -> Path:
    return _saved(folder, "x.png", _png(13, 9)[:33] + struct.pack(">I", 2**31 - 1) + b"IDAT" + bytes(100))


@_bomb()
def jpeg_size_lies(folder: Path) -> Path:
    out = io.BytesIO()
    Image.fromarray(voxels("u1", (9, 13))).save(out, "JPEG")
    return _saved(folder, "x.jpg", lying_jpeg(out.getvalue()))


def lying_jpeg(content: bytes) -> bytes:
    """A JPEG or JPEG-LS stream whose frame header says 65535 x 65535."""
    mark = next(m for m in (b"\xff\xc0", b"\xff\xc1", b"\xff\xc3", b"\xff\xf7") if m in content)
    at = content.index(mark)
    return content[: at + 5] + b"\xff\xff\xff\xff" + content[at + 9 :]


def _tiff(*tags: tuple[int, int, int, int], body: bytes, following: int = 0) -> bytes:
    """A classic TIFF: (tag, type, count, value) each; the body begins at byte 8."""
    entries = b"".join(struct.pack("<HHII", *tag) for tag in sorted(tags))
    at = 8 + len(body) + len(body) % 2
    start = b"II*\0" + struct.pack("<I", at) + body.ljust(at - 8, b"\0")
    return start + struct.pack("<H", len(tags)) + entries + struct.pack("<I", following)


def _page(width: int, height: int, body: bytes, compression: int, following: int = 0) -> bytes:
    return _tiff(
        (256, 4, 1, width), (257, 4, 1, height), (258, 3, 1, 8), (259, 3, 1, compression), (262, 3, 1, 1),
        (273, 4, 1, 8), (277, 3, 1, 1), (278, 4, 1, height), (279, 4, 1, len(body)),
        body=body, following=following,
    )  # fmt: skip


@_bomb()
def tiff_of_four_gigapixels(folder: Path) -> Path:
    return _saved(folder, "x.tif", _page(65535, 65535, deflated(b"", 4 * GB, "zlib"), 8))


@_bomb()
def tiff_strip_longer_than_the_page(folder: Path) -> Path:
    return _saved(folder, "x.tif", _page(13, 9, deflated(b"", 2 * GB, "zlib"), 8))


@_bomb()
def tiff_size_lies(folder: Path) -> Path:
    return _saved(folder, "x.tif", _page(2**32 - 1, 2**32 - 1, bytes(117), 1))


@_bomb()
def tiff_pages_in_a_circle(folder: Path) -> Path:
    return _saved(folder, "x.tif", _page(13, 9, bytes(117), 1, following=8 + 118))


@_bomb()
def tiff_tag_of_a_billion_values(folder: Path) -> Path:
    content = _tiff(
        (256, 4, 1, 13), (257, 4, 1, 9), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1), (277, 3, 1, 1),
        (273, 4, 500_000_000, 8), (278, 4, 1, 9), (279, 4, 500_000_000, 8),
        body=bytes(117),
    )  # fmt: skip
    path = _saved(folder, "x.tif", content)
    return _sparse(path, 3 * GB)


# DICOM


def _dicom(folder: Path, content: bytes, name: str = "x.dcm") -> Path:
    return _saved(folder, name, content)


def _data_set(content: bytes) -> int:
    """Where the data set begins in a DICOM file: behind the file meta information."""
    (length,) = struct.unpack_from("<I", content, 140)
    return 144 + int(length)


def _element(group: int, number: int, vr: bytes, value: bytes) -> bytes:
    return struct.pack("<HH2s2xI", group, number, vr, len(value)) + value


@_bomb()
def dicom_deflated(folder: Path) -> Path:
    content = to_bytes(made_slice(0, SeriesNumber=1))
    at = _data_set(content)
    meta = content[:at].replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2.1.99")
    meta = meta[:140] + struct.pack("<I", struct.unpack_from("<I", content, 140)[0] + 2) + meta[144:]
    syntax = meta.index(b"1.2.840.10008.1.2.1.99")
    meta = meta[: syntax - 2] + struct.pack("<H", 22) + meta[syntax:]
    private = struct.pack("<HH2s2xI", 0x7001, 0x1001, b"OB", 2 * GB)
    return _dicom(folder, meta + deflated(content[at:] + private, 2 * GB, "raw"))


@_bomb()
def dicom_deflated_pixels(folder: Path) -> Path:
    item = made_slice(0)
    item.Rows = item.Columns = 32768
    item.BitsAllocated, item.BitsStored, item.HighBit = 16, 16, 15
    item.PixelData = b"\0\0"
    content = to_bytes(item, uid.DeflatedExplicitVRLittleEndian)
    at = _data_set(content)
    inner = zlib.decompress(content[at:], -15)
    inner = inner[: inner.index(b"\xe0\x7f\x10\0OW") + 8] + struct.pack("<I", 2 * GB)
    return _dicom(folder, content[:at] + deflated(inner, 2 * GB, "raw"))


def _lying(**tags: int) -> bytes:
    return to_bytes(made_slice(0, **tags))


@_bomb()
def dicom_rows_and_columns_lie(folder: Path) -> Path:
    return _dicom(folder, _lying(Rows=65535, Columns=65535))


@_bomb()
def dicom_frames_lie(folder: Path) -> Path:
    return _dicom(folder, _lying(NumberOfFrames=2**31 - 1))


@_bomb()
def dicom_enhanced_frames_lie(folder: Path) -> Path:
    item = enhanced()
    item.NumberOfFrames = 2**31 - 1
    return _dicom(folder, to_bytes(item))


@_bomb()
def dicom_pixel_data_longer_than_the_file(folder: Path) -> Path:
    content = _lying(Rows=30000, Columns=30000)
    at = content.index(b"\xe0\x7f\x10\0OW") + 8
    return _dicom(folder, content[:at] + struct.pack("<I", 1_800_000_000) + content[at + 4 :])


@_bomb()
def dicom_value_longer_than_the_file(folder: Path) -> Path:
    content = _lying()
    at = content.index(b"\x10\0\x10\0PN") + 4
    return _dicom(folder, content[:at] + struct.pack("<2s2xI", b"UT", 0x7FFFFFFE) + content[at + 4 :])


def _packed(syntax: str, *, lie: Callable[[bytes], bytes] = lambda stream: stream, **tags: int) -> bytes:
    """A compressed slice, its stream changed, its header too."""
    item = made_slice(0)
    item.compress(syntax, generate_instance_uid=False)
    frame = item.PixelData[16:]  # behind an empty offset table and the fragment's own mark and length
    item.PixelData = encapsulate([lie(frame)], has_bot=False)
    for name, value in tags.items():
        setattr(item, name, value)
    return to_bytes(item)


def _lying_j2k(stream: bytes) -> bytes:
    at = stream.index(b"\xff\x4f\xff\x51") + 8
    data = bytearray(stream)
    for field in (0, 4, 16, 20):  # Xsiz, Ysiz, XTsiz, YTsiz
        data[at + field : at + field + 4] = struct.pack(">I", 65535)
    return bytes(data)


@_bomb()
def dicom_jpeg2000_lies(folder: Path) -> Path:
    return _dicom(folder, _packed(uid.JPEG2000Lossless, lie=_lying_j2k))


@_bomb()
def dicom_jpeg2000_and_header_lie(folder: Path) -> Path:
    return _dicom(folder, _packed(uid.JPEG2000Lossless, lie=_lying_j2k, Rows=65535, Columns=65535))


@_bomb()
def dicom_jpegls_and_header_lie(folder: Path) -> Path:
    return _dicom(folder, _packed(uid.JPEGLSLossless, lie=lying_jpeg, Rows=65535, Columns=65535))


@_bomb()
def dicom_jpeg_and_header_lie(folder: Path) -> Path:
    out = io.BytesIO()
    Image.fromarray(voxels("u1", (34, 38))).save(out, "JPEG")
    item = made_slice(0, voxels("u1", (34, 38)), Rows=65535, Columns=65535)
    item.PixelData = encapsulate([lying_jpeg(out.getvalue())])
    item["PixelData"].VR = "OB"
    item.file_meta.TransferSyntaxUID = uid.JPEGBaseline8Bit
    return _dicom(folder, to_bytes(item))


@_bomb()
def dicom_rle_of_runs(folder: Path) -> Path:
    """65535 x 65535 of 8 bits as runs: a hundred-odd megabytes would be needed, a few are there."""
    item = made_slice(0, voxels("u1", (34, 38)), Rows=65535, Columns=65535)
    body = b"\x81\0" * 2_000_000
    item.PixelData = encapsulate([struct.pack("<16I", 1, 64, *[0] * 14) + body])
    item["PixelData"].VR = "OB"
    item.file_meta.TransferSyntaxUID = uid.RLELossless
    return _dicom(folder, to_bytes(item))


@_bomb()
def dicom_encapsulated_frames_lie(folder: Path) -> Path:
    return _dicom(folder, _packed(uid.RLELossless, NumberOfFrames=2**31 - 1))


@_bomb()
def dicom_a_million_fragments(folder: Path) -> Path:
    content = _packed(uid.RLELossless)
    at = content.index(b"\xe0\x7f\x10\0") + 12
    items = struct.pack("<HHI", 0xFFFE, 0xE000, 0) * 1_000_000
    return _dicom(folder, content[:at] + items + struct.pack("<HHI", 0xFFFE, 0xE0DD, 0))


@_bomb()
def dicom_sparse_pixels(folder: Path) -> Path:
    """Two gigabytes of pixels that the header's rows and columns do not ask for."""
    content = _lying()
    at = content.index(b"\xe0\x7f\x10\0OW") + 8
    path = _dicom(folder, content[:at] + struct.pack("<I", 2 * GB - 4096))
    return _sparse(path, path.stat().st_size + 2 * GB - 4096)


@_bomb()
def dicom_sparse_tail(folder: Path) -> Path:
    return _sparse(_dicom(folder, b"\0" * 128 + b"DICM"), 2 * GB)


def _nested(depth: int, *, defined: bool) -> bytes:
    """A sequence in a sequence in a sequence, explicit little endian."""
    if not defined:
        start = struct.pack("<HH2s2xI", 0x0008, 0x1140, b"SQ", 0xFFFFFFFF)
        start += struct.pack("<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF)
        end = struct.pack("<HHI", 0xFFFE, 0xE00D, 0) + struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)
        return start * depth + end * depth
    inner = 20 * depth  # an element's head of 12 bytes and an item's of 8, each level
    levels = []
    for _ in range(depth):
        inner -= 20
        item = struct.pack("<HHI", 0xFFFE, 0xE000, inner)
        levels.append(struct.pack("<HH2s2xI", 0x0008, 0x1140, b"SQ", inner + 8) + item)
    return b"".join(levels)


def _with(content: bytes, extra: bytes) -> bytes:
    """An element put at its place in group 0008, before the rest of a slice."""
    at = content.index(b"\x10\0\x10\0PN")
    return content[:at] + extra + content[at:]


@_bomb()
def dicom_5000_nested_sequences_of_defined_length(folder: Path) -> Path:
    return _dicom(folder, _with(_lying(), _nested(5_000, defined=True)))


@_bomb()
def dicom_5000_nested_sequences_of_undefined_length(folder: Path) -> Path:
    return _dicom(folder, _with(_lying(), _nested(5_000, defined=False)))


@_bomb()
def dicom_500000_nested_sequences_of_defined_length(folder: Path) -> Path:
    return _dicom(folder, _with(_lying(), _nested(500_000, defined=True)))


@_bomb()
def dicom_500000_nested_sequences_of_undefined_length(folder: Path) -> Path:
    return _dicom(folder, _with(_lying(), _nested(500_000, defined=False)))


@_bomb(may_be_read=True)
def dicom_a_million_elements(folder: Path) -> Path:
    elements = b"".join(
        struct.pack("<HH2sH2s", 0x0009 + 2 * (n >> 15), 0x1000 + (n & 0x7FFF), b"LO", 2, b"x ")
        for n in range(1_000_000)
    )
    return _dicom(folder, _with(_lying(), elements))


@_bomb(may_be_read=True)
def dicom_a_million_items(folder: Path) -> Path:
    items = struct.pack("<HHI", 0xFFFE, 0xE000, 0) * 1_000_000
    return _dicom(folder, _with(_lying(), _element(0x0008, 0x1140, b"SQ", items)))


@_bomb()
def dicom_a_position_of_a_million_numbers(folder: Path) -> Path:
    content = _lying()
    at = content.index(b"\x20\0\x32\0DS")
    (length,) = struct.unpack_from("<H", content, at + 6)
    value = b"\\".join([b"1.25"] * 1_000_000) + b" "
    element = struct.pack("<HH2s2xI", 0x0020, 0x0032, b"UT", len(value)) + value
    return _dicom(folder, content[:at] + element + content[at + 8 + length :])


@_bomb()
def dicomdir_in_a_circle(folder: Path) -> Path:
    item = blank(uid.MediaStorageDirectoryStorage)
    from pydicom.dataset import Dataset
    from pydicom.sequence import Sequence

    record = Dataset()
    record.OffsetOfTheNextDirectoryRecord = record.OffsetOfReferencedLowerLevelDirectoryEntity = 400
    record.RecordInUseFlag, record.DirectoryRecordType = 0xFFFF, "PATIENT"
    item.OffsetOfTheFirstDirectoryRecordOfTheRootDirectoryEntity = 400
    item.DirectoryRecordSequence = Sequence([record])
    return _saved(folder, "DICOMDIR", to_bytes(item))


@_bomb(labels=True)
def seg_frames_lie(folder: Path) -> Path:
    item = segmentation("BINARY")
    item.NumberOfFrames = 2**31 - 1
    return _dicom(folder, to_bytes(item))


@_bomb(labels=True)
def seg_positions_span_a_kilometre(folder: Path) -> Path:
    """Five small frames whose smallest common grid has billions of voxels."""
    item = segmentation("BINARY")
    for n, group in enumerate(item.PerFrameFunctionalGroupsSequence):
        group.PlanePositionSequence[0].ImagePositionPatient = [0, 0, 1e6 * (n > 0) + n * 0.01]
    return _dicom(folder, to_bytes(item))


# Archives


def _archive(folder: Path, members: dict[str, bytes]) -> Path:
    path = folder / "x.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def _archive_of_deflated(members: list[tuple[str, bytes, int, int]]) -> bytes:
    """A zip archive of raw deflate streams: (name, stream, size it claims, times the stream is listed)."""
    body, listed, count = b"", b"", 0
    for name, stream, claimed, times in members:
        at = len(body)
        fields = struct.pack("<HHHHHIIIHH", 20, 0, 8, 0, 0x21, 0, len(stream), claimed, len(name), 0)
        body += b"PK\3\4" + fields + name.encode() + stream
        for _ in range(times):
            listed += (
                b"PK\1\2"
                + struct.pack("<H", 20)
                + fields
                + struct.pack("<HHHII", 0, 0, 0, 0, at)
                + name.encode()
            )
            count += 1
    end = struct.pack("<HHHHIIH", 0, 0, count & 0xFFFF, count & 0xFFFF, len(listed), len(body), 0)
    return body + listed + b"PK\5\6" + end


@_bomb()
def zip_member_of_two_gigabytes(folder: Path) -> Path:
    head = bytes(128) + b"DICM"
    stream = deflated(head, 2 * GB, "raw")
    return _saved(folder, "x.zip", _archive_of_deflated([("a.dcm", stream, 2 * GB + 132, 1)]))


@_bomb()
def zip_member_that_lies_about_its_size(folder: Path) -> Path:
    stream = deflated(bytes(128) + b"DICM", 2 * GB, "raw")
    return _saved(folder, "x.zip", _archive_of_deflated([("a.dcm", stream, 4000, 1)]))


@_bomb()
def zip_of_one_member_listed_60000_times(folder: Path) -> Path:
    stream = deflated(bytes(128) + b"DICM", _BLOCK, "raw")
    return _saved(folder, "x.zip", _archive_of_deflated([("a.dcm", stream, _BLOCK + 132, 60_000)]))


@_bomb()
def zip_of_a_hundred_thousand_members(folder: Path) -> Path:
    return _archive(folder, {f"{n}": b"" for n in range(100_000)})


@_bomb()
def zip_in_zip_in_zip(folder: Path) -> Path:
    inner = _archive_of_deflated([("a.dcm", deflated(bytes(128) + b"DICM", 2 * GB, "raw"), 2 * GB + 132, 1)])
    for _ in range(5):
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
            for n in range(10):
                archive.writestr(f"{n}.zip", inner)
        inner = out.getvalue()
        if len(inner) > 4 << 20:
            break
    return _saved(folder, "x.zip", inner)


@_bomb()
def zip_member_whose_slice_lies(folder: Path) -> Path:
    return _archive(folder, {"a.dcm": _lying(Rows=65535, Columns=65535)})


@_bomb()
def a_folder_of_mixed_bombs(folder: Path) -> Path:
    place = folder / "study"
    place.mkdir()
    dicom_deflated(place).rename(place / "deflated.dcm")
    dicom_500000_nested_sequences_of_defined_length(place).rename(place / "nested.dcm")
    dicom_sparse_tail(place).rename(place / "tail.dcm")
    (place / "facts.json").write_text(json.dumps({}))
    return place
