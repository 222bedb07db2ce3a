"""NIfTI files that are wrong in one place, each by name: refused, or read as nibabel reads them."""

from __future__ import annotations

import gzip
import struct
import time
from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pytest

import medseg
from medseg import Volume

NAN, INF = float("nan"), float("inf")
SECONDS = 1.0

# Byte offset in a NIfTI-1 header, how to pack, the values, and the code of the refusal.
REFUSED: dict[str, tuple[int, str, tuple[object, ...], str]] = {
    "sizeof_hdr is 347": (0, "<i", (347,), "bad-header"),
    "sizeof_hdr is 540 in a NIfTI-1 file": (0, "<i", (540,), "bad-header"),
    "sizeof_hdr is 0": (0, "<i", (0,), "bad-header"),
    "no dimensions": (40, "<h", (0,), "bad-header"),
    "eight dimensions": (40, "<h", (8,), "bad-header"),
    "a negative number of dimensions": (40, "<h", (-3,), "bad-header"),
    "byte-swapped dimensions": (40, ">4h", (3, 5, 7, 4), "bad-header"),
    "a dimension of 0": (46, "<h", (0,), "bad-header"),
    "a negative dimension": (42, "<h", (-5,), "bad-header"),
    "one slice more than there is": (46, "<h", (5000,), "truncated"),
    "a volume of terabytes": (42, "<3h", (32767, 32767, 32767), "truncated"),
    "a fourth dimension that is not there": (40, "<5h", (4, 5, 7, 4, 99), "four-dimensional"),
    "a dimension less": (40, "<h", (2,), ""),
    "half the slices": (46, "<h", (1,), ""),
    "data type 0": (70, "<h", (0,), "bad-header"),
    "data type 3": (70, "<h", (3,), "bad-header"),
    "single bits": (70, "<2h", (1, 1), "unsupported-encoding"),
    "128-bit floats": (70, "<2h", (1536, 128), "unsupported-encoding"),
    "complex numbers": (70, "<2h", (32, 64), "not-an-image"),
    "wide complex numbers": (70, "<2h", (1792, 128), "not-an-image"),
    "colours that are not there": (70, "<2h", (128, 24), "truncated"),
    "a wider data type than the file holds": (70, "<2h", (64, 64), "truncated"),
    "bitpix of another type": (72, "<h", (8,), "bad-header"),
    "bitpix of 0": (72, "<h", (0,), "bad-header"),
    "voxels inside the header": (108, "<f", (100.0,), "bad-header"),
    "voxels at the beginning of the file": (108, "<f", (0.0,), "bad-header"),
    "voxels before the file": (108, "<f", (-352.0,), "bad-header"),
    "voxels behind the end of the file": (108, "<f", (1e6,), "truncated"),
    "voxels at no number": (108, "<f", (NAN,), "bad-header"),
    "voxels at infinity": (108, "<f", (INF,), "bad-header"),
    "voxels between two bytes": (108, "<f", (352.5,), "bad-header"),
    "an infinite slope": (112, "<f", (INF,), "bad-header"),
    "an intercept that is no number": (112, "<2f", (2.0, NAN), "bad-header"),
    "a slope that overflows": (112, "<f", (3e38,), "non-finite"),
    "an unknown unit of length": (123, "<B", (7,), "bad-header"),
    "an sform that is not finite": (280, "<f", (NAN,), "bad-header"),
    "an sform with an infinite offset": (292, "<f", (INF,), "bad-header"),
    "an sform of zeros": (280, "<12f", (0.0,) * 12, "bad-header"),
    "an sform with a row of zeros": (312, "<4f", (0.0,) * 4, "bad-header"),
    "an sform with two equal columns": (280, "<12f", (1, 1, 0, 0, 0, 0, 1, 0, 1, 1, 0, 0), "bad-header"),
    "a sheared sform": (280, "<12f", (1, 0.3, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0), "shear"),
    "an unknown sform code": (254, "<h", (77,), "bad-header"),
    "a negative qform code": (252, "<h", (-1,), "bad-header"),
    "a damaged mark": (344, "<4s", (b"n+3\0",), "bad-header"),
    "no mark": (344, "<4s", (bytes(4),), "bad-header"),
    "the mark of a pair in a single file": (344, "<4s", (b"ni1\0",), "bad-header"),
    "the mark of NIfTI-2": (344, "<4s", (b"n+2\0",), "bad-header"),
}
# The same in a file whose qform alone is set.
REFUSED_QFORM: dict[str, tuple[int, str, tuple[object, ...], str]] = {
    "a voxel size of 0": (80, "<f", (0.0,), "bad-header"),
    "a negative voxel size": (84, "<f", (-1.0,), "bad-header"),
    "a voxel size that is no number": (88, "<f", (NAN,), "bad-header"),
    "an infinite voxel size": (88, "<f", (INF,), "bad-header"),
    "a quaternion longer than 1": (256, "<3f", (0.9, 0.9, 0.9), "bad-header"),
    "a quaternion that is no number": (256, "<f", (NAN,), "bad-header"),
    "a handedness that is neither -1 nor 1": (76, "<f", (-2e16,), "bad-header"),
    "an offset that is no number": (268, "<f", (NAN,), "bad-header"),
}
# Odd, but not wrong: nibabel's voxels and affine.
LEGAL: dict[str, tuple[int, str, tuple[object, ...]]] = {
    "a trailing dimension of 1": (40, "<5h", (4, 5, 7, 4, 1)),
    "seven dimensions": (40, "<8h", (7, 5, 7, 4, 1, 1, 1, 1)),
    "dimensions that do not count": (48, "<4h", (9, 0, -1, 3)),
    "qfac of 0": (76, "<f", (0.0,)),
    "a slope of 0": (112, "<2f", (0.0, 5.0)),
    "a slope that is no number": (112, "<2f", (NAN, 1.0)),
    "seconds, and no unit of length": (123, "<B", (8,)),
    "millimetres and milliseconds": (123, "<B", (18,)),
    "an unknown intent": (68, "<h", (3999,)),
    "extension bytes of another mind": (348, "<4B", (7, 7, 7, 7)),
    "negative voxel sizes beside an sform": (80, "<3f", (-0.7, 1.1, 2.3)),
}


