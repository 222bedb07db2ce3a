"""Voxels of NRRD and MetaImage in every encoding and in files of their own, against SimpleITK."""

from __future__ import annotations

import bz2
import gzip
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

import medseg

SHAPE = (2, 3, 4)
NRRD_TYPES = {
    "signed char": "i1", "uchar": "u1", "short int": "i2", "unsigned  short": "u2", "int32": "i4",
    "uint": "u4", "long long": "i8", "uint64_t": "u8", "float": "f4", "double": "f8",
}  # fmt: skip
META_TYPES = {
    "MET_CHAR": "i1", "MET_UCHAR": "u1", "MET_SHORT": "i2", "MET_USHORT": "u2", "MET_INT": "i4",
    "MET_UINT": "u4", "MET_LONG": "i4", "MET_ULONG": "u4", "MET_LONG_LONG": "i8", "MET_ULONG_LONG": "u8",
    "MET_FLOAT": "f4", "MET_DOUBLE": "f8",
}  # fmt: skip
GZIP = gzip.compress(bytes(48), mtime=0)  # without a time in it, so that tests bear the same names every time


def _values(dtype: str) -> np.ndarray:
    low = 0 if dtype[-2] == "u" else -12
    values = np.arange(low, low + 24) * (1 if dtype[-1] == "1" else 1000)
    return (values / 8 if dtype[-2] == "f" else values).astype(dtype)


def _nrrd(path: Path, body: bytes, **fields: str) -> Path:
    header = {
        "type": "short", "dimension": "3", "space": "LPS", "sizes": "2 3 4", "endian": "little",
        "space directions": "(0.5,0,0) (0,0.75,0) (0,0,2)", "encoding": "raw", "space origin": "(10,20,30)",
    } | fields  # fmt: skip
    data_file = header.pop("data file", None)  # what follows a LIST are names
    lines = [f"{key}: {value}" for key, value in header.items()]
    lines += [f"data file: {data_file}"] if data_file else []
    text = "\n".join(["NRRD0004", *lines, *([] if path.suffix == ".nhdr" else [""]), ""])
    path.write_bytes(text.encode() + body)
    return path


def _meta(path: Path, body: bytes, **fields: str) -> Path:
    header = {
        "ObjectType": "Image", "NDims": "3", "BinaryData": "True", "BinaryDataByteOrderMSB": "False",
        "CompressedData": "False", "TransformMatrix": "1 0 0 0 1 0 0 0 1", "Offset": "10 20 30",
        "ElementSpacing": "0.5 0.75 2", "DimSize": "2 3 4", "ElementType": "MET_SHORT",
        "ElementDataFile": "LOCAL",
    } | fields  # fmt: skip
    header["ElementDataFile"] = header.pop("ElementDataFile")
    path.write_bytes("\n".join([*(f"{key} = {value}" for key, value in header.items()), ""]).encode() + body)
    return path


def _check(path: Path, expected: np.ndarray, *, itk: bool = True) -> None:
    found = medseg.read(path)
    assert found.data.dtype == expected.dtype.newbyteorder("=")
    assert np.array_equal(found.data[0].ravel(order="F"), expected)
    assert found.geometry.spacing == (0.5, 0.75, 2.0)
    if itk:
        assert np.array_equal(sitk.GetArrayFromImage(sitk.ReadImage(str(path))).ravel(), expected)


def _code(path: Path) -> str:
    with pytest.raises(medseg.InputRefused) as refusal:
        medseg.read(path)
    return refusal.value.code


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("name", NRRD_TYPES)
def test_every_nrrd_type_and_byte_order_is_read(tmp_path: Path, name: str, order: str) -> None:
    values = _values(order + NRRD_TYPES[name])
    endian = "little" if order == "<" else "big"
    _check(
        _nrrd(tmp_path / "scan.nrrd", values.tobytes(), type=name, endian=endian),
        values,
        itk="  " not in name,
    )


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("name", META_TYPES)
def test_every_metaimage_type_and_byte_order_is_read(tmp_path: Path, name: str, order: str) -> None:
    values = _values(order + META_TYPES[name])
    path = _meta(
        tmp_path / "scan.mha", values.tobytes(), ElementType=name, BinaryDataByteOrderMSB=str(order == ">")
    )
    _check(path, values)


@pytest.mark.parametrize("dtype", ["i2", "u1", "u8", "f4", "f8"])
def test_numbers_written_as_text_are_read(tmp_path: Path, dtype: str) -> None:
    values = _values(dtype)
    text = "\n ".join(repr(value.item()) for value in values).encode()
    name = next(key for key, value in NRRD_TYPES.items() if value == dtype)
    for encoding in ("ascii", "text", "TXT"):
        _check(_nrrd(tmp_path / "scan.nrrd", text + b"\n", type=name, encoding=encoding), values)
    name = next(key for key, value in META_TYPES.items() if value == dtype)
    path = _meta(tmp_path / "scan.mha", text, ElementType=name, BinaryData="False")
    _check(path, values, itk=False)  # which ITK itself cannot read back


