"""NIfTI reading, against nibabel, and what is refused."""

from __future__ import annotations

import gzip
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pytest

import medseg
from medseg import Volume

HEAVY = {"nibabel", "pydicom", "SimpleITK", "scipy", "PIL", "tifffile", "torch"}
TYPES = ("u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f4", "f8")


def _save(
    path: Path, data: np.ndarray, affine: np.ndarray, kind: type = nibabel.Nifti1Image, **fields: object
) -> Path:
    image = kind(data, affine, dtype=data.dtype)
    for key, value in fields.items():
        image.header[key] = value
    nibabel.save(image, path)
    return path


def _patch(path: Path, offset: int, layout: str, *values: object) -> Path:
    """Overwrite header bytes of an uncompressed file."""
    content = bytearray(path.read_bytes())
    struct.pack_into(layout, content, offset, *values)
    path.write_bytes(bytes(content))
    return path


def _refusal(path: Path, **options: object) -> medseg.InputRefused:
    with pytest.raises(medseg.InputRefused) as refusal:
        medseg.read(path, **options)
    assert path.name in str(refusal.value)
    return refusal.value


@pytest.fixture
def scan(tmp_path: Path, oblique: Callable[..., Volume]) -> Path:
    volume = oblique()
    return _save(tmp_path / "scan.nii", volume.data[0], volume.geometry.affine)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("kind", [nibabel.Nifti1Image, nibabel.Nifti2Image, nibabel.Nifti1Pair])
@pytest.mark.parametrize("dtype", TYPES)
def test_every_type_byte_order_and_version_is_read_as_nibabel_reads_it(
    tmp_path: Path, oblique: Callable[..., Volume], dtype: str, kind: type, order: str
) -> None:
    values = oblique().data[0]
    values = (values - values.min() if dtype[0] == "u" else values).astype(order + dtype)
    header = kind.header_class(endianness=order)
    header.set_data_dtype(values.dtype)
    path = tmp_path / ("scan.img" if kind is nibabel.Nifti1Pair else "scan.nii")
    nibabel.save(kind(values, oblique().geometry.affine, header), path)
    found, oracle = medseg.read(path), nibabel.load(path)
    assert found.data.dtype == np.dtype(dtype)
    assert np.array_equal(found.data[0], np.asanyarray(oracle.dataobj))
    assert np.array_equal(found.geometry.affine, oracle.affine)
    assert medseg.read(path.with_suffix(".hdr") if path.suffix == ".img" else path).geometry == found.geometry


@pytest.mark.parametrize("dtype", ["u1", "i2", "u2", "i4"])
def test_slope_and_intercept_are_applied(tmp_path: Path, oblique: Callable[..., Volume], dtype: str) -> None:
    stored = np.abs(oblique().data[0]).astype(dtype)
    path = _save(tmp_path / "scan.nii", stored, np.eye(4))
    _patch(path, 112, "<2f", 0.37, -12.5)
    found = medseg.read(path)
    assert found.data.dtype == (np.float64 if dtype == "i4" else np.float32)
    assert np.allclose(found.data[0], nibabel.load(path).get_fdata(), rtol=1e-6)


def test_qform_places_a_scan_without_sform(scan: Path) -> None:
    _patch(scan, 254, "<h", 0)
    _patch(scan, 252, "<h", 1)
    found = medseg.read(scan)
    assert found.verdict.status == "ok"
    assert np.allclose(found.geometry.affine, nibabel.load(scan).affine, atol=1e-6)


def test_voxel_sizes_alone_give_nibabels_affine_and_a_warning(scan: Path) -> None:
    _patch(scan, 252, "<2h", 0, 0)
    found = medseg.read(scan)
    assert found.verdict.codes == ("orientation-unknown",)
    assert np.allclose(found.geometry.affine, nibabel.load(scan).affine)
    again = medseg.read(medseg.write(found, scan.with_name("again.nii")))
    assert again.verdict.codes == ("orientation-unknown",)


def test_a_qform_that_mirrors_the_sform_is_a_warning_and_the_sform_wins(scan: Path) -> None:
    image = nibabel.load(scan)
    mirrored = np.diag([-1.0, 1.0, 1.0, 1.0]) @ image.affine
    image.set_qform(mirrored, 1)
    nibabel.save(image, scan.with_name("conflict.nii"))
    found = medseg.read(scan.with_name("conflict.nii"))
    assert found.verdict.codes == ("sform-qform-disagree",)
    assert np.array_equal(found.geometry.affine, image.affine)


@pytest.mark.parametrize(("unit", "factor"), [(0, 1.0), (1, 1000.0), (2, 1.0), (3, 0.001)])
def test_lengths_are_converted_to_millimetres(scan: Path, unit: int, factor: float) -> None:
    spacing = np.array(medseg.read(scan).geometry.spacing)
    _patch(scan, 123, "<B", unit)
    found = medseg.read(scan)
    assert np.allclose(found.geometry.spacing, spacing * factor)
    assert found.verdict.codes == (() if factor == 1 else ("units-converted",))
    assert medseg.read(medseg.write(found, scan.with_name("again.nii"))).geometry == found.geometry


