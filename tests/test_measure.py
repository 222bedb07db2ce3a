"""Volumes and borders, counted by hand and by SimpleITK."""

from __future__ import annotations

import math

import numpy as np
import pytest
import SimpleITK as sitk

from medseg.geometry import Geometry
from medseg.labels import LabelSet
from medseg.measure import measure
from medseg.volume import LabelMap


def label_map(data: np.ndarray, affine: np.ndarray, **flags: bool) -> LabelMap:
    return LabelMap(
        data, Geometry(data.shape, affine, **flags), LabelSet.from_names({2: "a", 5: "b", 300: "c"})
    )


def test_volumes_agree_with_simpleitk_on_anisotropic_voxels() -> None:
    data = np.random.default_rng(0).choice(np.array([0, 2, 5], np.uint16), size=(9, 14, 6), p=[0.6, 0.3, 0.1])
    found = measure(label_map(data, np.diag([-0.7, 1.3, 2.9, 1.0])))

    image = sitk.GetImageFromArray(data.transpose(2, 1, 0))
    image.SetSpacing((0.7, 1.3, 2.9))
    shapes = sitk.LabelShapeStatisticsImageFilter()
    shapes.Execute(image)
    assert [(m.id, m.name) for m in found] == [(2, "a"), (5, "b"), (300, "c")]
    for measurement in found[:2]:
        assert measurement.voxels == shapes.GetNumberOfPixels(measurement.id)
        assert measurement.volume_ml == pytest.approx(shapes.GetPhysicalSize(measurement.id) / 1000, rel=1e-9)


def test_an_absent_label_measures_zero() -> None:
    absent = measure(label_map(np.zeros((3, 4, 5), np.uint8), np.eye(4)))[2]
    assert (absent.id, absent.voxels, absent.volume_ml, absent.touches_border) == (300, 0, 0.0, False)


def test_a_sheared_voxel_counts_by_its_determinant() -> None:
    # A CT with its gantry tilted by 20 degrees: slices 5 mm apart along the table, moved by 5 sin(20).
    tilt = math.radians(20)
    affine = np.diag([0.9, 0.8, 5 * math.cos(tilt), 1.0])
    affine[1, 2] = 5 * math.sin(tilt)
    data = np.zeros((4, 4, 4), np.uint8)
    data[1:3, 1:3, 1:3] = 5
    (_, inner, _) = measure(label_map(data, affine))
    assert inner.volume_ml == pytest.approx(8 * 0.9 * 0.8 * 5 * math.cos(tilt) / 1000, rel=1e-12)


@pytest.mark.parametrize(
    ("flags", "reason"),
    [
        ({"spacing_known": False}, "the file does not tell the size of a voxel"),
        ({"is_2d": True}, "a 2D image has no thickness"),
    ],
)
def test_a_volume_that_cannot_be_told_is_missing_with_a_reason(flags: dict[str, bool], reason: str) -> None:
    data = np.full((4, 5, 1), 5, np.uint8)
    (absent, present, _) = measure(label_map(data, np.eye(4), **flags))
    for measurement in (absent, present):
        assert measurement.volume_ml is None
        assert measurement.to_json()["volume_ml"] is None
        assert measurement.to_json()["reason"] == reason
    assert present.voxels == 20


@pytest.mark.parametrize("voxel", [(0, 3, 2), (6, 3, 2), (3, 0, 2), (3, 7, 2), (3, 3, 0), (3, 3, 4)])
def test_each_face_of_the_grid_is_a_border(voxel: tuple[int, int, int]) -> None:
    data = np.zeros((7, 8, 5), np.uint8)
    data[1:6, 1:7, 1:4] = 2
    data[voxel] = 5
    inside, outside, _ = measure(label_map(data, np.eye(4)))
    assert not inside.touches_border
    assert outside.touches_border


def test_the_faces_of_a_single_slice_are_no_border() -> None:
    data = np.zeros((7, 8, 1), np.uint8)
    data[2:5, 2:5] = 2
    assert not measure(label_map(data, np.eye(4)))[0].touches_border
