"""The foreground's size, shape and cuts are those of the body that was drawn, in any contrast and storage."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy import ndimage

from medseg.geometry import Geometry
from medseg.plans import Plan
from medseg.quality import FOREGROUND_FEATURES, check_scope, fit_scope, foreground_features
from medseg.quality.coarse import coarse_grid
from medseg.volume import Volume

HALF = np.array((70.0, 90.0, 80.0))


def egg(
    spacing=(2.0, 2.5, 3.0),
    centre=(5.0, -8.0, 3.0),
    size_mm=(180.0, 220.0, 200.0),
    inside=100.0,
    noise=2.0,
    seed=0,
) -> tuple[np.ndarray, Geometry]:
    """An ellipsoid along the world axes, with a dark middle, on a RAS grid round the origin."""
    shape = tuple(int(mm / step) for mm, step in zip(size_mm, spacing, strict=True))
    affine = np.diag([*spacing, 1.0])
    affine[:3, 3] = -(np.array(shape) - 1) / 2 * spacing
    geometry = Geometry(shape, affine)
    world = geometry.index_to_world(np.indices(shape).reshape(3, -1).T).reshape(*shape, 3)
    radius = np.sqrt((((world - centre) / HALF) ** 2).sum(axis=-1))
    data = inside * (radius < 1) - 0.8 * inside * (radius < 0.4)
    return data + np.random.default_rng(seed).normal(0, noise, shape), geometry


@pytest.mark.parametrize("spacing", [(2.0, 2.5, 3.0), (1.0, 1.0, 6.0), (4.0, 4.0, 4.0), (0.9, 7.0, 1.1)])
def test_size_and_shape_are_those_of_the_body(spacing):
    found = foreground_features(*egg(spacing))
    assert set(found) == set(FOREGROUND_FEATURES)
    assert found["foreground_litres"] == pytest.approx(4 / 3 * np.pi * HALF.prod() / 1e6, rel=0.08)
    for key, half in zip(("right", "anterior", "superior"), HALF, strict=True):
        assert found[f"foreground_{key}_mm"] == pytest.approx(2 * half, abs=10)
    assert found["foreground_fill"] == pytest.approx(np.pi / 6, abs=0.06)
    assert found["mirror_symmetry"] > 0.95
    assert found["coarse_smoothness_low"] > 0.8
    assert found["cut_side"] == found["cut_front_or_back"] == found["cut_top"] == 0
    assert found["top_area"] < 0.2


def test_contrast_and_unit_do_not_matter():
    expected = foreground_features(*egg())
    for inside, scale, offset in ((100.0, 1e-3, 0.0), (100.0, 12.0, -1024.0), (-100.0, -1.0, 5.0)):
        data, geometry = egg(inside=inside)
        found = foreground_features(scale * data + offset, geometry)
        for key, value in expected.items():
            assert found[key] == pytest.approx(value, rel=0.05, abs=0.02), key


def test_how_the_array_is_stored_does_not_matter():
    data, geometry = egg((2.0, 2.0, 2.0))
    expected = foreground_features(data, geometry)
    for axes in itertools.permutations(range(3)):
        flips = (True, False, True)
        stored = np.flip(data.transpose(axes), [n for n in range(3) if flips[n]])
        assert foreground_features(stored, geometry.permuted(axes, flips)) == pytest.approx(
            expected, abs=1e-9
        )


@pytest.mark.parametrize(
    ("axis", "upper", "key"),
    [(0, True, "cut_side"), (0, False, "cut_side"), (1, True, "cut_front_or_back"),
     (1, False, "cut_front_or_back"), (2, False, "cut_top")],
)  # fmt: skip
def test_half_an_egg_is_cut_on_its_largest_area(axis, upper, key):
    data, geometry = egg((2.0, 2.0, 2.0), centre=(0, 0, 0))
    middle = data.shape[axis] // 2
    keep = slice(middle, None) if upper else slice(0, middle)
    window = tuple(keep if a == axis else slice(None) for a in range(3))
    start = tuple(middle if upper and a == axis else 0 for a in range(3))
    found = foreground_features(data[window], geometry.cropped(start, data[window].shape))
    others = [half for a, half in enumerate(HALF) if a != axis]
    expected = np.pi * np.prod(others) / (2 / 3 * np.pi * HALF.prod()) ** (2 / 3)
    assert found[key] == pytest.approx(expected, rel=0.1)
    if axis == 0:
        assert found["mirror_symmetry"] < 0.8


def test_noise_is_not_smooth_and_has_no_symmetry():
    data = np.random.default_rng(0).normal(size=(90, 90, 80))
    found = foreground_features(data, Geometry(data.shape, np.diag([2.0, 2.0, 2.0, 1.0])))
    assert abs(found["coarse_smoothness_high"]) < 0.1
    assert found["mirror_symmetry"] < 0.3


def test_what_lies_apart_is_not_the_foreground():
    data, geometry = egg()
    expected = foreground_features(data, geometry)["foreground_litres"]
    data[:4, :4, :4] += 100  # a marker in the corner
    assert foreground_features(data, geometry)["foreground_litres"] == pytest.approx(expected, rel=0.01)


def test_a_constant_has_no_features_and_odd_values_do_not_stop():
    geometry = Geometry((40, 40, 40), np.diag([4.0, 4.0, 4.0, 1.0]))
    assert foreground_features(np.full((40, 40, 40), 7), geometry) == {}
    data, geometry = egg()
    data[3, 4, 5], data[6, 7, 8] = np.nan, np.inf
    assert foreground_features(data, geometry)["foreground_litres"] > 1


@pytest.mark.parametrize(
    ("shape", "spacing"),
    [((33, 41, 19), (1.0, 1.3, 4.0)), ((7, 50, 3), (6.0, 0.5, 9.0)), ((64, 64, 64), (0.4,) * 3)],
)
def test_coarse_values_are_means_of_blocks(shape, spacing):
    values = ndimage.gaussian_filter(np.random.default_rng(1).normal(size=shape), [2 / mm for mm in spacing])
    coarse, sides = coarse_grid(values, Geometry(shape, np.diag([*spacing, 1.0])), 4.0)
    widths = [round(side / mm) for side, mm in zip(sides, spacing, strict=True)]
    np.testing.assert_allclose(sides, np.multiply(widths, spacing))
    assert coarse.shape == tuple(n // w for n, w in zip(shape, widths, strict=True))
    for index in ((0, 0, 0), tuple(n - 1 for n in coarse.shape)):
        block = values[tuple(slice(i * w, (i + 1) * w) for i, w in zip(index, widths, strict=True))]
        exact = max(widths) < 8  # wider blocks are sampled
        assert coarse[index] == pytest.approx(block.mean(), abs=1e-12 if exact else 0.3 * values.std())


def plan(dimensions: int = 3) -> Plan:
    return Plan(
        name="toy",
        dimensions=dimensions,
        channels=({"name": "image"},),
        labels=({"id": 1, "name": "thing", "colour": (1, 2, 3)},),
        patch=(16,) * dimensions,
        network={"strides": ((1,) * dimensions, *[(2,) * dimensions] * 3)},
    )


def scan(data: np.ndarray, geometry: Geometry) -> Volume:
    return Volume(data[None].astype(np.float32), geometry)


def test_a_scope_of_the_foreground_knows_what_is_whole():
    random = np.random.default_rng(5)
    eggs = [egg(centre=random.uniform(-8, 8, 3), inside=random.uniform(50, 400), seed=n) for n in range(14)]
    scope = fit_scope((scan(*one) for one in eggs[:8]), plan(), "eggs", features=FOREGROUND_FEATURES)
    assert set(scope.features[0]) == set(FOREGROUND_FEATURES)
    assert scope.layouts == ((),)
    for one in eggs[8:]:
        assert check_scope(scan(*one), scope).status == "ok"
    data, geometry = eggs[8]
    unknown = Geometry(geometry.shape, geometry.affine, spacing_known=False)
    assert check_scope(scan(data, unknown), scope).status == "ok"
    half = scan(data[: len(data) // 2], geometry.cropped((0, 0, 0), (len(data) // 2, *data.shape[1:])))
    message = check_scope(half, scope).reasons[-1].message
    assert "cut_side" in message
    assert "foreground_right_mm" in message
    assert check_scope(scan(np.full(data.shape, 3.0), geometry), scope).codes == ("outside-scope-appearance",)
    flat = check_scope(scan(np.random.default_rng(0).normal(size=data.shape), geometry), scope)
    assert "coarse_smoothness_low" in flat.reasons[0].message


def test_features_nobody_knows_and_known_spacings():
    volumes = [scan(*egg())]
    with pytest.raises(ValueError, match="no features weight"):
        fit_scope(volumes, plan(), "eggs", features=("weight",))
    with pytest.raises(ValueError, match="no features cut_top in 2D"):
        fit_scope(volumes, plan(2), "eggs", features=("cut_top",))
    limits = ((0.5, 0.5, 0.5), (4.0, 5.0, 8.0))
    scope = fit_scope(volumes, plan(), "eggs", features=("entropy",), spacing_mm=limits)
    assert (scope.spacing_min_mm, scope.spacing_max_mm) == limits
    assert set(scope.features[0]) == {"entropy"}
