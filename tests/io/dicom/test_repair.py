"""Interpolated planes against scipy, on an array whose axes differ."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.interpolate import interp1d

from medseg.io.dicom.repair import interpolate_planes

RNG = np.random.default_rng(2)


@pytest.mark.parametrize("shape", [(5, 4, 4), (3, 5, 4, 4)])
@pytest.mark.parametrize(("planes", "count"), [([0, 1, 3, 4], 5), ([0, 0.4, 2.7, 6], 7), ([0, 1, 2, 3], 4)])
def test_planes_are_those_of_linear_interpolation(
    shape: tuple[int, ...], planes: list[float], count: int
) -> None:
    data = RNG.normal(0, 300, shape).astype(np.float32)
    found = interpolate_planes(data, np.array(planes, dtype=float), count)
    assert found.dtype == np.float32
    assert found.flags.f_contiguous
    assert np.allclose(found, interp1d(planes, data, axis=-1)(np.arange(count)), atol=1e-3)


@pytest.mark.parametrize("dtype", [np.int16, np.uint8, np.uint16])
def test_integers_stay_integers_and_slices_stay_themselves(dtype: type) -> None:
    info = np.iinfo(dtype)
    data = RNG.integers(info.min, info.max, (6, 5, 3), dtype, endpoint=True)
    found = interpolate_planes(data, np.array([0.0, 1.0, 5.0]), 6)
    assert found.dtype == dtype
    assert np.array_equal(found[..., [0, 1, 5]], data)
    exact = interp1d([0, 1, 5], data.astype(float), axis=-1)(np.arange(6))
    assert np.abs(found - exact).max() <= 0.5
