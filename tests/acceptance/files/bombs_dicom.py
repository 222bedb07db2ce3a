"""Bombs: DICOM objects."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

from PIL import Image
from pydicom import uid
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.sequence import Sequence

from tests.acceptance.files.bombs import GB, bomb, deflated, saved, sparse
from tests.acceptance.files.bombs_pictures import lying_jpeg
from tests.acceptance.files.seeds import voxels
from tests.acceptance.files.seeds_dicom import blank, enhanced, made_slice, to_bytes
from tests.acceptance.files.seeds_labels import segmentation


def _dicom(folder: Path, content: bytes, name: str = "x.dcm") -> Path:
    return saved(folder, name, content)


def _data_set(content: bytes) -> int:
    """Where the data set begins in a DICOM file: behind the file meta information."""
    (length,) = struct.unpack_from("<I", content, 140)
    return 144 + int(length)


def _element(group: int, number: int, vr: bytes, value: bytes) -> bytes:
    return struct.pack("<HH2s2xI", group, number, vr, len(value)) + value


@bomb()
def dicom_deflated(folder: Path) -> Path:
    content = to_bytes(made_slice(0, SeriesNumber=1))
    at = _data_set(content)
    meta = content[:at].replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2.1.99")
    meta = meta[:140] + struct.pack("<I", struct.unpack_from("<I", content, 140)[0] + 2) + meta[144:]
    syntax = meta.index(b"1.2.840.10008.1.2.1.99")
    meta = meta[: syntax - 2] + struct.pack("<H", 22) + meta[syntax:]
    private = struct.pack("<HH2s2xI", 0x7001, 0x1001, b"OB", 2 * GB)
    return _dicom(folder, meta + deflated(content[at:] + private, 2 * GB, "raw"))


@bomb()
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


def lying(**tags: int) -> bytes:
    return to_bytes(made_slice(0, **tags))


@bomb()
def dicom_rows_and_columns_lie(folder: Path) -> Path:
    return _dicom(folder, lying(Rows=65535, Columns=65535))


@bomb()
def dicom_frames_lie(folder: Path) -> Path:
    return _dicom(folder, lying(NumberOfFrames=2**31 - 1))


@bomb()
def dicom_enhanced_frames_lie(folder: Path) -> Path:
    item = enhanced()
    item.NumberOfFrames = 2**31 - 1
    return _dicom(folder, to_bytes(item))


@bomb()
def dicom_pixel_data_longer_than_the_file(folder: Path) -> Path:
    content = lying(Rows=30000, Columns=30000)
    at = content.index(b"\xe0\x7f\x10\0OW") + 8
    return _dicom(folder, content[:at] + struct.pack("<I", 1_800_000_000) + content[at + 4 :])


@bomb()
def dicom_value_longer_than_the_file(folder: Path) -> Path:
    content = lying()
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


@bomb()
def dicom_jpeg2000_lies(folder: Path) -> Path:
    return _dicom(folder, _packed(uid.JPEG2000Lossless, lie=_lying_j2k))


@bomb()
def dicom_jpeg2000_and_header_lie(folder: Path) -> Path:
    return _dicom(folder, _packed(uid.JPEG2000Lossless, lie=_lying_j2k, Rows=65535, Columns=65535))


@bomb()
def dicom_jpegls_and_header_lie(folder: Path) -> Path:
    return _dicom(folder, _packed(uid.JPEGLSLossless, lie=lying_jpeg, Rows=65535, Columns=65535))


@bomb()
def dicom_jpeg_and_header_lie(folder: Path) -> Path:
    out = io.BytesIO()
    Image.fromarray(voxels("u1", (34, 38))).save(out, "JPEG")
    item = made_slice(0, voxels("u1", (34, 38)), Rows=65535, Columns=65535)
    item.PixelData = encapsulate([lying_jpeg(out.getvalue())])
    item["PixelData"].VR = "OB"
    item.file_meta.TransferSyntaxUID = uid.JPEGBaseline8Bit
    return _dicom(folder, to_bytes(item))


@bomb()
def dicom_rle_of_runs(folder: Path) -> Path:
    """65535 x 65535 of 8 bits as runs: a hundred-odd megabytes would be needed, a few are there."""
    item = made_slice(0, voxels("u1", (34, 38)), Rows=65535, Columns=65535)
    body = b"\x81\0" * 2_000_000
    item.PixelData = encapsulate([struct.pack("<16I", 1, 64, *[0] * 14) + body])
    item["PixelData"].VR = "OB"
    item.file_meta.TransferSyntaxUID = uid.RLELossless
    return _dicom(folder, to_bytes(item))


@bomb()
def dicom_encapsulated_frames_lie(folder: Path) -> Path:
    return _dicom(folder, _packed(uid.RLELossless, NumberOfFrames=2**31 - 1))


@bomb()
def dicom_a_million_fragments(folder: Path) -> Path:
    content = _packed(uid.RLELossless)
    at = content.index(b"\xe0\x7f\x10\0") + 12
    items = struct.pack("<HHI", 0xFFFE, 0xE000, 0) * 1_000_000
    return _dicom(folder, content[:at] + items + struct.pack("<HHI", 0xFFFE, 0xE0DD, 0))


@bomb()
def dicom_sparse_pixels(folder: Path) -> Path:
    """Two gigabytes of pixels that the header's rows and columns do not ask for."""
    content = lying()
    at = content.index(b"\xe0\x7f\x10\0OW") + 8
    path = _dicom(folder, content[:at] + struct.pack("<I", 2 * GB - 4096))
    return sparse(path, path.stat().st_size + 2 * GB - 4096)


