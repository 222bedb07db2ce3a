"""Inspecting a file with a time axis: its volumes are what ``series=`` chooses from."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import pytest

import medseg

# Turned about z, anisotropic, off centre.
AFFINE = np.array([[-1.1, 0.3, 0, 41.0], [-0.3, -1.1, 0, 33.0], [0, 0, 2.5, -70.25], [0, 0, 0, 1.0]])


def _save(path: Path, count: int = 4, shape: tuple[int, int, int] = (7, 6, 5)) -> np.ndarray:
    data = np.random.default_rng(3).normal(100, 20, (*shape, count)).astype(np.float32)
    image = nibabel.Nifti1Image(data, AFFINE)
    image.set_sform(AFFINE, code=1)
    nibabel.save(image, path)
    return data


def test_every_volume_is_listed_under_the_name_that_read_takes(tmp_path: Path) -> None:
    data = _save(tmp_path / "bold.nii.gz")
    found = medseg.inspect(tmp_path / "bold.nii.gz")
    assert found.verdict.codes == ("four-dimensional",)
    assert [one.summary for one in found.series] == [f"volume {n} of 4, float32, LPS" for n in (1, 2, 3, 4)]
    for n, one in enumerate(found.series):
        assert one.geometry is not None
        np.testing.assert_allclose(one.geometry.affine, AFFINE, atol=1e-6)
        volume = medseg.read(tmp_path / "bold.nii.gz", series=one.id)
        np.testing.assert_array_equal(volume.data[0], data[..., n])


def test_a_damaged_volume_is_found_where_all_are_read_and_else_said_to_be_unread(tmp_path: Path) -> None:
    path = tmp_path / "bold.nii"
    data = _save(path)
    data[2, 3, 1, 2] = np.nan
    image = nibabel.load(path)
    nibabel.save(nibabel.Nifti1Image(data, AFFINE, image.header), path)
    read = medseg.inspect(path, pixels=True).series
    assert [one.verdict.codes for one in read] == [(), (), ("non-finite",), ()]
    assert all(one.pixels_decoded for one in read)
    unread = medseg.inspect(path, pixels=False).series
    assert [one.verdict.status for one in unread] == ["ok"] * 4
    assert [one.pixels_decoded for one in unread] == [True, False, False, False]


def test_long_time_series_are_judged_by_their_first_volume(tmp_path: Path) -> None:
    _save(tmp_path / "long.nii", count=65, shape=(3, 2, 2))
    series = medseg.inspect(tmp_path / "long.nii").series
    assert [one.pixels_decoded for one in series] == [True] + [False] * 64


def test_a_time_series_that_is_cut_short_is_refused_in_every_volume(tmp_path: Path) -> None:
    path = tmp_path / "cut.nii"
    _save(path)
    path.write_bytes(path.read_bytes()[:-100])
    series = medseg.inspect(path).series
    assert [one.verdict.codes for one in series] == [("truncated",)] * 4


def test_real_time_series_are_listed(real_data: Path) -> None:
    path = real_data / "nifti" / "nibabel" / "example4d.nii.gz"
    expected = nibabel.load(path)
    series = medseg.inspect(path).series
    assert len(series) == expected.shape[3]
    assert {one.geometry.shape for one in series if one.geometry} == {expected.shape[:3]}


@pytest.mark.parametrize("name", ["bold.mha", "bold.nrrd"])
def test_other_formats_list_their_volumes_too(tmp_path: Path, name: str) -> None:
    import SimpleITK as sitk

    image = sitk.JoinSeries([sitk.Image(7, 6, 5, sitk.sitkInt16) + n for n in range(3)])
    sitk.WriteImage(image, str(tmp_path / name))
    assert [one.id for one in medseg.inspect(tmp_path / name).series] == ["1", "2", "3"]
    assert medseg.read(tmp_path / name, series=3).data.max() == 2
