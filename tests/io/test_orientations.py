"""All 48 axis orders and flips, in every format that holds a grid, against nibabel and SimpleITK."""

from __future__ import annotations

from collections.abc import Callable
from itertools import permutations, product
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk

import medseg
from medseg import Volume

ORIENTATIONS = list(product(permutations(range(3)), product((False, True), repeat=3)))
FORMATS = (".nii.gz", ".nii", ".nrrd", ".mha")
CORNER_MM = 1e-4
GRID_FIELDS = (
    "srow_x", "srow_y", "srow_z", "sform_code", "qform_code", "quatern_b", "quatern_c", "quatern_d",
    "qoffset_x", "qoffset_y", "qoffset_z", "xyzt_units",
)  # fmt: skip


def _point(image: sitk.Image, index: tuple[int, ...]) -> np.ndarray:
    """SimpleITK's world point of an index, in RAS."""
    return np.array(image.TransformIndexToPhysicalPoint(index)) * (-1, -1, 1)


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize(("axes", "flipped"), ORIENTATIONS)
def test_written_scan_is_where_other_readers_expect_it(
    oblique: Callable[..., Volume], tmp_path: Path, axes: tuple, flipped: tuple, suffix: str
) -> None:
    volume = oblique(axes, flipped)
    path = medseg.write(volume, tmp_path / f"scan{suffix}")
    image = sitk.ReadImage(str(path))
    voxels = sitk.GetArrayFromImage(image).T
    assert np.array_equal(voxels, volume.data[0])
    for corner in product(*((0, n - 1) for n in volume.geometry.shape)):
        expected = volume.geometry.affine @ [*corner, 1]
        assert np.linalg.norm(_point(image, tuple(map(int, corner))) - expected[:3]) <= CORNER_MM
    if ".nii" in suffix:
        other = nibabel.load(path)
        assert np.array_equal(np.asanyarray(other.dataobj), volume.data[0])
        for code in (other.header["sform_code"], other.header["qform_code"]):
            assert code > 0
        # near a turn by 180 degrees float32 leaves a qform no better than this
        assert np.allclose(other.get_qform(), volume.geometry.affine, atol=1e-3)


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize(("axes", "flipped"), ORIENTATIONS)
def test_rewriting_the_same_format_is_bit_equal(
    oblique: Callable[..., Volume], tmp_path: Path, axes: tuple, flipped: tuple, suffix: str
) -> None:
    first = medseg.write(oblique(axes, flipped), tmp_path / f"first{suffix}")
    once = medseg.read(first)
    twice = medseg.read(medseg.write(once, tmp_path / f"second{suffix}"))
    assert first.read_bytes() == (tmp_path / f"second{suffix}").read_bytes()
    assert np.array_equal(once.geometry.affine, twice.geometry.affine)


@pytest.mark.parametrize(("axes", "flipped"), ORIENTATIONS)
def test_conversion_between_formats_keeps_every_corner(
    oblique: Callable[..., Volume], tmp_path: Path, axes: tuple, flipped: tuple
) -> None:
    volume = oblique(axes, flipped)
    current = volume
    for n, suffix in enumerate((".nii.gz", ".nrrd", ".mha", ".nrrd", ".nii")):
        current = medseg.read(medseg.write(current, tmp_path / f"{n}{suffix}"))
        assert np.array_equal(current.data, volume.data)
        assert current.geometry.grid_distance_mm(volume.geometry) <= CORNER_MM


@pytest.mark.parametrize("suffix", [".nrrd", ".nhdr", ".mha", ".mhd", ".nii.gz"])
@pytest.mark.parametrize(("axes", "flipped"), ORIENTATIONS)
def test_files_written_by_itk_are_read_and_rewritten_at_their_world_points(
    oblique: Callable[..., Volume], tmp_path: Path, axes: tuple, flipped: tuple, suffix: str
) -> None:
    volume = oblique(axes, flipped)
    image = sitk.GetImageFromArray(volume.data[0].T)
    lps = np.diag([-1.0, -1.0, 1.0]) @ volume.geometry.affine[:3]
    image.SetSpacing(volume.geometry.spacing)
    image.SetDirection((lps[:, :3] / volume.geometry.spacing).ravel().tolist())
    image.SetOrigin(lps[:, 3].tolist())
    path = tmp_path / f"scan{suffix}"
    sitk.WriteImage(image, str(path), useCompression=flipped[0])
    found = medseg.read(path)
    assert np.array_equal(found.data, volume.data)
    assert found.geometry.grid_distance_mm(volume.geometry) <= CORNER_MM
    assert found.verdict.status == "ok"
    same = {".nhdr": ".nrrd", ".mhd": ".mha"}.get(suffix, suffix)
    again = medseg.read(medseg.write(found, tmp_path / f"again{same}"))
    assert np.array_equal(again.geometry.affine, found.geometry.affine)


