"""Preprocessing against scipy and against world points, on oblique, anisotropic, non-cubic grids."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy.ndimage import map_coordinates

from medseg.errors import InputRefused
from medseg.geometry import Geometry
from medseg.labels import LabelSet
from medseg.plans import ChannelPlan, Plan
from medseg.preprocess import network_geometry, prepare, prepare_labels, resample, restore
from medseg.preprocess.normalise import normalise
from medseg.volume import LabelMap, Volume

ORIENTATIONS = [
    (axes, flips)
    for axes in itertools.permutations(range(3))
    for flips in itertools.product((False, True), repeat=3)
]


def oblique(shape: tuple[int, int, int] = (11, 9, 7)) -> Geometry:
    turn = np.array([[0.96, -0.28, 0.0], [0.28, 0.96, 0.0], [0.0, 0.0, 1.0]])
    affine = np.eye(4)
    affine[:3, :3] = turn @ np.diag([0.8, 1.1, 2.5])
    affine[:3, 3] = (-12.5, 31.0, 4.25)
    return Geometry(shape, affine)


def plan(**changes: object) -> Plan:
    values = {
        "name": "test",
        "dimensions": 3,
        "channels": [{"name": "t1"}],
        "labels": [{"id": 2, "name": "b", "colour": (1, 2, 3)}, {"id": 7, "name": "a", "colour": (1, 2, 3)}],
        "patch": (16, 16, 16),
    }
    return Plan.checked({**values, **changes})


def centres(geometry: Geometry) -> np.ndarray:
    """World points (I, J, K, 3) of every voxel."""
    return geometry.index_to_world(np.moveaxis(np.indices(geometry.shape), 0, -1))


@pytest.mark.parametrize(("axes", "flips"), ORIENTATIONS)
def test_any_axis_order_and_flip_gives_the_network_the_same_array_and_comes_back(axes, flips):
    base = oblique()
    data = np.random.default_rng(0).normal(size=base.shape).astype(np.float32)
    turned = base.permuted(axes, flips)
    stored = np.flip(data.transpose(axes), [n for n in range(3) if flips[n]])
    prepared = prepare(Volume(stored[None], turned), plan())
    assert prepared.geometry.orientation == "RAS"
    assert prepared.geometry.same_grid(base, 1e-9)
    expected = (data - data.mean(dtype=np.float64)) / data.std(dtype=np.float64)
    np.testing.assert_allclose(prepared.data[0], expected, atol=1e-5)
    back = restore(prepared.data, prepared.geometry, prepared.native)
    np.testing.assert_array_equal(
        back[0], np.flip(prepared.data[0].transpose(axes), [n for n in range(3) if flips[n]])
    )


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (1.6, 0.7, 3.0), (0.8, 1.1, 2.5)])
def test_resampling_equals_scipy_at_world_points(spacing):
    source = oblique().permuted((2, 0, 1), (True, False, True))
    target = network_geometry(source, plan(grid={"spacing_mm": spacing}).grid)
    np.testing.assert_allclose(target.spacing, spacing)
    data = np.random.default_rng(1).normal(size=source.shape)
    found = resample(data[None], source, target)[0]
    where = source.world_to_index(centres(target))
    expected = map_coordinates(data, np.moveaxis(where, -1, 0), order=1, mode="nearest")
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_the_respaced_grid_keeps_the_centre_of_the_field_of_view():
    source = oblique((31, 17, 9))
    target = network_geometry(source, plan(grid={"spacing_mm": (1.3, 1.3, 1.3)}).grid)
    middle = [(np.array(g.shape) - 1) / 2 for g in (source, target)]
    np.testing.assert_allclose(source.index_to_world(middle[0]), target.index_to_world(middle[1]), atol=1e-9)


def test_labels_keep_their_place_and_become_class_indices():
    geometry = oblique()
    data = np.zeros(geometry.shape, np.uint8)
    data[2:5, 3:6, 1:4] = 7
    data[6:9, 3:6, 1:4] = 2
    labels = LabelMap(data, geometry, LabelSet.from_names({2: "b", 7: "a"}))
    classes = prepare_labels(labels, plan())
    np.testing.assert_array_equal(classes == 1, data == 2)
    np.testing.assert_array_equal(classes == 2, data == 7)
    fine = plan(grid={"spacing_mm": (0.4, 0.55, 1.25)})
    target = network_geometry(geometry, fine.grid)
    where = np.moveaxis(geometry.world_to_index(centres(target)), -1, 0)
    shares = [map_coordinates((data == i).astype(float), where, order=1, mode="nearest") for i in (0, 2, 7)]
    clear = np.sort(shares, axis=0)[-1] - np.sort(shares, axis=0)[-2] > 1e-4
    np.testing.assert_array_equal(prepare_labels(labels, fine)[clear], np.argmax(shares, axis=0)[clear])


def test_an_id_the_plan_does_not_know_is_refused():
    geometry = oblique()
    data = np.full(geometry.shape, 3, np.uint8)
    with pytest.raises(InputRefused, match=r"label ids \[3\]") as refusal:
        prepare_labels(LabelMap(data, geometry, LabelSet.from_ids([3])), plan())
    assert refusal.value.code == "unknown-label"


@pytest.mark.parametrize(
    ("geometry", "channels", "code"),
    [
        (oblique(), 2, "channels"),
        (Geometry((8, 9, 1), np.diag([-1.0, -1.0, 1.0, 1.0]), is_2d=True), 1, "dimensions"),
        (Geometry((8, 9, 4), np.eye(4), spacing_known=False), 1, "spacing-unknown"),
    ],
)
def test_a_scan_that_does_not_fit_the_plan_is_refused_by_name(geometry, channels, code):
    volume = Volume(np.zeros((channels, *geometry.shape), np.float32), geometry)
    with pytest.raises(InputRefused) as refusal:
        prepare(volume, plan(grid={"spacing_mm": (1, 1, 1)}))
    assert refusal.value.code == code


def test_normalisation_follows_its_definition():
    values = np.array([[[-2000.0, -100.0, 50.0, 3000.0]]], np.float32)
    window = plan(
        channels=[{"name": "ct", "normalisation": "window", "low": -1000, "high": 400, "mean": 10, "std": 50}]
    )
    np.testing.assert_allclose(
        normalise(values, window.channels[0]).ravel(), [-20.2, -2.2, 0.8, 7.8], rtol=1e-6
    )
    unit = plan(channels=[{"name": "grey", "normalisation": "unit", "low": 0, "high": 100}])
    np.testing.assert_allclose(normalise(values, unit.channels[0]).ravel(), [0, 0, 0.5, 1])
    constant = normalise(np.full((2, 2, 2), 7, np.int16), plan().channels[0])
    np.testing.assert_array_equal(constant, 0)


def test_grids_turned_against_each_other_are_refused():
    with pytest.raises(ValueError, match="rotated"):
        resample(np.zeros((1, 11, 9, 7)), oblique(), Geometry((11, 9, 7), np.eye(4)))


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", [np.int16, np.float32])
def test_the_zscore_of_a_large_scan_is_that_of_the_whole_array(order: str, dtype: type) -> None:
    # Far from zero, where squares of the values would swallow their differences.
    data = np.random.default_rng(7).normal(20_000, 30, (80, 70, 60)).astype(dtype)
    turned = np.flip(np.asarray(data, order=order), 1)
    found = normalise(turned, ChannelPlan(name="t1"))
    expected = (turned.astype(np.float64) - data.astype(np.float64).mean()) / data.astype(np.float64).std()
    np.testing.assert_allclose(found, expected, atol=1e-4)