def test_long_texts_are_read_across_blocks(tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(-30000, 30000, 300_000).astype(np.int16)
    text = " ".join(map(str, values.tolist())).encode()
    path = _nrrd(tmp_path / "scan.nrrd", text, sizes="100 100 30", encoding="ascii")
    assert np.array_equal(medseg.read(path).data.ravel(order="F"), values)
    path = _nrrd(
        tmp_path / "scan.nrrd", values.tobytes().hex(" ", 7).encode(), sizes="100 100 30", encoding="hex"
    )
    assert np.array_equal(medseg.read(path).data.ravel(order="F"), values)


@pytest.mark.parametrize(
    ("encoding", "pack"),
    [("gzip", gzip.compress), ("bzip2", bz2.compress), ("hex", lambda raw: raw.hex("\n", 5).encode())],
)
def test_every_other_encoding_is_read(tmp_path: Path, encoding: str, pack: Callable[[bytes], bytes]) -> None:
    for dtype in ("<i2", ">i2"):
        values = _values(dtype)
        endian = "little" if dtype[0] == "<" else "big"
        packed = pack(values.tobytes())
        itk = encoding == "gzip"  # ITK is built without the others
        _check(_nrrd(tmp_path / "scan.nrrd", packed, encoding=encoding, endian=endian), values, itk=itk)
        (tmp_path / "voxels").write_bytes(packed)
        fields = {"encoding": encoding, "endian": endian, "data file": "voxels"}
        _check(_nrrd(tmp_path / "scan.nhdr", b"", **fields), values, itk=itk)


def test_lines_and_bytes_before_the_voxels_are_passed_over(tmp_path: Path) -> None:
    values = _values("<i2")
    (tmp_path / "voxels").write_bytes(b"P5\n2 12\n" + b"skip" + values.tobytes())
    _check(
        _nrrd(tmp_path / "a.nhdr", b"", **{"data file": "voxels", "line skip": "2", "byte skip": "4"}), values
    )
    _check(_nrrd(tmp_path / "b.nhdr", b"", **{"data file": "./voxels", "byte skip": "-1"}), values)
    (tmp_path / "packed").write_bytes(b"a line\n" + gzip.compress(b"skip" + values.tobytes()))
    fields = {"data file": "packed", "line skip": "1", "byte skip": "4", "encoding": "gz"}
    _check(_nrrd(tmp_path / "c.nhdr", b"", **fields), values)
    (tmp_path / "voxels").write_bytes(b"head" + values.tobytes())
    _check(_meta(tmp_path / "d.mhd", b"", ElementDataFile="voxels", HeaderSize="4"), values)
    _check(_meta(tmp_path / "e.mhd", b"", ElementDataFile="voxels", HeaderSize="-1"), values)


def test_slices_in_files_of_their_own_are_joined(tmp_path: Path) -> None:
    values = _values("<i2")
    names = [f"slice{n:02d}.raw" for n in (3, 5, 7, 9)]
    for name, part in zip(names, np.split(values, 4), strict=True):
        (tmp_path / name).write_bytes(part.tobytes())
    listing = ("\n".join(names) + "\n").encode()
    _check(_nrrd(tmp_path / "list.nhdr", listing, **{"data file": "LIST"}), values)
    _check(_nrrd(tmp_path / "told.nhdr", listing, **{"data file": "LIST 2"}), values)
    _check(_nrrd(tmp_path / "slabs.nhdr", listing, **{"data file": "LIST 3"}), values)
    _check(_nrrd(tmp_path / "pattern.nhdr", b"", **{"data file": "slice%02d.raw 3 9 2"}), values)
    _check(_meta(tmp_path / "list.mhd", listing, ElementDataFile="LIST"), values)
    _check(_meta(tmp_path / "told.mhd", listing, ElementDataFile="LIST 2D"), values)
    _check(_meta(tmp_path / "pattern.mhd", b"", ElementDataFile="slice%02d.raw 3 9 2"), values)
    assert len(medseg.read(tmp_path / "list.nhdr").source.paths) == 5
    reverse = medseg.read(_nrrd(tmp_path / "back.nhdr", b"", **{"data file": "slice%02d.raw 9 3 -2"}))
    assert np.array_equal(reverse.data[0, ..., ::-1].ravel(order="F"), values)


def test_a_missing_or_short_slice_is_refused(tmp_path: Path) -> None:
    for n, part in enumerate(np.split(_values("<i2"), 4)):
        (tmp_path / f"{n}.raw").write_bytes(part.tobytes())
    path = _nrrd(tmp_path / "scan.nhdr", b"", **{"data file": "%d.raw 0 3 1"})
    assert medseg.read(path).verdict.status == "ok"
    (tmp_path / "2.raw").write_bytes(b"short")
    assert _code(path) == "truncated"
    (tmp_path / "2.raw").write_bytes(bytes(12 + 5000))
    assert _code(path) == "size-mismatch"
    (tmp_path / "2.raw").unlink()
    assert _code(path) == "truncated"


def test_data_files_stay_in_their_folder(tmp_path: Path) -> None:
    (tmp_path / "inside").mkdir()
    (tmp_path / "voxels").write_bytes(_values("<i2").tobytes())
    (tmp_path / "inside" / "link").symlink_to(tmp_path / "voxels")
    for name in ("../voxels", str(tmp_path / "voxels"), "link"):
        assert _code(_nrrd(tmp_path / "inside" / "scan.nhdr", b"", **{"data file": name})) == "bad-header"
        assert _code(_meta(tmp_path / "inside" / "scan.mhd", b"", ElementDataFile=name)) == "bad-header"


@pytest.mark.parametrize(
    ("encoding", "body", "code"),
    [
        ("ascii", b"1 2 3", "truncated"),
        ("ascii", b"1 " * 25, "size-mismatch"),
        ("ascii", b"1 " * 23 + b"40000", "corrupt"),
        ("ascii", b"1 " * 23 + b"1.5", "corrupt"),
        ("ascii", b"1 " * 23 + b"1_0", "corrupt"),
        ("ascii", b"1 " * 23 + b"9" * 70, "corrupt"),
        ("ascii", b"1 " * 23 + b"-", "corrupt"),
        ("hex", b"00" * 47 + b"0", "truncated"),
        ("hex", b"00" * 47 + b"0g", "corrupt"),
        ("hex", b"00" * 50, "size-mismatch"),
        ("bzip2", bz2.compress(bytes(48))[:-3], "truncated"),
        ("bzip2", bz2.compress(bytes(48)) + b"more", "corrupt"),
        ("bzip2", bz2.compress(bytes(40)), "truncated"),
        ("bzip2", bz2.compress(bytes(9000)), "size-mismatch"),
        ("gzip", GZIP + b"more", "corrupt"),
        ("gzip", GZIP[:-4] + bytes(4), "corrupt"),  # the length
        ("gzip", GZIP[:-8] + bytes(4) + GZIP[-4:], "corrupt"),  # the checksum
    ],
)
def test_voxels_that_are_not_as_declared_are_refused(
    tmp_path: Path, encoding: str, body: bytes, code: str
) -> None:
    assert _code(_nrrd(tmp_path / "scan.nrrd", body, encoding=encoding)) == code


def test_gzip_in_several_members_and_padding_is_read(tmp_path: Path) -> None:
    values = _values("<i2")
    parts = [gzip.compress(part.tobytes()) for part in np.split(values, 12)]
    empty = gzip.compress(b"")
    body = empty + b"".join(parts) + empty * 3 + bytes(40_000)
    _check(_nrrd(tmp_path / "scan.nrrd", body, encoding="gzip"), values, itk=False)


def test_a_zlib_stream_is_whole_and_alone(tmp_path: Path) -> None:
    values = _values("<i2")
    packed = zlib.compress(values.tobytes())
    (tmp_path / "scan.zraw").write_bytes(packed)
    fields = {"CompressedData": "True", "ElementDataFile": "scan.zraw"}
    _check(_meta(tmp_path / "scan.mhd", b"", CompressedDataSize=str(len(packed)), **fields), values)
    _meta(tmp_path / "a.mha", packed, CompressedData="True", CompressedDataSize=str(len(packed) + 1))
    assert _code(tmp_path / "a.mha") == "truncated"
    _meta(tmp_path / "a.mha", packed, CompressedData="True", CompressedDataSize=str(len(packed) - 5))
    assert _code(tmp_path / "a.mha") == "size-mismatch"  # ITK reads so far, and makes up the rest
    _meta(tmp_path / "a.mha", packed + bytes(9), CompressedData="True", CompressedDataSize=str(len(packed)))
    assert (medseg.read(tmp_path / "a.mha").data[0].ravel(order="F") == values).all()
    for body, code in (
        (packed[:-2], "truncated"), (packed[:-4] + bytes(4), "corrupt"), (packed + b"more", "size-mismatch")
    ):  # fmt: skip
        (tmp_path / "scan.zraw").write_bytes(body)
        assert _code(tmp_path / "scan.mhd") == code
