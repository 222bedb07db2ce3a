"""Real DICOM series: their verdicts, and their voxels where dcm2niix and published files have them."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import nibabel
import numpy as np
import pytest
from numpy.typing import NDArray

import medseg
from medseg import Volume

Other = tuple[NDArray[np.generic], NDArray[np.float64]]  # voxels, affine to RAS+ mm


def _sample(shape: tuple[int, ...]) -> np.ndarray:
    """Ten thousand voxel indices, drawn once and for all."""
    return np.random.default_rng(5).integers(0, shape, (10_000, 3))


@pytest.fixture(scope="module")
def clean_ct(real_data: Path) -> Volume:
    return medseg.read(real_data / "dicom" / "ct_clean_j2k")


def test_the_ordinary_ct_is_plainly_right(clean_ct: Volume) -> None:
    assert clean_ct.verdict.status == "ok"
    assert clean_ct.data.shape == (1, 512, 512, 20)
    assert clean_ct.source.modality == "CT"
    assert clean_ct.geometry.spacing == pytest.approx((0.9765625, 0.9765625, 2.0))


REAL = {
    "generic_anatomical/001": "ok", "generic_anatomical/001_implicit": "ok",
    "generic_anatomical/002_non_isotropic": "ok", "generic_compressed_j2k/001": "ok",
    "generic_compressed_jpeg/001": "ok", "generic_compressed_jpegls/001": "ok",
    "generic_compressed_rle/001": "ok", "two_slices/001": "ok", "seg_dcmqi/ct-3slice": "ok",
    "rtstruct_rt_utils/tests/oriented_data": "ok",
    "ct_gantry_tilt_variable_spacing": "uneven-spacing", "missing_slice": "missing-slices",
    "four_slices_one_position/001": "repeated-positions", "repeated_positions_4d": "four-dimensional",
    "nine_transfer_syntaxes/In": "several-series", "twelve_bit/In": "several-series",
    "generic_rgb/001": "colour", "enhanced_mr/001": "ok", "seg_dcmqi/23x38x3/seg": "no-scan",
    "enhanced_mr/001_implicit": "ok", "enhanced_mr_qa/In/Philips": "several-series",
    "enhanced_mr_qa/In/Siemens/XA10": "four-dimensional", "files_named_img/Agfa": "four-dimensional",
    "seg_dcmqi/23x38x3/multiframe": "ok", "rtstruct_rt_utils": "several-series",
    "seg_highdicom": "several-series",
}  # fmt: skip


@pytest.mark.parametrize(("folder", "expected"), REAL.items())
def test_real_folders_are_read_or_refused_by_name(real_data: Path, folder: str, expected: str) -> None:
    inspection = medseg.inspect(real_data / "dicom" / folder)
    if expected == "ok":
        assert inspection.verdict.status == "ok"
    else:
        assert inspection.verdict.codes[0] == expected


def test_a_tilted_series_with_uneven_gaps_names_both(real_data: Path) -> None:
    verdict = medseg.inspect(real_data / "dicom" / "ct_gantry_tilt_variable_spacing").verdict
    assert verdict.codes == ("uneven-spacing", "tilt")


TRUE = ("generic_anatomical/001", "generic_anatomical/001_implicit", "generic_anatomical/002_non_isotropic",
        "generic_compressed_j2k/001", "generic_compressed_jpeg/001", "generic_compressed_jpegls/001",
        "generic_compressed_rle/001", "two_slices/001")  # fmt: skip


@pytest.mark.parametrize("folder", TRUE)
def test_every_transfer_syntax_gives_the_published_voxels(real_data: Path, folder: str) -> None:
    source = real_data / "dicom" / folder
    found, truth = medseg.read(source), nibabel.load(source.with_name(f"{source.name}_ground_truth.nii.gz"))
    indices = _sample(found.geometry.shape)
    points = np.c_[found.geometry.index_to_world(indices), np.ones(len(indices))]
    there = np.linalg.solve(truth.affine, points.T)[:3]
    assert np.abs(there - np.rint(there)).max() < 1e-4
    values = np.asanyarray(truth.dataobj)[tuple(np.rint(there).astype(int))]
    assert np.allclose(values, found.data[0][tuple(indices.T)], rtol=1e-5)


def test_nine_transfer_syntaxes_hold_one_image(real_data: Path) -> None:
    folder = real_data / "dicom" / "nine_transfer_syntaxes" / "In"
    first = medseg.read(folder, series=1)
    for n in range(2, 10):
        assert np.array_equal(medseg.read(folder, series=n).data, first.data)


def test_the_published_segmentation_lies_on_the_grid_of_its_series(real_data: Path, clean_ct: Volume) -> None:
    scan = clean_ct
    labels = medseg.read_labels(real_data / "ct" / "example_seg_dicom.nii.gz")
    points = labels.geometry.index_to_world(np.argwhere(labels.data[::7, ::7] > 0) * (7, 7, 1))
    inside = scan.geometry.world_to_index(points)
    assert (np.abs(inside - np.rint(inside)) < 1e-3).all()
    assert (inside >= -0.5).all()
    assert (inside <= np.array(scan.geometry.shape) - 0.5).all()


READ = [
    "ct_clean_j2k", "enhanced_mr/001", "enhanced_mr/001_implicit", "enhanced_mr_qa/In/Philips",
    "enhanced_mr_qa/In/Siemens/XA10", "files_named_img/Agfa", "files_named_img/Siemens",
    "four_slices_one_position/001", "generic_anatomical/001", "generic_anatomical/001_implicit",
    "generic_anatomical/002_non_isotropic", "generic_compressed_j2k/001", "generic_compressed_jpeg/001",
    "generic_compressed_rle/001", "nine_transfer_syntaxes/In", "repeated_positions_4d",
    "rtstruct_dicompyler/tests/testdata/example_data", "rtstruct_rt_utils/tests/mock_data",
    "rtstruct_rt_utils/tests/one_slice_data", "rtstruct_rt_utils/tests/oriented_data",
    "seg_dcmqi/23x38x3/image", "seg_dcmqi/23x38x3/multiframe", "seg_dcmqi/24x38x3/image",
    "seg_dcmqi/24x38x3/multiframe", "seg_dcmqi/ct-3slice", "twelve_bit/In", "two_slices/001",
]  # fmt: skip


@pytest.mark.skipif(shutil.which("dcm2niix") is None, reason="dcm2niix is not installed")
@pytest.mark.parametrize("folder", READ)
def test_dcm2niix_finds_the_same_values_at_the_same_points(
    real_data: Path, folder: str, tmp_path: Path
) -> None:
    source = real_data / "dicom" / folder
    others = list(_by_dcm2niix(source, tmp_path))
    if not others:
        pytest.skip("dcm2niix writes nothing here: it was built without a decoder")
    count = len(medseg.inspect(source, pixels=False).series)
    # Signed 12-bit values come out of older releases of dcm2niix as unsigned: the next test has that one.
    numbers = (1, 2) if folder == "twelve_bit/In" else range(1, count + 1)
    for number in numbers:
        found = medseg.read(source, series=number)
        assert any(_agree(found, *other) for other in others), f"series {number}"


def _by_dcm2niix(source: Path, out: Path) -> Iterator[Other]:
    """The volumes that dcm2niix writes, those of a fourth dimension one by one."""
    command = ["dcm2niix", "-p", "n", "-b", "n", "-z", "n", "-f", "%s_%r", "-o", str(out), str(source)]
    subprocess.run(command, capture_output=True, check=False, timeout=120)
    for path in sorted(out.glob("*.nii")):
        image = nibabel.load(path)
        voxels = np.asanyarray(image.dataobj)
        volumes = voxels.reshape((*voxels.shape[:3], -1)) if voxels.ndim > 2 else voxels[..., None, None]
        for n in range(volumes.shape[3]):
            yield volumes[..., n], image.affine


def _agree(found: Volume, voxels: NDArray[np.generic], affine: NDArray[np.float64]) -> bool:
    """Corners within 1e-3 mm of a voxel of the other, its corners within ours, and equal values."""
    corners = np.c_[found.geometry.corners, np.ones(8)]
    there = np.linalg.solve(affine, corners.T)[:3].T
    off = np.linalg.norm((there - np.rint(there)) @ affine[:3, :3].T, axis=1)
    if off.max() > 1e-3 or sorted(np.ptp(np.rint(there), axis=0) + 1) != sorted(voxels.shape):
        return False
    indices = _sample(found.geometry.shape)
    points = np.c_[found.geometry.index_to_world(indices), np.ones(len(indices))]
    where = np.rint(np.linalg.solve(affine, points.T)[:3]).astype(int)
    if where.min() < 0 or (where.max(axis=1) >= voxels.shape).any():
        return False
    return np.allclose(voxels[tuple(where)], found.data[0][tuple(indices.T)], rtol=1e-5, atol=1e-3)


@pytest.mark.parametrize(("folder", "number", "published"), [
    *(("nine_transfer_syntaxes", n, f"{n}.nii") for n in range(1, 10)),
    *(("twelve_bit", n, f"{n + 1}.nii") for n in (1, 2, 3)),
])  # fmt: skip
def test_published_conversions_have_the_same_values_at_the_same_points(
    real_data: Path, folder: str, number: int, published: str
) -> None:
    source = real_data / "dicom" / folder
    image = nibabel.load(source / "Ref" / published)
    assert _agree(medseg.read(source / "In", series=number), np.asanyarray(image.dataobj), image.affine)


def test_colours_with_places_are_three_channels(real_data: Path) -> None:
    source = real_data / "dicom" / "generic_rgb" / "001"
    found = medseg.read(source)
    truth = nibabel.load(source.with_name("001_ground_truth.nii.gz"))
    assert found.verdict.codes == ("colour",)
    assert found.data.dtype == np.uint8
    for channel, name in enumerate("RGB"):
        grey = Volume(found.data[channel][None], found.geometry)
        assert _agree(grey, np.asanyarray(truth.dataobj)[name].astype(float), truth.affine)
