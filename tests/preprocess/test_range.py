"""A scan normalised by its own range, against numpy's percentiles."""

from __future__ import annotations

import numpy as np
import pytest

from medseg.plans import ChannelPlan
from medseg.preprocess.normalise import normalise

PLAIN = ChannelPlan(name="any", normalisation="range")
BRAIN = ChannelPlan(name="any", normalisation="range", low=-20.0, high=110.0)


def oracle(values: np.ndarray) -> np.ndarray:
    low, high = np.percentile(values.astype(np.float64), (0.5, 99.5))
    return np.clip((values - low) / (high - low), 0, 1)


@pytest.mark.parametrize("dtype", [np.int16, np.float32])
@pytest.mark.parametrize("plan", [PLAIN, BRAIN], ids=["plain", "with limits"])
def test_the_half_percents_become_0_and_1(dtype, plan):
    data = np.random.default_rng(0).gamma(2.0, 90.0, (23, 31, 12)).astype(dtype)
    data[0, 0, :5] = -150  # no Hounsfield units: limits do not matter
    before = data.copy()
    found = normalise(data, plan)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, oracle(data), atol=1e-5)
    np.testing.assert_array_equal(data, before)


def test_hounsfield_units_are_clipped_to_the_limits_first():
    data = np.random.default_rng(1).normal(30, 40, (25, 20, 14)).astype(np.float32)
    data[:12] = -1000
    data[20:22] = 1500
    np.testing.assert_allclose(normalise(data, BRAIN), oracle(np.clip(data, -20, 110)), atol=1e-5)
    np.testing.assert_allclose(normalise(data, PLAIN), oracle(data), atol=1e-5)


@pytest.mark.parametrize("value", [0, 7, -1000])
def test_a_constant_channel_becomes_zeros(value):
    for plan in (PLAIN, BRAIN):
        np.testing.assert_array_equal(normalise(np.full((5, 6, 7), value, np.int16), plan), 0)


def test_a_small_structure_in_the_dark_is_not_lost():
    data = np.zeros((30, 30, 30), np.float32)
    data[10:13, 11:14, 12:15] = 40  # fewer than half a percent of the voxels
    found = normalise(data, PLAIN)
    np.testing.assert_array_equal(found, data / 40)


def test_a_large_scan_is_judged_by_a_million_voxels_of_it():
    generator = np.random.default_rng(2)
    data = (generator.normal(500, 80, (160, 150, 140)) * np.linspace(0.7, 1.3, 150)[:, None]).astype(
        np.float32
    )
    np.testing.assert_allclose(normalise(data, PLAIN), oracle(data), atol=0.01)
