"""Empty windows, against a brute-force look at every voxel of every window."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates

from medseg.geometry import Geometry
from medseg.inference.empty import EmptyWindows, empty_below
from medseg.plans import EmptyRule, GridPlan
from medseg.preprocess import network_geometry, resample
from medseg.volume import Volume

TYPES = (np.int16, np.uint8, np.uint16, np.int32, np.float32, np.float64)


def on_grid(channel: NDArray[Any], source: Geometry, target: Geometry) -> NDArray[np.float64]:
    """Linear interpolation through world coordinates, in double precision."""
    index = np.moveaxis(np.indices(target.shape), 0, -1)
    where = source.world_to_index(target.index_to_world(index))
    return map_coordinates(
        channel.astype(np.float64), np.moveaxis(where, -1, 0), order=1, mode="nearest", prefilter=False
    )


@given(
    shape=st.tuples(*[st.integers(1, 20)] * 3),
    spacing=st.sampled_from([None, (1.0, 1.0, 1.0), (1.7, 0.8, 1.3)]),
    signs=st.tuples(*[st.sampled_from([-1.0, 1.0])] * 3),
    axes=st.permutations(range(3)),
    dtype=st.sampled_from(TYPES),
    below=st.floats(-40, 160),
    air=st.floats(0, 1),
    seed=st.integers(0, 2**16),
    data=st.data(),
)
def test_a_window_is_empty_if_and_only_if_all_its_voxels_are_below(
    shape: tuple[int, int, int],
    spacing: tuple[float, float, float] | None,
    signs: tuple[float, float, float],
    axes: list[int],
    dtype: type,
    below: float,
    air: float,
    seed: int,
    data: st.DataObject,
) -> None:
    generator = np.random.default_rng(seed)
    # Air, and a few voxels that are not: half of the windows hold one.
    lowest = 0 if np.dtype(dtype).kind == "u" else -30
    values = generator.integers(lowest, 100, size=shape)
    values[generator.random(shape) < air] = lowest
    channel = np.asarray(values, dtype=dtype, order=data.draw(st.sampled_from("CF")))
    affine = np.eye(4)
    affine[:3, :3] = np.diag(signs)[:, axes]
    native = Geometry(shape, affine)
    grid = network_geometry(native, GridPlan(spacing_mm=spacing))
    volume = Volume(np.stack([np.full_like(channel, lowest), channel]), native)
    expected = on_grid(channel, native, grid)
    rule = EmptyRule(channel=1, below=below)
    made = resample(volume.data, native, grid)
    copied = np.array_equal(made[1].astype(np.float64), expected)
    windows = [EmptyWindows(volume, grid, rule), EmptyWindows(volume, grid, rule, made)]
    for _ in range(8):
        start = tuple(data.draw(st.integers(0, n - 1)) for n in grid.shape)
        size = tuple(data.draw(st.integers(1, n - s)) for n, s in zip(grid.shape, start, strict=True))
        box = tuple(slice(s, s + n) for s, n in zip(start, size, strict=True))
        largest = expected[box].max()
        if copied or abs(largest - below) > 1e-4:  # else single and double precision may disagree
            assert [one.is_empty(start, size) for one in windows] == [largest < below] * 2


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("below", [49.9, 50.0, 50.1, 1e300, -1e300])
def test_a_voxel_that_equals_the_threshold_is_not_below_it(dtype: type, below: float) -> None:
    scan = Volume(np.full((1, 3, 4, 5), 50, dtype), Geometry((3, 4, 5), np.eye(4)))
    windows = EmptyWindows(scan, scan.geometry, EmptyRule(below=below))
    assert windows.is_empty((0, 0, 0), (3, 4, 5)) == (below > 50)


def test_thresholds_between_two_floats_are_kept_to_the_last_bit() -> None:
    value = np.float32(0.1)
    scan = Volume(np.full((1, 2, 2, 2), value), Geometry((2, 2, 2), np.eye(4)))
    for below in (float(value), 0.1, np.nextafter(float(value), 1.0)):
        windows = EmptyWindows(scan, scan.geometry, EmptyRule(below=below))
        assert windows.is_empty((0, 0, 0), (2, 2, 2)) == (float(value) < below)


def test_a_window_that_reaches_past_the_scan_is_never_empty() -> None:
    scan = Volume(np.full((1, 6, 7, 9), -1000, np.int16), Geometry((6, 7, 9), np.eye(4)))
    windows = EmptyWindows(scan, scan.geometry, EmptyRule(below=-500))
    assert windows.is_empty((0, 0, 0), (6, 7, 9))
    for axis in range(3):
        size = [6, 7, 9]
        size[axis] += 1
        assert not windows.is_empty((0, 0, 0), (size[0], size[1], size[2]))
        start = [0, 0, 0]
        start[axis] = -1
        assert not windows.is_empty((start[0], start[1], start[2]), (6, 7, 9))


def test_a_voxel_that_is_no_number_is_never_below() -> None:
    values = np.full((1, 4, 4, 4), -1000, np.float32)
    values[0, 2, 2, 2] = np.nan
    scan = Volume(values, Geometry((4, 4, 4), np.eye(4)))
    windows = EmptyWindows(scan, scan.geometry, EmptyRule(below=-500))
    assert not windows.is_empty((2, 0, 0), (2, 4, 4))
    assert windows.is_empty((0, 0, 0), (2, 4, 4))


def test_a_share_of_the_range_is_between_the_scans_own_percentiles() -> None:
    channel = np.linspace(-7, 13, 4001).astype(np.float32).reshape(4001, 1, 1)
    below = empty_below(channel, EmptyRule(unit="range", below=0.25))
    low, high = np.percentile(channel, (1, 99))
    assert below == pytest.approx(low + 0.25 * (high - low), rel=1e-6)


def test_a_huge_scans_percentiles_are_those_of_a_fair_sample_whatever_its_layout() -> None:
    # Slices of very different brightness, so that a sample that follows the rows would show.
    generator = np.random.default_rng(0)
    channel = generator.normal(100, 5, size=(128, 256, 96)) * np.linspace(0, 2, 96)
    rule = EmptyRule(unit="range", below=0.5)
    low, high = np.percentile(channel, (1, 99))
    found = empty_below(channel, rule)
    assert found == pytest.approx(low + 0.5 * (high - low), rel=2e-3)
    assert found == empty_below(np.asfortranarray(channel), rule)


@pytest.mark.parametrize("value", [3.0, np.nan])
def test_a_scan_without_contrast_has_no_empty_windows_by_range(value: float) -> None:
    scan = Volume(np.full((1, 4, 4, 4), value, np.float32), Geometry((4, 4, 4), np.eye(4)))
    windows = EmptyWindows(scan, scan.geometry, EmptyRule(unit="range", below=5.0))
    assert not windows.is_empty((0, 0, 0), (4, 4, 4))
