"""Features follow the image and nothing else: not its unit, its offset, or how the array is stored."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy import ndimage, stats

from medseg.geometry import Geometry
from medseg.quality import channel_features, coarse_layout, in_ras_order


def scan(shape=(23, 31, 18), seed=0, sigma=(2.0, 1.0, 0.5)) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(size=shape)
    return ndimage.gaussian_filter(noise, sigma)


def test_features_do_not_depend_on_unit_or_offset():
    image = scan()
    expected = channel_features(image)
    for scale, offset in ((1e-3, 0.0), (40.0, -1024.0), (1.0, 1e4)):
        found = channel_features(image * scale + offset)
        assert found.keys() == expected.keys()
        for key, value in expected.items():
            assert found[key] == pytest.approx(value, abs=1e-6)


def test_features_do_not_depend_on_how_the_array_is_stored():
    image = scan()
    expected = channel_features(image)
    for order in itertools.permutations(range(3)):
        found = channel_features(np.flip(image.transpose(order), 1))
        for key, value in expected.items():
            assert found[key] == pytest.approx(value, abs=1e-9)


def test_moments_are_those_of_scipy():
    image = np.random.default_rng(3).gamma(2.0, size=(20, 21, 22))
    found = channel_features(image)
    inside = image[image > image.min()]
    assert found["skewness"] == pytest.approx(stats.skew(inside))
    assert found["kurtosis"] == pytest.approx(stats.kurtosis(inside, fisher=False))


def test_smoothness_is_the_correlation_of_neighbours():
    image = scan()
    found = channel_features(image)
    pairs = [(image[:-1], image[1:]), (image[:, :-1], image[:, 1:]), (image[..., :-1], image[..., 1:])]
    expected = [np.corrcoef(a.ravel(), b.ravel())[0, 1] for a, b in pairs]
    assert found["smoothness_low"] == pytest.approx(min(expected))
    assert found["smoothness_high"] == pytest.approx(max(expected))


def test_padding_is_counted_and_left_out_of_the_intensities():
    image = np.random.default_rng(4).gamma(2.0, size=(16, 16, 16)) + 1
    padded = np.zeros((16, 16, 32))
    padded[..., 8:24] = image
    found = channel_features(padded)
    assert found["floor_fraction"] == 0.5
    assert found["skewness"] == pytest.approx(stats.skew(image.ravel()))


def test_a_large_scan_is_looked_at_in_part_with_nearly_the_same_result():
    whole = scan((128, 96, 160), sigma=(3.0, 3.0, 3.0))
    found = channel_features(whole.astype(np.float32))
    pairs = [
        np.corrcoef(np.delete(whole, -1, a).ravel(), np.delete(whole, 0, a).ravel())[0, 1] for a in range(3)
    ]
    assert found["smoothness_low"] == pytest.approx(min(pairs), abs=0.01)
    assert found["kurtosis"] == pytest.approx(stats.kurtosis(whole.ravel(), fisher=False), abs=0.2)


@pytest.mark.parametrize("value", [0, 7.5, -1000])
def test_a_constant_channel_has_no_features(value):
    assert channel_features(np.full((5, 6, 7), value)) == {}
    assert coarse_layout(np.full((5, 6, 7), value)) is None


def test_features_are_finite_whatever_the_image():
    image = scan()
    image[3:6] = np.nan
    image[7, 8] = np.inf
    for odd in (image, np.eye(9)[..., None], np.arange(6.0).reshape(1, 1, 6), np.full((4, 4, 4), np.nan)):
        assert all(np.isfinite(value) for value in channel_features(odd).values())
    assert np.isfinite(coarse_layout(image)).all()


def test_a_flat_image_is_not_looked_at_across_its_slices():
    image = scan((40, 30, 6), sigma=(2.0, 2.0, 0.0))
    assert channel_features(image)["smoothness_low"] < 0.1
    assert channel_features(image, flat=True)["smoothness_low"] > 0.8


def test_layout_is_the_mean_of_blocks():
    image = scan((13, 31, 18))
    expected = np.zeros((4, 4, 4))
    blocks = [np.array_split(np.arange(n), (np.arange(1, 4) * n) // 4) for n in image.shape]
    for x, y, z in itertools.product(range(4), repeat=3):
        expected[x, y, z] = image[np.ix_(blocks[0][x], blocks[1][y], blocks[2][z])].mean()
    assert np.corrcoef(coarse_layout(image), expected.ravel())[0, 1] == pytest.approx(1.0)


def test_layout_follows_the_body_not_the_array():
    image = scan(sigma=(4.0, 4.0, 4.0))
    oblique = np.eye(4)
    oblique[:3, :3] = rotation(20.0) @ np.diag([1.0, 1.5, 2.0])
    geometry = Geometry(image.shape, oblique)
    expected = coarse_layout(in_ras_order(image, geometry))
    for order in itertools.permutations(range(3)):
        for flips in itertools.product((False, True), repeat=3):
            turned = np.flip(image.transpose(order), [n for n, flip in enumerate(flips) if flip])
            found = coarse_layout(in_ras_order(turned, geometry.permuted(order, flips)))
            np.testing.assert_allclose(found, expected, atol=1e-12)


def rotation(degrees: float) -> np.ndarray:
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])