@pytest.fixture
def scan(tmp_path: Path, oblique: Callable[..., Volume]) -> Path:
    volume = oblique()
    image = nibabel.Nifti1Image(volume.data[0], volume.geometry.affine)
    image.set_qform(volume.geometry.affine, 1)
    nibabel.save(image, tmp_path / "scan.nii")
    return tmp_path / "scan.nii"


def _patch(path: Path, offset: int, layout: str, *values: object) -> None:
    content = bytearray(path.read_bytes())
    struct.pack_into(layout, content, offset, *values)
    path.write_bytes(bytes(content))


def _refuse(path: Path, code: str) -> None:
    started = time.process_time()
    with pytest.raises(medseg.InputRefused, match=path.name) as refusal:
        medseg.read(path)
    assert time.process_time() - started < SECONDS
    assert refusal.value.code == code


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("fault", REFUSED)
def test_a_wrong_header_is_refused_by_name(scan: Path, fault: str, packed: bool) -> None:
    offset, layout, values, code = REFUSED[fault]
    _patch(scan, offset, layout, *values)
    if not code:  # fewer voxels than there are: what is left over must not be small enough to pass as padding
        scan.write_bytes(scan.read_bytes() + bytes(5000))
        code = "size-mismatch"
    if packed:
        scan = scan.rename(scan.with_suffix(".raw"))
        scan.with_name("scan.nii.gz").write_bytes(gzip.compress(scan.read_bytes()))
        scan = scan.with_name("scan.nii.gz")
    _refuse(scan, code)


@pytest.mark.parametrize("fault", REFUSED_QFORM)
def test_a_wrong_qform_is_refused_by_name(scan: Path, fault: str) -> None:
    offset, layout, values, code = REFUSED_QFORM[fault]
    _patch(scan, 252, "<2h", 1, 0)
    _patch(scan, offset, layout, *values)
    _refuse(scan, code)