@bomb()
def dicom_sparse_tail(folder: Path) -> Path:
    return sparse(_dicom(folder, b"\0" * 128 + b"DICM"), 2 * GB)


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


@bomb()
def dicom_5000_nested_sequences_of_defined_length(folder: Path) -> Path:
    return _dicom(folder, _with(lying(), _nested(5_000, defined=True)))


@bomb()
def dicom_5000_nested_sequences_of_undefined_length(folder: Path) -> Path:
    return _dicom(folder, _with(lying(), _nested(5_000, defined=False)))


@bomb()
def dicom_500000_nested_sequences_of_defined_length(folder: Path) -> Path:
    return _dicom(folder, _with(lying(), _nested(500_000, defined=True)))


@bomb()
def dicom_500000_nested_sequences_of_undefined_length(folder: Path) -> Path:
    return _dicom(folder, _with(lying(), _nested(500_000, defined=False)))


@bomb(may_be_read=True)
def dicom_a_million_elements(folder: Path) -> Path:
    elements = b"".join(
        struct.pack("<HH2sH2s", 0x0009 + 2 * (n >> 15), 0x1000 + (n & 0x7FFF), b"LO", 2, b"x ")
        for n in range(1_000_000)
    )
    return _dicom(folder, _with(lying(), elements))


@bomb(may_be_read=True)
def dicom_a_million_items(folder: Path) -> Path:
    items = struct.pack("<HHI", 0xFFFE, 0xE000, 0) * 1_000_000
    return _dicom(folder, _with(lying(), _element(0x0008, 0x1140, b"SQ", items)))


@bomb()
def dicom_a_position_of_a_million_numbers(folder: Path) -> Path:
    content = lying()
    at = content.index(b"\x20\0\x32\0DS")
    (length,) = struct.unpack_from("<H", content, at + 6)
    value = b"\\".join([b"1.25"] * 1_000_000) + b" "
    element = struct.pack("<HH2s2xI", 0x0020, 0x0032, b"UT", len(value)) + value
    return _dicom(folder, content[:at] + element + content[at + 8 + length :])


@bomb()
def dicomdir_in_a_circle(folder: Path) -> Path:
    item = blank(uid.MediaStorageDirectoryStorage)
    record = Dataset()
    record.OffsetOfTheNextDirectoryRecord = record.OffsetOfReferencedLowerLevelDirectoryEntity = 400
    record.RecordInUseFlag, record.DirectoryRecordType = 0xFFFF, "PATIENT"
    item.OffsetOfTheFirstDirectoryRecordOfTheRootDirectoryEntity = 400
    item.DirectoryRecordSequence = Sequence([record])
    return saved(folder, "DICOMDIR", to_bytes(item))


@bomb(labels=True)
def seg_frames_lie(folder: Path) -> Path:
    item = segmentation("BINARY")
    item.NumberOfFrames = 2**31 - 1
    return _dicom(folder, to_bytes(item))


@bomb(labels=True)
def seg_positions_span_a_kilometre(folder: Path) -> Path:
    """Five small frames whose smallest common grid has billions of voxels."""
    item = segmentation("BINARY")
    for n, group in enumerate(item.PerFrameFunctionalGroupsSequence):
        group.PlanePositionSequence[0].ImagePositionPatient = [0, 0, 1e6 * (n > 0) + n * 0.01]
    return _dicom(folder, to_bytes(item))
