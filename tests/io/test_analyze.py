"""Analyze 7.5, against nibabel, and what is refused."""

from __future__ import annotations

import gzip
import struct
from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pytest
from nibabel.spm2analyze import Spm2AnalyzeImage

import medseg
from medseg import Volume

AFFINE = np.diag([-0.7, 1.1, 2.3, 1.0])


@pytest.fixture
def pair(tmp_path: Path, oblique: Callable[..., Volume]) -> Callable[..., Path]:
    """Write an Analyze pair (without SPM's matrix file) by nibabel, and give the header's path."""

    def make(kind: type = nibabel.AnalyzeImage, dtype: str = "<i2", data: np.ndarray | None = None) -> Path:
        values = (oblique().data[0] if data is None else data).astype(dtype)
        header = kind.header_class(endianness=dtype[0])
        header.set_data_dtype(values.dtype)
        header.set_data_shape(values.shape)
        header.set_zooms((0.7, 1.1, 2.3, 2.0)[: values.ndim])
        nibabel.save(kind(values, None, header), tmp_path / "scan.img")
        (tmp_path / "scan.mat").unlink(missing_ok=True)
        return tmp_path / "scan.hdr"

    return make


def _patch(path: Path, offset: int, layout: str, *values: object) -> Path:
    content = bytearray(path.read_bytes())
    struct.pack_into(layout, content, offset, *values)
    path.write_bytes(bytes(content))
    return path


def _code(path: Path, **options: object) -> str:
    with pytest.raises(medseg.InputRefused, match="scan") as refusal:
        medseg.read(path, **options)
    return refusal.value.code


@pytest.mark.parametrize("dtype", ["<u1", "<i2", ">i2", "<i4", ">i4", "<f4", ">f4", ">f8", "<f8"])
def test_every_type_and_byte_order_is_read_as_nibabel_reads_it(
    pair: Callable[..., Path], dtype: str, oblique: Callable[..., Volume]
) -> None:
    path = pair(dtype=dtype, data=oblique().data[0] + 60)
    oracle = nibabel.load(path)
    for half in (path, path.with_suffix(".img")):
        found = medseg.read(half)
        assert found.data.dtype == np.dtype(dtype).newbyteorder("=")
        assert np.array_equal(found.data[0], oracle.get_fdata())
        assert np.allclose(found.geometry.affine, oracle.affine)
        assert found.verdict.codes == ("orientation-unknown",)


@pytest.mark.parametrize("packed", [(".hdr", ".img"), (".img",), (".hdr",)])
def test_compressed_halves_are_read(pair: Callable[..., Path], packed: tuple[str, ...]) -> None:
    expected = medseg.read(pair())
    for suffix in packed:
        plain = pair().with_suffix(suffix)
        plain.with_name(f"scan{suffix}.gz").write_bytes(gzip.compress(plain.read_bytes()))
    for suffix in packed:
        pair().with_suffix(suffix).unlink()
    for suffix in packed:
        found = medseg.read(pair().with_name(f"scan{suffix}.gz"))
        assert np.array_equal(found.data, expected.data)
        assert found.geometry == expected.geometry


@pytest.mark.parametrize("origin", [(0, 0, 0), (2, 3, 4), (-2, 1, 5), (99, 1, 1)])
def test_spms_origin_places_the_scan_where_it_makes_sense(
    pair: Callable[..., Path], origin: tuple[int, int, int]
) -> None:
    path = _patch(pair(), 253, "<3h", *origin)
    assert np.allclose(medseg.read(path).geometry.affine, nibabel.load(path).affine)


def test_spms_scale_is_applied(pair: Callable[..., Path]) -> None:
    path = pair(Spm2AnalyzeImage)
    _patch(path, 112, "<2f", 0.25, -3.5)
    assert np.allclose(medseg.read(path).data[0], nibabel.load(path).get_fdata())
    _patch(path, 112, "<2f", 0.0, 0.0)
    _patch(path, 124, "<2f", 80.0, -20.0)
    _patch(path, 140, "<2i", 200, 100)
    assert np.allclose(medseg.read(path).data[0], nibabel.load(path).get_fdata())


def test_one_volume_of_several_is_chosen(pair: Callable[..., Path]) -> None:
    data = np.random.default_rng(0).integers(0, 99, (3, 4, 5, 3))
    path = pair(data=data)
    assert _code(path) == "four-dimensional"
    assert np.array_equal(medseg.read(path, series=3).data[0], data[..., 2])


def test_the_doubt_about_left_and_right_outlives_a_rewrite(pair: Callable[..., Path]) -> None:
    found = medseg.read(pair())
    again = medseg.read(medseg.write(found, pair().with_name("again.nii.gz")))
    assert again.verdict.codes == ("orientation-unknown",)
    assert again.geometry == found.geometry


def test_spms_matrix_beside_it_is_not_passed_over(pair: Callable[..., Path]) -> None:
    path = pair()
    path.with_suffix(".mat").write_bytes(b"MATLAB")
    assert _code(path) == "orientation-unknown"


def test_a_damaged_nifti_mark_is_not_taken_for_analyze(tmp_path: Path) -> None:
    nibabel.save(nibabel.Nifti1Pair(np.zeros((3, 4, 5), np.int16), AFFINE), tmp_path / "scan.img")
    assert _code(_patch(tmp_path / "scan.hdr", 344, "<4s", b"n+7\0")) == "bad-header"
    lone = tmp_path / "scan.nii"
    nibabel.save(nibabel.Nifti1Image(np.zeros((3, 4, 5), np.int16), AFFINE), lone)
    assert _code(_patch(lone, 344, "<4s", bytes(4))) == "bad-header"


@pytest.mark.parametrize(
    ("offset", "layout", "values", "code"),
    [
        (40, "<h", (0,), "bad-header"),  # number of dimensions
        (42, "<h", (-3,), "bad-header"),
        (42, "<3h", (32000, 32000, 32000), "truncated"),
        (70, "<h", (1,), "unsupported-encoding"),  # single bits
        (70, "<2h", (128, 24), "unsupported-encoding"),  # colours
        (70, "<h", (32,), "unsupported-encoding"),  # complex
        (70, "<h", (3,), "bad-header"),
        (72, "<h", (8,), "bad-header"),  # bits
        (80, "<f", (-1.0,), "bad-header"),  # a voxel size
        (80, "<f", (float("nan"),), "bad-header"),
        (108, "<f", (-64.0,), "bad-header"),  # where the voxels begin
        (108, "<f", (64.0,), "truncated"),
        (56, "<4s", (b"DOE^",), "bad-header"),  # unit of length
        (252, "<B", (1,), "orientation-unknown"),  # coronal slices
    ],
)
def test_what_is_not_plainly_right_is_refused(
    pair: Callable[..., Path], offset: int, layout: str, values: tuple, code: str
) -> None:
    assert _code(_patch(pair(), offset, layout, *values)) == code


def test_lengths_become_millimetres(pair: Callable[..., Path]) -> None:
    found = medseg.read(_patch(pair(), 56, "<4s", b"cm"))
    assert found.geometry.spacing == pytest.approx((7, 11, 23))
    assert set(found.verdict.codes) == {"orientation-unknown", "units-converted"}


def test_a_lone_header_is_refused(real_data: Path) -> None:
    with pytest.raises(medseg.InputRefused) as refusal:
        medseg.read(real_data / "nifti" / "nibabel" / "analyze.hdr")
    assert refusal.value.code == "truncated"