@pytest.mark.parametrize("oddity", LEGAL)
def test_an_odd_header_is_read_as_nibabel_reads_it(scan: Path, oddity: str) -> None:
    offset, layout, values = LEGAL[oddity]
    _patch(scan, offset, layout, *values)
    found, oracle = medseg.read(scan), nibabel.load(scan)
    assert np.array_equal(found.data[0], np.asanyarray(oracle.dataobj).reshape(5, 7, 4))
    assert np.array_equal(found.geometry.affine, oracle.affine)


@pytest.mark.parametrize("cut", [1, 100, 347, 348, 351, 352, 353, 500])
def test_a_file_cut_anywhere_is_refused(scan: Path, cut: int) -> None:
    scan.write_bytes(scan.read_bytes()[:cut])
    _refuse(scan, "truncated")


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        ("cut in the header", "truncated"),
        ("cut in the trailer", "truncated"),
        ("wrong checksum", "corrupt"),
        ("wrong length", "corrupt"),
        ("bytes behind the end", "corrupt"),
        ("a second stream of other data", "size-mismatch"),
        ("a reserved block type", "corrupt"),
    ],
)
def test_a_damaged_stream_is_refused(scan: Path, fault: str, code: str) -> None:
    packed = gzip.compress(scan.read_bytes())
    content = {
        "cut in the header": packed[:5],
        "cut in the trailer": packed[:-3],
        "wrong checksum": packed[:-8] + bytes([packed[-8] ^ 1]) + packed[-7:],
        "wrong length": packed[:-4] + bytes([packed[-4] ^ 1]) + packed[-3:],
        "bytes behind the end": packed + b"surplus",
        "a second stream of other data": packed + gzip.compress(bytes(9000)),
        "a reserved block type": packed[:10] + bytes([packed[10] | 0b110]) + packed[11:],
    }[fault]
    path = scan.with_name("scan.nii.gz")
    path.write_bytes(content)
    _refuse(path, code)


def test_a_file_in_many_gzip_members_is_whole(scan: Path) -> None:
    raw = scan.read_bytes()
    parts = [gzip.compress(raw[at : at + 100]) for at in range(0, len(raw), 100)]
    path = scan.with_name("scan.nii.gz")
    path.write_bytes(b"".join(parts) + gzip.compress(b"") + bytes(512))
    assert np.array_equal(medseg.read(path).data, medseg.read(scan).data)


def _with_extension(scan: Path, size: int, code: int) -> bytes:
    """Put a block of 36 bytes between header and voxels; the bytes of the voxels."""
    raw = scan.read_bytes()
    extension = b"\x01\0\0\0" + struct.pack("<2i", size, code) + b"CANARY^DOE".ljust(24, b"\0")
    scan.write_bytes(raw[:348] + extension + raw[352:])
    _patch(scan, 108, "<f", 348.0 + len(extension))
    return raw[352:]


@pytest.mark.parametrize("code", [0, 2, 4, 6, 44, 999])
@pytest.mark.parametrize("size", [24, 32])
def test_extensions_of_any_code_do_not_move_the_voxels(scan: Path, code: int, size: int) -> None:
    voxels = _with_extension(scan, size, code)
    found = medseg.read(scan)
    assert np.array_equal(found.data.ravel(order="F"), np.frombuffer(voxels, "<i2"))
    assert found.verdict.status == "ok"


@pytest.mark.parametrize("size", [7, 0, -1, 40, 1 << 30])
def test_an_extension_that_does_not_fit_before_the_voxels_is_refused(scan: Path, size: int) -> None:
    _with_extension(scan, size, 6)
    _refuse(scan, "bad-header")


def test_a_nifti_2_file_that_went_through_a_text_mode_transfer_is_refused(
    tmp_path: Path, oblique: Callable[..., Volume]
) -> None:
    path = tmp_path / "scan.nii"
    nibabel.save(nibabel.Nifti2Image(oblique().data[0], np.eye(4)), path)
    content = bytearray(path.read_bytes())
    content[8:12] = b"\n\x1a\n\0"
    path.write_bytes(bytes(content))
    _refuse(path, "bad-header")