def test_codes_and_both_transforms_survive_a_rewrite(scan: Path) -> None:
    image = nibabel.load(scan)
    image.set_qform(image.affine + np.diag([0, 0, 0.001, 0]), 3)
    image.set_sform(image.affine, 4)
    nibabel.save(image, scan.with_name("coded.nii.gz"))
    labels = medseg.read(scan.with_name("coded.nii.gz"))
    again = nibabel.load(medseg.write(labels, scan.with_name("again.nii.gz")))
    for field in ("srow_x", "srow_y", "srow_z", "quatern_b", "qoffset_x", "sform_code", "qform_code"):
        assert again.header[field] == pytest.approx(image.header[field], abs=0)
    assert np.array_equal(again.header["pixdim"][:4], image.header["pixdim"][:4])


def test_coordinates_too_far_for_float32_are_kept_in_nifti_2(tmp_path: Path) -> None:
    affine = np.diag([0.7, 0.7, 0.7, 1.0])
    affine[:3, 3] = 123456.789
    volume = Volume(np.zeros((1, 3, 4, 5), np.uint8), medseg.Geometry((3, 4, 5), affine))
    path = medseg.write(volume, tmp_path / "far.nii")
    assert np.array_equal(nibabel.load(path).affine, affine)


def test_a_fourth_dimension_is_refused_or_chosen_from(tmp_path: Path) -> None:
    data = np.random.default_rng(0).integers(0, 99, (3, 4, 5, 2)).astype(np.int16)
    path = _save(tmp_path / "bold.nii.gz", data, np.eye(4))
    assert _refusal(path).code == "four-dimensional"
    assert np.array_equal(medseg.read(path, series=2).data[0], data[..., 1])
    with pytest.raises(medseg.UsageError, match="volumes 1 to 2"):
        medseg.read(path, series=3)


def test_our_own_channels_come_back_as_channels(tmp_path: Path, oblique: Callable[..., Volume]) -> None:
    base = oblique()
    channels = np.stack([base.data[0] / 7, base.data[0] / 3]).astype(np.float32)
    path = medseg.write(Volume(channels, base.geometry), tmp_path / "probabilities.nii.gz")
    assert np.array_equal(medseg.read(path).data, channels)
    assert nibabel.load(path).shape == (5, 7, 4, 2)


def test_colours_are_three_channels(tmp_path: Path) -> None:
    colours = np.random.default_rng(0).integers(0, 255, (4, 5, 6, 3)).astype(np.uint8)
    packed = np.ascontiguousarray(colours).view([("R", "u1"), ("G", "u1"), ("B", "u1")])[..., 0]
    path = _save(tmp_path / "rgb.nii", packed, np.eye(4))
    found = medseg.read(path)
    assert np.array_equal(np.moveaxis(found.data, 0, -1), colours)
    again = nibabel.load(medseg.write(found, tmp_path / "again.nii"))
    assert np.array_equal(np.asanyarray(again.dataobj), packed)


def test_vectors_and_complex_numbers_are_no_scan(tmp_path: Path) -> None:
    warp = _save(tmp_path / "warp.nii", np.zeros((3, 4, 5, 1, 3), np.float32), np.eye(4))
    assert _refusal(warp).code == "not-an-image"
    spectrum = _save(tmp_path / "complex.nii", np.zeros((3, 4, 5), np.complex64), np.eye(4))
    assert "complex" in str(_refusal(spectrum))


def test_voxels_that_are_not_finite_are_refused_or_zeroed_when_allowed(tmp_path: Path) -> None:
    data = np.ones((3, 4, 5), np.float32)
    data[1, 2, 3], data[0, 0, 0] = np.nan, np.inf
    path = _save(tmp_path / "scan.nii", data, np.eye(4))
    assert _refusal(path).code == "non-finite"
    repaired = medseg.read(path, allow=["non-finite"])
    assert repaired.verdict.status == "repaired"
    assert "2 of 60" in repaired.verdict.reasons[0].message
    assert repaired.data.sum() == 58
    assert repaired.data[0, 1, 2, 3] == 0


def test_a_scan_of_nothing_but_nan_stays_refused(tmp_path: Path) -> None:
    path = _save(tmp_path / "scan.nii", np.full((3, 4, 5), np.nan, np.float32), np.eye(4))
    assert _refusal(path, allow=["non-finite"]).code == "non-finite"


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_a_truncated_file_is_refused(
    tmp_path: Path, oblique: Callable[..., Volume], truncate: Callable[[Path, int], Path], suffix: str
) -> None:
    path = medseg.write(oblique(), tmp_path / f"scan{suffix}")
    assert _refusal(truncate(path, 20)).code == "truncated"


def test_flipped_bits_of_a_compressed_stream_are_noticed(
    tmp_path: Path, oblique: Callable[..., Volume]
) -> None:
    path = medseg.write(oblique(), tmp_path / "scan.nii.gz")
    good = path.read_bytes()
    for position in range(10, len(good), 5):
        path.write_bytes(good[:position] + bytes([good[position] ^ 4]) + good[position + 1 :])
        assert _refusal(path).code != "refused"


