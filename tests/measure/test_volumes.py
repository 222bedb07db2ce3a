"""Volumes and borders, counted by hand and by SimpleITK."""

from __future__ import annotations

import math
from types import MappingProxyType

import numpy as np
import pytest
import SimpleITK as sitk
from numpy.typing import NDArray

from medseg.geometry import Geometry
from medseg.labels import LabelSet
from medseg.measure import Measurement, add_up, compare_sides, measure
from medseg.plans import TotalSpec
from medseg.volume import LabelMap
from tests.pipeline.scans import AFFINE


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


class TestTotalsAndSides:
    """Counted by numpy on an oblique, anisotropic grid."""

    NAMES = MappingProxyType(
        {2: "Right-Lung", 3: "Left-Lung", 5: "heart", 9: "kidney_left", 300: "kidney_right"}
    )
    TOTALS = (TotalSpec(name="thorax", labels=(5, 2, 3)), TotalSpec(name="kidneys", labels=(9, 300)))

    def of(self, data: NDArray[np.uint16], **flags: bool) -> LabelMap:
        return LabelMap(data, Geometry(data.shape, AFFINE, **flags), LabelSet.from_names(self.NAMES))

    @pytest.fixture
    def data(self) -> NDArray[np.uint16]:
        rng = np.random.default_rng(4)
        return rng.choice(
            np.array([0, 2, 3, 5, 9, 300], np.uint16), (9, 14, 6), p=[0.5, 0.1, 0.2, 0.1, 0.06, 0.04]
        )

    @staticmethod
    def millilitres(inside: NDArray[np.bool_]) -> float:
        # The parallelepiped that a voxel is, by its edges.
        edges = AFFINE[:3, :3].T
        return np.count_nonzero(inside) * abs(np.dot(edges[0], np.cross(edges[1], edges[2]))) / 1000

    def test_a_total_is_the_union_of_its_labels(self, data: NDArray[np.uint16]) -> None:
        thorax, kidneys = add_up(measure(self.of(data)), self.TOTALS)
        for total, ids in ((thorax, (5, 2, 3)), (kidneys, (9, 300))):
            inside = np.isin(data, ids)
            assert (total.labels, total.voxels) == (ids, np.count_nonzero(inside))
            assert total.volume_ml == pytest.approx(self.millilitres(inside), rel=1e-12)
            assert total.touches_border
        assert thorax.to_json() == {
            "name": "thorax",
            "labels": [5, 2, 3],
            "volume_ml": pytest.approx(self.millilitres(np.isin(data, (2, 3, 5))), abs=1e-6),
            "voxels": thorax.voxels,
            "touches_border": True,
        }

    def test_a_total_touches_the_border_where_one_of_its_labels_does(self) -> None:
        data = np.zeros((7, 8, 5), np.uint16)
        data[1:6, 1:7, 1:4] = 2
        data[3, 3, 2] = 9
        assert [total.touches_border for total in add_up(measure(self.of(data)), self.TOTALS)] == [
            False,
            False,
        ]
        data[3, 0, 2] = 5
        assert [total.touches_border for total in add_up(measure(self.of(data)), self.TOTALS)] == [
            True,
            False,
        ]

    def test_the_index_is_the_difference_over_the_mean_positive_where_left_is_larger(
        self, data: NDArray[np.uint16]
    ) -> None:
        labelmap = self.of(data)
        lung, kidney = compare_sides(measure(labelmap), labelmap.labels)
        assert (lung.name, lung.left_id, lung.right_id) == ("Lung", 3, 2)
        assert (kidney.name, kidney.left_id, kidney.right_id) == ("kidney", 9, 300)
        for pair in (lung, kidney):
            left, right = data == pair.left_id, data == pair.right_id
            assert pair.left_ml == pytest.approx(self.millilitres(left), rel=1e-12)
            assert pair.right_ml == pytest.approx(self.millilitres(right), rel=1e-12)
            expected = 100 * (left.sum() - right.sum()) / np.mean([left.sum(), right.sum()])
            assert pair.index_percent == pytest.approx(expected, rel=1e-12)
            assert pair.index_percent > 0
        assert set(lung.to_json()) == {"name", "left_id", "right_id", "left_ml", "right_ml", "index_percent"}
        mirrored = self.of(
            np.choose(np.searchsorted([0, 2, 3, 5, 9, 300], data), [0, 3, 2, 5, 300, 9]).astype(np.uint16)
        )
        for there, back in zip(
            (lung, kidney), compare_sides(measure(mirrored), mirrored.labels), strict=True
        ):
            assert back.index_percent == pytest.approx(-there.index_percent, rel=1e-12)

    def test_a_side_that_is_absent_makes_200_percent_and_two_make_no_number(self) -> None:
        data = np.zeros((7, 8, 5), np.uint16)
        data[3, 3, 1:4] = 2
        labelmap = self.of(data)
        lung, kidney = compare_sides(measure(labelmap), labelmap.labels)
        assert (lung.left_ml, lung.index_percent, lung.reason) == (0.0, -200.0, None)
        assert (kidney.left_ml, kidney.right_ml, kidney.index_percent) == (0.0, 0.0, None)
        assert kidney.reason == kidney.to_json()["reason"] == "neither side was found"
        _, kidneys = add_up(measure(labelmap), self.TOTALS)
        assert (kidneys.volume_ml, kidneys.voxels, kidneys.reason) == (0.0, 0, None)

    @pytest.mark.parametrize(
        ("flags", "reason"),
        [
            ({"spacing_known": False}, "the file does not tell the size of a voxel"),
            ({"is_2d": True}, "a 2D image has no thickness"),
        ],
    )
    def test_without_millilitres_totals_and_sides_are_missing_with_a_reason(
        self, flags: dict[str, bool], reason: str
    ) -> None:
        data = np.zeros((5, 4, 1), np.uint16)
        data[0], data[1:3] = 2, 3
        labelmap = self.of(data, **flags)
        thorax, _ = add_up(measure(labelmap), self.TOTALS)
        assert (thorax.voxels, thorax.volume_ml, thorax.to_json()["reason"]) == (12, None, reason)
        for pair in compare_sides(measure(labelmap), labelmap.labels):
            assert (pair.left_ml, pair.right_ml, pair.index_percent) == (None, None, None)
            assert pair.to_json()["reason"] == reason

    def test_one_part_that_cannot_be_measured_leaves_the_total_unmeasured(self) -> None:
        known = Measurement(2, "Right-Lung", 4, 1.5, False)
        unknown = Measurement(3, "Left-Lung", 4, None, False, "cut away")
        (total,) = add_up((known, unknown), (TotalSpec(name="lungs", labels=(2, 3)),))
        assert (total.volume_ml, total.reason) == (None, "cut away")
        labels = LabelSet.from_names({2: "Right-Lung", 3: "Left-Lung"})
        (pair,) = compare_sides((known, unknown), labels)
        assert (pair.left_ml, pair.right_ml, pair.index_percent, pair.reason) == (None, 1.5, None, "cut away")
