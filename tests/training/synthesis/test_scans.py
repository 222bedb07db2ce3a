"""Whole made scans: image and truth lie where their geometry says, on oblique and anisotropic label maps."""

from __future__ import annotations

import numpy as np
import pytest

from medseg.errors import UsageError
from medseg.geometry import Geometry
from medseg.labels import LabelSet
from medseg.plans import Plan
from medseg.training.synthesis import synthetic_scan
from medseg.volume import LabelMap
from tests.label_map_data import TABLE, make_map, synthesis_plan

OWN = (1.1, 1.7, 1.3)  # the maps' voxels; the plan's grid has others
MARKED, CLASS = 17, 27
BRIGHT = {
    "contrasts": {"one": {"priors": {row[3]: {"mean": 250.0 if row[3] == CLASS else 10.0} for row in TABLE}}}
}


def oblique(axes: tuple[int, int, int], flips: tuple[bool, bool, bool], values: np.ndarray) -> LabelMap:
    """The map with its axes in another order, on a grid turned by 16 degrees."""
    turn = np.array([[0.96, -0.28, 0.0], [0.28, 0.96, 0.0], [0.0, 0.0, 1.0]])
    affine = np.eye(4)
    affine[:3, :3] = turn @ np.diag(OWN)
    affine[:3, 3] = (-40.0, 12.0, 7.5)
    geometry = Geometry(values.shape, affine).permuted(axes, flips)
    stored = np.flip(values.transpose(axes), [n for n in range(3) if flips[n]])
    return LabelMap(stored, geometry, LabelSet.from_ids([int(v) for v in np.unique(values) if v]))


def hippocampus_alone() -> np.ndarray:
    """Only one side of class 27, so that what is bright is what is marked."""
    values = make_map(3)
    values[values == 53] = 502
    return values


def centroid(mask: np.ndarray, geometry: Geometry) -> np.ndarray:
    """World point in mm of the middle of a mask."""
    return geometry.index_to_world(np.argwhere(mask).mean(0))


def scan(label_map: LabelMap, plan: Plan, **how: object):
    return synthetic_scan(label_map, plan, **{"seed": 0, "deform": False, "contrast": None, **how})


@pytest.mark.parametrize(
    ("axes", "flips"),
    [
        ((0, 1, 2), (False, False, False)),
        ((0, 2, 1), (True, True, False)),  # LIA
        ((1, 0, 2), (True, False, True)),
        ((2, 1, 0), (False, True, True)),
    ],
)
@pytest.mark.parametrize("voxel_mm", [None, (1.5, 1.2, 2.0), (0.9, 2.6, 1.6), (2.0, 1.9, 4.5)])
def test_a_marked_tissue_stays_where_it_is_in_millimetres(axes, flips, voxel_mm):
    label_map = oblique(axes, flips, hippocampus_alone())
    volume, truth = scan(label_map, synthesis_plan(**BRIGHT), voxel_mm=voxel_mm)
    assert volume.geometry.same_grid(truth.geometry)
    assert volume.geometry.orientation == "RAS"
    spacing = (1.5, 1.2, 2.0) if voxel_mm is None else voxel_mm
    np.testing.assert_allclose(volume.geometry.spacing, spacing, rtol=1e-5)
    marked = centroid(label_map.data == MARKED, label_map.geometry)
    within = max(*spacing, *OWN)
    assert np.linalg.norm(centroid(truth.data == MARKED, truth.geometry) - marked) < within
    weights = np.clip(volume.data[0] - 10, 0, None)
    middle = np.array([(np.indices(weights.shape)[n] * weights).sum() for n in range(3)]) / weights.sum()
    assert np.linalg.norm(volume.geometry.index_to_world(middle) - marked) < within
    # The whole field of view of the map, less a part of a voxel at its ends.
    extent = np.array(volume.geometry.shape) * spacing
    whole = np.array(make_map(3).shape) * OWN
    assert (np.abs(extent - whole) < np.array(spacing) + 1.5 * np.array((1.5, 1.2, 2.0))).all()


def test_the_same_seed_is_the_same_scan_and_another_is_not():
    label_map = oblique((0, 2, 1), (True, True, False), make_map(1))
    plan = synthesis_plan(rotation_degrees=15.0, deformation_mm=6.0, noise=0.05)
    first, same, other = (scan(label_map, plan, seed=seed, deform=True) for seed in (4, 4, 5))
    np.testing.assert_array_equal(first[0].data, same[0].data)
    np.testing.assert_array_equal(first[1].data, same[1].data)
    assert not np.array_equal(first[1].data, other[1].data)
    assert set(np.unique(first[1].data)) == set(plan.class_ids)
    assert first[0].data.dtype == np.float32


def test_deforming_moves_a_little_and_keeps_sizes_alike():
    values = make_map(2)
    label_map = oblique((0, 1, 2), (False, False, False), values)
    plan = synthesis_plan(rotation_degrees=16.0, shift_mm=8.0, scale=(0.9, 1.1), deformation_mm=2.0)
    _, still = scan(label_map, plan)
    _, moved = scan(label_map, plan, deform=True)
    for label in (2, 24, 41):
        away = centroid(moved.data == label, moved.geometry) - centroid(still.data == label, still.geometry)
        assert 0 < np.linalg.norm(away) < 10
        assert 0.6 < (moved.data == label).sum() / (still.data == label).sum() < 1.7


def test_a_stripped_scan_is_exactly_zero_outside_in_spite_of_noise():
    label_map = oblique((0, 1, 2), (False, False, False), make_map(0))
    volume, truth = scan(label_map, synthesis_plan(noise=0.1), strip=True, voxel_mm=(1.5, 1.4, 3.0))
    assert (volume.data[0][truth.data == 0] == 0).all()
    assert (volume.data[0][truth.data > 0] > 0).mean() > 0.99
    assert {0, 2, 17, 24, 41, 53} <= set(np.unique(truth.data))


def test_a_contrast_is_chosen_by_name():
    label_map = oblique((0, 1, 2), (False, False, False), make_map(0))
    priors = {
        name: {"priors": {n: {"mean": mean} for n in (1, 2, 18)}} for name, mean in (("a", 40), ("b", 200))
    }
    plan = synthesis_plan(contrasts=priors, random_weight=1.0)
    for name, mean in (("a", 40), ("b", 200)):
        volume, truth = scan(label_map, plan, contrast=name)
        assert np.median(volume.data[0][truth.data == 24]) == pytest.approx(mean, abs=10)
    scan(label_map, plan, contrast="random")
    with pytest.raises(UsageError, match="expected random, a, b"):
        scan(label_map, plan, contrast="c")
    without = Plan.checked({**plan.model_dump(), "synthesis": None})
    with pytest.raises(UsageError, match="no section `synthesis`"):
        scan(label_map, without)