def test_a_wrong_checksum_is_refused(tmp_path: Path, oblique: Callable[..., Volume]) -> None:
    path = medseg.write(oblique(), tmp_path / "scan.nii.gz")
    content = bytearray(path.read_bytes())
    content[-6] ^= 0xFF
    path.write_bytes(bytes(content))
    assert _refusal(path).code == "corrupt"


def test_more_data_than_the_header_knows_is_refused(scan: Path) -> None:
    packed = scan.with_name("bomb.nii.gz")
    packed.write_bytes(gzip.compress(scan.read_bytes() + bytes(50_000_000)))
    assert _refusal(packed).code == "size-mismatch"


def test_a_header_that_asks_for_more_than_the_file_can_hold_is_refused_before_memory_is_taken(
    scan: Path,
) -> None:
    _patch(scan, 40, "<4h", 3, 32000, 32000, 32000)
    assert _refusal(scan).code == "truncated"
    packed = scan.with_name("lie.nii.gz")
    packed.write_bytes(gzip.compress(scan.read_bytes()))
    assert _refusal(packed).code == "truncated"


@pytest.mark.parametrize(
    ("offset", "layout", "values"),
    [
        (0, "<i", (347,)),  # size of the header
        (40, "<h", (0,)),  # number of dimensions
        (40, "<h", (9,)),
        (42, "<h", (-5,)),  # a dimension
        (70, "<h", (3,)),  # data type
        (72, "<h", (8,)),  # bits
        (108, "<f", (100.0,)),  # voxels inside the header
        (108, "<f", (float("nan"),)),
        (112, "<f", (float("inf"),)),  # slope
        (123, "<B", (5,)),  # unit of length
        (280, "<4f", (0, 0, 0, 0)),  # a row of the sform
        (280, "<f", (float("nan"),)),
        (344, "<4s", (b"oops",)),
    ],
)
def test_an_impossible_header_is_refused(scan: Path, offset: int, layout: str, values: tuple) -> None:
    assert _refusal(_patch(scan, offset, layout, *values)).code == "bad-header"


def test_a_pair_without_its_other_half_is_refused(tmp_path: Path, oblique: Callable[..., Volume]) -> None:
    nibabel.save(nibabel.Nifti1Pair(oblique().data[0], np.eye(4)), tmp_path / "scan.img")
    (tmp_path / "scan.img").unlink()
    assert _refusal(tmp_path / "scan.hdr").code == "truncated"


def test_allow_takes_only_its_own_words(scan: Path) -> None:
    with pytest.raises(medseg.UsageError, match="missing-slices, uneven-spacing, tilt, shear, non-finite"):
        medseg.read(scan, allow=["everything"])


def test_a_missing_file_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"absent\.nii"):
        medseg.read(tmp_path / "absent.nii")


def test_reading_nifti_loads_no_other_library(scan: Path) -> None:
    code = (
        f"import sys, medseg; medseg.read({str(scan)!r}); heavy = {HEAVY!r};"
        "print(sorted(heavy & set(sys.modules)))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_real_scans_are_read_as_nibabel_reads_them(real_data: Path) -> None:
    folders = (real_data / "ct", real_data / "nifti" / "spinal_cord" / "t2")
    paths = [path for folder in folders for path in sorted(folder.glob("[et]*2.nii.gz"))]
    paths += sorted(folders[0].glob("*.nii.gz"))
    assert len(paths) == 7
    for path in paths:
        found, oracle = medseg.read(path), nibabel.load(path)
        assert np.array_equal(found.geometry.affine, oracle.affine), path.name
        assert np.allclose(found.data[0], np.asanyarray(oracle.dataobj), rtol=1e-6), path.name


@pytest.mark.parametrize("slope", [1e-29, -9.6e-109, 1e-34, 5e-324])
@pytest.mark.parametrize("dtype", ["i2", "f4", "i4"])
def test_scaling_keeps_the_values_apart_or_is_refused(tmp_path: Path, slope: float, dtype: str) -> None:
    data = np.arange(2 * 3 * 4).reshape(2, 3, 4).astype(dtype)
    path = _save(tmp_path / "x.nii", data, np.eye(4), nibabel.Nifti2Image)
    _patch(path, 176, "<2d", slope, 0.0)
    values = nibabel.load(path).get_fdata()
    if np.abs(values).max() < 1e-30:
        with pytest.raises(medseg.InputRefused, match="too small") as refusal:
            medseg.read(path)
        assert refusal.value.code == "bad-header"
    else:
        np.testing.assert_allclose(medseg.read(path).data[0], values, rtol=1e-6)


@pytest.mark.parametrize("scaling", [(1e-35, 7.0), (3.0, -3.0), (-7.0, 1e-32)])
def test_an_intercept_may_be_all_there_is(tmp_path: Path, scaling: tuple[float, float]) -> None:
    path = _save(tmp_path / "x.nii", np.ones((2, 3, 4), np.float32), np.eye(4))
    _patch(path, 112, "<2f", *scaling)
    assert (medseg.read(path).data == nibabel.load(path).get_fdata().astype(np.float32)).all()