@pytest.mark.parametrize("kind", [nibabel.Nifti1Image, nibabel.Nifti2Image, nibabel.Nifti1Pair])
@pytest.mark.parametrize(("axes", "flipped"), ORIENTATIONS)
def test_files_written_by_nibabel_are_read_and_rewritten_bit_for_bit(
    oblique: Callable[..., Volume], tmp_path: Path, axes: tuple, flipped: tuple, kind: type
) -> None:
    volume = oblique(axes, flipped)
    for qform, sform in ((0, 4), (3, 0), (1, 2)):
        image = kind(volume.data[0], None)
        image.set_qform(volume.geometry.affine, qform)
        image.set_sform(volume.geometry.affine, sform)
        image.header.set_xyzt_units("mm", "sec")
        path = tmp_path / ("scan.img" if kind is nibabel.Nifti1Pair else "scan.nii")
        nibabel.save(image, path)
        found, oracle = medseg.read(path), nibabel.load(path)
        assert np.array_equal(found.data, volume.data)
        # near a turn by 180 degrees float32 leaves a qform no better than this
        rounded = not sform and kind is not nibabel.Nifti2Image
        assert found.geometry.grid_distance_mm(volume.geometry) <= (5e-3 if rounded else CORNER_MM)
        if sform:
            assert np.array_equal(found.geometry.affine, oracle.affine)
        again = nibabel.load(medseg.write(found, tmp_path / "again.nii", overwrite=True))
        assert again.header["sizeof_hdr"] == oracle.header["sizeof_hdr"]
        for field in GRID_FIELDS:
            assert np.array_equal(again.header[field], oracle.header[field]), field
        assert np.array_equal(again.header["pixdim"][:4], oracle.header["pixdim"][:4])


@pytest.mark.parametrize(
    "space", ["RAS", "LAS", "left-posterior-superior", "scanner-xyz", "3D-left-handed", None]
)
@pytest.mark.parametrize("units", [None, '"mm" "mm" "mm"', '"um" "cm" "m"'])
def test_a_nrrd_grid_is_rewritten_in_its_own_space_and_units(
    tmp_path: Path, space: str | None, units: str | None
) -> None:
    lines = [
        "NRRD0004", "type: uchar", "dimension: 3", "sizes: 2 3 4", "encoding: raw",
        f"space: {space}" if space else "space dimension: 3",
        "space directions: (+0.70,1e-3,.02) ( 0.1, 1.10 ,0) (0,-3E-1,2.300)", "space origin: (1e2,-20.5,.3)",
    ]  # fmt: skip
    lines += [f"space units: {units}"] * (units is not None)
    path = tmp_path / "scan.nrrd"
    path.write_bytes("\n".join([*lines, "", ""]).encode() + bytes(range(24)))
    once = medseg.read(path, allow=["shear"])
    twice = medseg.read(medseg.write(once, tmp_path / "again.nrrd"), allow=["shear"])
    assert np.array_equal(once.geometry.affine, twice.geometry.affine)
    assert once.verdict == twice.verdict


def test_a_sheared_grid_is_kept_exactly_where_the_format_can(tmp_path: Path) -> None:
    affine = np.array([[1.0, 0, 0.4, 3], [0, 1.2, 0, -4], [0, 0, 2.0, 5], [0, 0, 0, 1]])
    volume = Volume(np.zeros((1, 4, 5, 6), np.uint8), medseg.Geometry((4, 5, 6), affine))
    for suffix in FORMATS:
        path = medseg.write(volume, tmp_path / f"tilted{suffix}")
        with pytest.raises(medseg.InputRefused, match="right angles") as refusal:
            medseg.read(path)
        assert refusal.value.code == "shear"
        kept = medseg.read(path, allow=["shear"])
        assert kept.verdict.codes == ("shear",)
        assert kept.geometry.grid_distance_mm(volume.geometry) <= CORNER_MM
