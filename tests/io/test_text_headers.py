"""NRRD and MetaImage: spaces, units, kinds, and headers that are refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import medseg
from medseg import Volume

VOXELS = np.arange(24, dtype="<i2")
NRRD = {
    "type": "short", "dimension": "3", "space": "left-posterior-superior", "sizes": "2 3 4",
    "space directions": "(0.5,0,0) (0,0.75,0) (0,0,2)", "kinds": "domain domain domain",
    "endian": "little", "encoding": "raw", "space origin": "(10,20,30)",
}  # fmt: skip
META = {
    "ObjectType": "Image", "NDims": "3", "BinaryData": "True", "BinaryDataByteOrderMSB": "False",
    "CompressedData": "False", "TransformMatrix": "1 0 0 0 1 0 0 0 1", "Offset": "10 20 30",
    "ElementSpacing": "0.5 0.75 2", "DimSize": "2 3 4", "ElementType": "MET_SHORT",
    "ElementDataFile": "LOCAL",
}  # fmt: skip
PLACED = np.array([[-0.5, 0, 0, -10], [0, -0.75, 0, -20], [0, 0, 2, 30], [0, 0, 0, 1]])


def _nrrd(folder: Path, body: bytes = VOXELS.tobytes(), **changes: str | None) -> Path:
    fields = {key: value for key, value in (NRRD | changes).items() if value is not None}
    lines = ["NRRD0005", "# a comment", *(f"{key}: {value}" for key, value in fields.items()), "", ""]
    (folder / "scan.nrrd").write_bytes("\n".join(lines).encode() + body)
    return folder / "scan.nrrd"


def _meta(folder: Path, body: bytes = VOXELS.tobytes(), **changes: str | None) -> Path:
    fields = META | changes
    fields["ElementDataFile"] = fields.pop("ElementDataFile")  # what follows it is voxels
    lines = [f"{key} = {value}" for key, value in fields.items() if value is not None]
    (folder / "scan.mha").write_bytes("\n".join([*lines, ""]).encode() + body)
    return folder / "scan.mha"


def _code(path: Path) -> str:
    with pytest.raises(medseg.InputRefused, match=path.name) as refusal:
        medseg.read(path)
    return refusal.value.code


@pytest.mark.parametrize("make", [_nrrd, _meta])
def test_left_posterior_superior_becomes_ras_once(tmp_path: Path, make: Callable[..., Path]) -> None:
    found = medseg.read(make(tmp_path))
    assert np.array_equal(found.geometry.affine, PLACED)
    assert np.array_equal(found.data[0].ravel(order="F"), VOXELS)
    assert found.verdict.status == "ok"


@pytest.mark.parametrize(
    ("space", "signs"),
    [("RAS", (1, 1, 1)), ("right-anterior-superior", (1, 1, 1)), ("LAS", (-1, 1, 1)), ("LPS", (-1, -1, 1))],
)
def test_named_spaces_turn_into_ras(tmp_path: Path, space: str, signs: tuple[int, ...]) -> None:
    found = medseg.read(_nrrd(tmp_path, space=space))
    expected = np.diag([*np.array(signs) * (0.5, 0.75, 2), 1.0])
    expected[:3, 3] = np.array(signs) * (10, 20, 30)
    assert np.array_equal(found.geometry.affine, expected)


def test_units_become_millimetres(tmp_path: Path) -> None:
    found = medseg.read(_nrrd(tmp_path, **{"space units": '"um" "um" "um"'}))
    assert found.geometry.spacing == pytest.approx((0.0005, 0.00075, 0.002))


def test_an_unnamed_space_is_a_warning(tmp_path: Path) -> None:
    assert medseg.read(_nrrd(tmp_path, space="scanner-xyz")).verdict.codes == ("orientation-unknown",)
    loose = _nrrd(
        tmp_path, space=None, spacings="0.5 0.75 2", **{"space directions": None, "space origin": None}
    )
    found = medseg.read(loose)
    assert found.verdict.codes == ("orientation-unknown",)
    assert found.geometry.spacing == (0.5, 0.75, 2.0)
    assert medseg.read(_meta(tmp_path, TransformMatrix=None)).verdict.codes == ("orientation-unknown",)
    found = medseg.read(_meta(tmp_path, ElementSpacing=None))
    assert not found.geometry.spacing_known
    assert found.verdict.codes == ("spacing-unknown",)


def test_a_missing_origin_is_a_warning(tmp_path: Path) -> None:
    for path in (_nrrd(tmp_path, **{"space origin": None}), _meta(tmp_path, Offset=None)):
        found = medseg.read(path)
        assert found.verdict.codes == ("position-unknown",)
        assert np.array_equal(found.geometry.affine[:3, 3], (0, 0, 0))


@pytest.mark.parametrize("line", ["spcings: 1 1 1", "no colon", "type: short", "datafile: a\ndata file: b"])
def test_nrrd_lines_that_are_no_fields_or_stand_twice_are_refused(tmp_path: Path, line: str) -> None:
    path = _nrrd(tmp_path)
    path.write_bytes(path.read_bytes().replace(b"# a comment", line.encode()))
    assert _code(path) == "bad-header"


@pytest.mark.parametrize("line", ["no equals sign", "Offset = 1 2 3", "Position = 1 2 3", "Na\x01me = x"])
def test_metaimage_lines_of_no_form_or_that_stand_twice_are_refused(tmp_path: Path, line: str) -> None:
    path = _meta(tmp_path)
    path.write_bytes(line.encode() + b"\n" + path.read_bytes())
    assert _code(path) == "bad-header"


@pytest.mark.parametrize("make", [_nrrd, _meta])
def test_padding_may_follow_the_voxels_and_nothing_else(tmp_path: Path, make: Callable[..., Path]) -> None:
    assert medseg.read(make(tmp_path, VOXELS.tobytes() + bytes(900))).verdict.status == "ok"
    assert medseg.read(make(tmp_path, VOXELS.tobytes() + b"\n")).verdict.status == "ok"
    assert _code(make(tmp_path, VOXELS.tobytes() + b"voxels?")) == "size-mismatch"


def test_a_grid_beyond_all_measure_is_refused(tmp_path: Path) -> None:
    assert _code(_meta(tmp_path, Offset="1e40 0 0")) == "bad-header"
    assert _code(_meta(tmp_path, ElementSpacing="1e-30 1 1")) == "bad-header"
    assert _code(_nrrd(tmp_path, **{"space directions": "(1e30,0,0) (0,1e30,0) (0,0,1e30)"})) == "bad-header"


def test_big_endian_voxels_are_read(tmp_path: Path) -> None:
    body = VOXELS.astype(">i2").tobytes()
    for path in (_nrrd(tmp_path, body, endian="big"), _meta(tmp_path, body, BinaryDataByteOrderMSB="True")):
        found = medseg.read(path)
        assert found.data.dtype == np.int16
        assert np.array_equal(found.data[0].ravel(order="F"), VOXELS)


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"sizes": "2 3 5"}, "truncated"),
        ({"sizes": "20000 30000 40000"}, "truncated"),
        ({"sizes": "2 3"}, "bad-header"),
        ({"sizes": "2 3 -4"}, "bad-header"),
        ({"type": "block"}, "bad-header"),
        ({"type": None}, "bad-header"),
        ({"endian": None}, "bad-header"),
        ({"encoding": "hex"}, "truncated"),
        ({"encoding": "ascii"}, "corrupt"),
        ({"encoding": "bzip2"}, "corrupt"),
        ({"encoding": "zstd"}, "unsupported-encoding"),
        ({"encoding": "gzip"}, "corrupt"),
        ({"space directions": "(0.5,0,0) (0,0.75,0) (0,0,nan)"}, "bad-header"),
        ({"space directions": "(0.5,0,0) (0,0.75,0) (0.5,0,0)"}, "bad-header"),
        ({"space directions": "(0.5,0) (0,0.75) (0,2)"}, "bad-header"),
        ({"space units": '"mm" "mm" "inch"'}, "bad-header"),
        ({"data file": "../elsewhere.raw"}, "bad-header"),
        ({"data file": "absent.raw"}, "truncated"),
        ({"data file": "LIST"}, "bad-header"),
        ({"data file": "LIST 9"}, "bad-header"),
        ({"data file": "slice%d.raw 1 4 1"}, "truncated"),
        ({"data file": "slice%d.raw 1 5 1"}, "bad-header"),
        ({"data file": "slice%d.raw 1 4 0"}, "bad-header"),
        ({"line skip": "9999"}, "truncated"),
        ({"line skip": "-1"}, "bad-header"),
        ({"byte skip": "-2"}, "bad-header"),
        ({"byte skip": "4.5"}, "bad-header"),
        ({"dimension": "3 3"}, "bad-header"),
        ({"dimension": "9" * 5000}, "bad-header"),
        ({"sizes": "2 3 " + "9" * 17}, "truncated"),
        ({"kinds": "domain domain"}, "bad-header"),
        ({"space": "somewhere"}, "bad-header"),
        ({"space": "right-anterior-superior-time"}, "bad-header"),
        ({"space directions": "(0.5,0,0) (0,0.75,0) 2"}, "bad-header"),
        ({"space origin": "(1,2)"}, "bad-header"),
        ({"dimension": "4", "sizes": "1 2 3 4", "kinds": "vector domain domain domain",
          "space directions": "none (1,0,0) (0,1,0) (0,0,1)"}, ""),
        ({"dimension": "4", "sizes": "2 2 3 2", "kinds": "vector domain domain domain",
          "space directions": "none (1,0,0) (0,1,0) (0,0,1)"}, "not-an-image"),
        ({"dimension": "4", "sizes": "2 3 2 2", "kinds": "domain domain domain list",
          "space directions": "(1,0,0) (0,1,0) (0,0,1) none"}, "four-dimensional"),
    ],
)  # fmt: skip
def test_nrrd_headers_that_are_not_plainly_right(tmp_path: Path, changes: dict, code: str) -> None:
    path = _nrrd(tmp_path, **changes)
    if code:
        assert _code(path) == code
    else:
        assert medseg.read(path).data.shape == (1, 2, 3, 4)


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"DimSize": "2 3 5"}, "truncated"),
        ({"DimSize": "2 3"}, "bad-header"),
        ({"ElementType": "MET_OTHER"}, "bad-header"),
        ({"ElementType": None}, "bad-header"),
        ({"ElementSpacing": "1 1 0"}, "bad-header"),
        ({"TransformMatrix": "1 0 0 1 0 0 0 0 1"}, "bad-header"),
        ({"TransformMatrix": "1 0 0 0"}, "bad-header"),
        ({"CompressedData": "True"}, "corrupt"),
        ({"BinaryData": "False"}, "corrupt"),
        ({"ElementDataFile": "LIST"}, "bad-header"),
        ({"ElementDataFile": "slice%d.raw 1 4 1"}, "truncated"),
        ({"HeaderSize": "-2"}, "bad-header"),
        ({"CompressedDataSize": "40"}, "bad-header"),
        ({"CompressedDataSize": "x"}, "bad-header"),
        ({"BinaryDataByteOrderMSB": "Maybe"}, "bad-header"),
        ({"NDims": "12"}, "bad-header"),
        ({"CenterOfRotation": "1 0 0"}, "bad-header"),
        ({"ElementNumberOfChannels": "-1"}, "bad-header"),
        ({"ElementDataFile": "/etc/hostname"}, "bad-header"),
        ({"ElementNumberOfChannels": "2", "DimSize": "2 3 2"}, "not-an-image"),
        (
            {"NDims": "4", "DimSize": "2 3 2 2", "ElementSpacing": "1 1 1 1", "Offset": "0 0 0 0"},
            "four-dimensional",
        ),
    ],
)
def test_metaimage_headers_that_are_not_plainly_right(tmp_path: Path, changes: dict, code: str) -> None:
    assert _code(_meta(tmp_path, **changes)) == code


@pytest.mark.parametrize("make", [_nrrd, _meta])
def test_surplus_voxels_are_refused(tmp_path: Path, make: Callable[..., Path]) -> None:
    assert _code(make(tmp_path, VOXELS.tobytes() + bytes(5000))) == "size-mismatch"


@pytest.mark.parametrize("suffix", [".nrrd", ".mha"])
def test_damaged_streams_are_refused(
    tmp_path: Path, oblique: Callable[..., Volume], suffix: str, truncate: Callable[[Path, int], Path]
) -> None:
    path = medseg.write(oblique(), tmp_path / f"scan{suffix}")
    good = path.read_bytes()
    path.write_bytes(good[:-60] + bytes([good[-60] ^ 8]) + good[-59:])
    assert _code(path) in ("corrupt", "truncated")
    path.write_bytes(good)
    assert _code(truncate(path, 30)) == "truncated"


@pytest.mark.parametrize("suffix", [".nrrd", ".mha"])
def test_channels_and_colours_come_back(tmp_path: Path, oblique: Callable[..., Volume], suffix: str) -> None:
    base = oblique()
    for data in (
        np.stack([base.data[0] / 3, base.data[0] / 7]).astype(np.float32),
        np.stack([base.data[0] + 60, base.data[0] + 61, base.data[0] + 62]).astype(np.uint8),
    ):
        path = medseg.write(Volume(data, base.geometry), tmp_path / f"{len(data)}{suffix}")
        assert np.array_equal(medseg.read(path).data, data)


def test_content_decides_where_the_name_is_wrong(tmp_path: Path, oblique: Callable[..., Volume]) -> None:
    path = medseg.write(oblique(), tmp_path / "scan.nrrd").rename(tmp_path / "scan.nii.gz")
    assert np.array_equal(medseg.read(path).data, oblique().data)


def test_an_unknown_format_is_refused_with_the_list(tmp_path: Path) -> None:
    (tmp_path / "scan.txt").write_text("voxels?")
    with pytest.raises(medseg.InputRefused, match=r"unknown format.*\.nii\.gz") as refusal:
        medseg.read(tmp_path / "scan.txt")
    assert refusal.value.code == "unknown-format"
    assert medseg.inspect(tmp_path / "scan.txt").to_json()["verdict"] == "refused"


def test_inspect_reports_what_read_would_do(tmp_path: Path, oblique: Callable[..., Volume]) -> None:
    path = medseg.write(oblique(), tmp_path / "scan.nrrd")
    document = medseg.inspect(path).to_json()
    assert document["format_version"] == 1
    assert document["verdict"] == "ok"
    assert document["path"] == str(path)
    assert document["series"][0]["affine"] == medseg.read(path).geometry.affine.tolist()
    assert document["series"][0]["modality"] is None
    assert document["series"][0]["summary"].startswith("int16, ")
