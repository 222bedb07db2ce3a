"""Draws that follow from a seed, and smooth fields against scipy's B-splines."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.ndimage import map_coordinates

from medseg.training.synthesis.draws import Draws
from medseg.training.synthesis.fields import along_axes, enlarging, spread

CPU = torch.device("cpu")


def test_the_same_seed_draws_the_same():
    first, second, other = (Draws.seeded(3, seed, CPU) for seed in (5, 5, 6))
    for draws in (first, second, other):
        draws.uniform(0, 1, 4)
    assert torch.equal(first.normal(7), second.normal(7))
    assert first.host.random() == second.host.random()
    assert not torch.equal(first.normal(7), other.normal(7))


def test_draws_are_spread_as_they_say():
    draws = Draws.seeded(20_000, 1, CPU)
    even, factor = draws.uniform(-2, 6), draws.factor(0.5, 8)
    assert -2 <= even.min() < -1.99
    assert 5.99 < even.max() <= 6
    assert even.mean().item() == pytest.approx(2, abs=0.1)
    assert torch.log(factor).mean().item() == pytest.approx((math.log(0.5) + math.log(8)) / 2, abs=0.05)
    assert draws.chosen(0.3).float().mean().item() == pytest.approx(0.3, abs=0.02)
    shares = torch.bincount(draws.category(torch.tensor([1.0, 0.0, 3.0, 4.0])), minlength=4) / 20_000
    np.testing.assert_allclose(shares, [1 / 8, 0, 3 / 8, 4 / 8], atol=0.02)
    assert set(draws.integer(3).tolist()) == {0, 1, 2}


def test_a_map_along_each_axis_is_einsum():
    generator = torch.Generator().manual_seed(0)
    volume = torch.randn(2, 3, 4, 5, generator=generator)
    x, y = torch.randn(2, 6, 3, generator=generator), torch.randn(1, 2, 4, generator=generator)
    z = torch.randn(2, 7, 5, generator=generator)
    expected = torch.einsum("bxyz,bix,bjy,bkz->bijk", volume, x, y.expand(2, -1, -1), z)
    torch.testing.assert_close(along_axes(volume, [x, y, z]), expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(("knots", "size"), [(3, 20), (5, 5), (9, 31), (4, 3)])
def test_enlarging_keeps_a_constant(knots, size):
    weights = enlarging(knots, size, CPU)
    assert weights.shape == (1, size, knots)
    torch.testing.assert_close(weights.sum(2), torch.ones(1, size))
    assert (weights >= 0).all()


def test_a_smooth_field_is_scipys_b_spline():
    size = (21, 8, 13)
    coarse = torch.randn(2, 4, 3, 6, generator=torch.Generator().manual_seed(2))
    found = spread(coarse, size)
    at = np.meshgrid(*(np.linspace(0, k - 1, n) for k, n in zip((4, 3, 6), size, strict=True)), indexing="ij")
    for one, field in zip(coarse, found, strict=True):
        expected = map_coordinates(one.numpy(), at, order=3, prefilter=False, mode="nearest")
        np.testing.assert_allclose(field, expected, atol=1e-5)
