"""NRRD files whose space has time as its fourth axis."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

import medseg

VOXELS = np.random.default_rng(1).integers(-99, 99, (3, 4, 5, 6)).astype(np.int16)  # time, k, j, i


@pytest.fixture
def image() -> sitk.Image:
    found = sitk.GetImageFromArray(VOXELS, isVector=False)
    turn = np.eye(4)
    turn[:3, :3] = [[0.96, -0.224, 0.168], [0.28, 0.768, -0.576], [0.0, 0.6, 0.8]]
    found.SetDirection(turn.ravel())
    found.SetSpacing((0.75, 1.25, 3.0, 2.5))
    found.SetOrigin((-11.0, 20.5, 7.0, 40.0))
    return found


def _text(path: Path, *changes: tuple[str, str]) -> Path:
    content = path.read_bytes()
    for old, new in changes:
        assert old.encode() in content
        content = content.replace(old.encode(), new.encode(), 1)
    path.write_bytes(content)
    return path


def test_a_volume_of_four_dimensions_is_that_of_its_metaimage_twin(tmp_path: Path, image: sitk.Image) -> None:
    for name in ("bold.nrrd", "bold.mha"):
        sitk.WriteImage(image, str(tmp_path / name))
        with pytest.raises(medseg.InputRefused, match="series=1 to series=3") as refusal:
            medseg.read(tmp_path / name)
        assert refusal.value.code == "four-dimensional"
    found, twin = (medseg.read(tmp_path / name, series=2) for name in ("bold.nrrd", "bold.mha"))
    assert np.array_equal(found.data, twin.data)
    assert np.array_equal(found.data[0].T, VOXELS[1])
    np.testing.assert_allclose(found.geometry.affine, twin.geometry.affine, rtol=0, atol=1e-12)
    volume = image[:, :, :, 1]
    for index in ((0, 0, 0), (5, 4, 3)):
        there = np.array(volume.TransformIndexToPhysicalPoint(index)) * (-1, -1, 1)
        np.testing.assert_allclose(found.geometry.index_to_world(index), there, atol=1e-9)
    assert found.verdict.codes == ("orientation-unknown",)  # the space has no name in it


@pytest.mark.parametrize("name", ["left-posterior-superior-time", "LPST"])
def test_a_named_space_with_time_says_where_left_is(tmp_path: Path, image: sitk.Image, name: str) -> None:
    path = tmp_path / "bold.nrrd"
    sitk.WriteImage(image, str(path))
    known = medseg.read(path, series=3).geometry
    units = 'space units: "mm" "mm" "mm" "s"'
    _text(path, ("space dimension: 4", f"space: {name}\n{units}"))
    found = medseg.read(path, series=3)
    assert found.geometry == known
    assert found.verdict.status == "ok"
    assert np.array_equal(found.data[0].T, VOXELS[2])


def test_time_may_be_any_axis_and_of_one_step(tmp_path: Path, image: sitk.Image) -> None:
    sitk.WriteImage(image, str(tmp_path / "one.nrrd"))
    path = _text(tmp_path / "one.nrrd", ("sizes: 6 5 4 3", "sizes: 6 5 12 1"))
    assert np.array_equal(medseg.read(path).data[0].T, VOXELS.reshape(12, 5, 6))
    image.SetDirection(np.eye(4).ravel())
    sitk.WriteImage(image, str(tmp_path / "first.nrrd"))
    path = _text(
        tmp_path / "first.nrrd",
        ("(0.75,0,0,0) (0,1.25,0,0) (0,0,3,0) (0,0,0,2.5)", "(0,0,0,1) (2,0,0,0) (0,3,0,0) (0,0,4,0)"),
    )
    found = medseg.read(path, series=6)
    assert found.geometry.spacing == (2.0, 3.0, 4.0)
    assert np.array_equal(found.data[0].T, VOXELS[..., 5])


@pytest.mark.parametrize(
    ("directions", "origin"),
    [
        ("(1,0,0,0) (0,1,0,0) (0,0,1,0.5) (0,0,0,1)", "(0,0,0,0)"),  # slices at times of their own
        ("(1,0,0,0) (0,1,0,0) (0,0,1,0) (0.5,0,0,1)", "(0,0,0,0)"),  # a moving table
        ("(1,0,0,0) (0,1,0,0) (0,0,1,0) (0,0,0,nan)", "(0,0,0)"),
        ("(1,0,0,0) (0,1,0,0) (0,0,0,0) (0,0,0,1)", "(0,0,0,0)"),
        ("(1,0,0,0) (0,1,0,0) (0,0,1,0) none", "(0,0,0,0)"),
    ],
)
def test_time_that_is_mixed_with_space_is_refused(
    tmp_path: Path, image: sitk.Image, directions: str, origin: str
) -> None:
    sitk.WriteImage(image, str(tmp_path / "x.nrrd"))
    lines = (tmp_path / "x.nrrd").read_bytes().split(b"\n")
    lines = [
        f"space directions: {directions}".encode() if line.startswith(b"space directions") else
        f"space origin: {origin}".encode() if line.startswith(b"space origin") else line
        for line in lines
    ]  # fmt: skip
    (tmp_path / "x.nrrd").write_bytes(b"\n".join(lines))
    with pytest.raises(medseg.InputRefused) as refusal:
        medseg.read(tmp_path / "x.nrrd", series=1)
    assert refusal.value.code in ("four-dimensional", "bad-header")
