"""What the scanner does, against scipy: point spread, slices, range, field of view."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter1d

from medseg.plans import SynthesisPlan
from medseg.training.synthesis.acquisition import acquire, field_of_view, sampling, to_range, voxel_sizes
from medseg.training.synthesis.draws import Draws
from tests.label_map_data import synthesis_plan

CPU = torch.device("cpu")
SPACING = (0.8, 1.0, 1.2)


def how(**changes: object) -> SynthesisPlan:
    plan = synthesis_plan(**changes).synthesis
    assert plan is not None
    return plan


@pytest.mark.parametrize("size", [17, 40])
def test_sampling_keeps_constants_and_straight_lines(size):
    ratio = torch.tensor([1.0, 1.7, 2.0, 5.3])
    down, up = sampling(size, ratio, Draws.seeded(4, 0, CPU))
    torch.testing.assert_close(up.sum(2), torch.ones(4, size))
    for n, value in enumerate(ratio.tolist()):
        count = int((size - 1) / value + 1e-6) + 1
        rows = down[n].sum(1)
        torch.testing.assert_close(rows[:count], torch.ones(count))
        assert (down[n, count:] == 0).all()
        line = torch.arange(size, dtype=torch.float32)
        back = up[n] @ (down[n] @ line)
        inside = slice(round(3 * value), size - round(3 * value))
        torch.testing.assert_close(back[inside], line[inside], atol=2e-2, rtol=0)


def test_a_grid_finer_than_the_map_has_room_for_all_its_voxels():
    down, _ = sampling(9, torch.tensor([0.5]), Draws.seeded(1, 0, CPU), 17)
    assert down.shape == (1, 17, 9)
    torch.testing.assert_close(down.sum(2), torch.ones(1, 17))
    assert down[0].argmax(1)[::2].tolist() == list(range(9))


def oracle(volume: np.ndarray, ratios: tuple[int, int, int], spreads: list[float]) -> np.ndarray:
    """Gaussian along each axis, every n-th voxel kept, straight lines between them."""
    for axis, (ratio, spread) in enumerate(zip(ratios, spreads, strict=True)):
        sigma = max(0.3, 0.42 * ratio * spread)
        blurred, weight = (
            gaussian_filter1d(one, sigma, axis, mode="constant", truncate=9.0)
            for one in (volume, np.ones_like(volume))
        )
        n = volume.shape[axis]
        at = np.arange(0, n, ratio)
        kept = np.take(blurred / weight, at, axis)
        volume = np.apply_along_axis(lambda line, n=n, at=at: np.interp(np.arange(n), at, line), axis, kept)
    return volume


def test_thick_slices_are_a_gaussian_and_straight_lines_between_slices():
    size = (13, 16, 25)  # whole numbers of voxels, so that scipy's grid is the scan's
    generator = np.random.default_rng(1)
    image = generator.uniform(20, 200, (2, *size)).astype(np.float32)
    ratios = [(1, 1, 6), (3, 5, 1)]
    sizes = torch.tensor([[r * s for r, s in zip(one, SPACING, strict=True)] for one in ratios])
    found = acquire(torch.from_numpy(image), SPACING, sizes, how(), Draws.seeded(2, 5, CPU))
    same = Draws.seeded(2, 5, CPU)
    same.uniform(0, 0)  # the noise's amplitude
    spreads = [same.uniform(0.75, 1.25, 1)[:, 0] for _ in range(3)]
    for n, ratio in enumerate(ratios):
        expected = oracle(image[n].astype(np.float64), ratio, [float(one[n]) for one in spreads])
        np.testing.assert_allclose(found[n], expected, rtol=2e-4)


def test_voxels_are_coarse_or_slices_are_thick_along_one_axis():
    coarse = voxel_sizes(
        SPACING, how(coarse_probability=1.0, coarse_mm=(1.5, 3.0)), Draws.seeded(500, 0, CPU)
    )
    assert (coarse >= 1.5 * 0.9 - 1e-4).all()
    assert (coarse <= 3 * 1.1 + 1e-4).all()
    assert (coarse.max(1).values / coarse.min(1).values < 1.1 / 0.9 + 1e-3).all()
    slices = voxel_sizes(
        SPACING, how(slices_probability=1.0, slices_mm=(3.0, 7.0)), Draws.seeded(500, 1, CPU)
    )
    thick = slices >= 3
    assert (thick.sum(1) == 1).all()
    assert thick.any(0).all()
    assert (slices <= 7.001).all()
    assert (slices[~thick] <= 1.3001).all()
    assert (slices >= torch.tensor(SPACING)).all()
    own = voxel_sizes(SPACING, how(), Draws.seeded(9, 2, CPU))
    torch.testing.assert_close(own, torch.tensor(SPACING).expand(9, 3))


def test_the_range_is_that_of_percentiles():
    image = np.random.default_rng(2).gamma(2.0, 40.0, (3, 20, 30, 25)).astype(np.float32)
    found = to_range(torch.from_numpy(image), how(), Draws.seeded(3, 3, CPU)).numpy()
    assert found.min() == 0
    assert found.max() == 1
    for one, value in zip(image, found, strict=True):
        inside = (value > 0) & (value < 1)
        slope, start = np.polyfit(one[inside], value[inside], 1)
        np.testing.assert_allclose(value, np.clip(slope * one + start, 0, 1), atol=1e-3)
        low, high = np.percentile(one, (0.5, 99.5))
        assert -start / slope == pytest.approx(low, abs=1.0)
        assert 0.78 < 1 / slope / (high - low) < 1.18


def test_what_a_scan_shows_is_a_box():
    assert field_of_view((8, 12, 10), 0.0, Draws.seeded(3, 0, CPU)).all()
    seen = field_of_view((8, 12, 10), 1.0, Draws.seeded(60, 1, CPU)).numpy()
    assert seen.shape == (60, 8, 12, 10)
    assert 0.2 < seen.mean() < 0.9
    for one in seen:
        sides = [one.any(tuple(b for b in range(3) if b != axis)) for axis in range(3)]
        np.testing.assert_array_equal(one, np.einsum("i,j,k->ijk", *sides))
        assert all(np.abs(np.diff(side.astype(int))).sum() <= 2 for side in sides)


def test_a_bias_field_is_smooth_and_a_spike_is_a_wave():
    plan = how(bias_field=0.5)
    sizes = torch.tensor([SPACING] * 4)
    even = torch.full((4, 24, 20, 28), 100.0)
    field = acquire(even, SPACING, sizes, plan, Draws.seeded(4, 6, CPU)).log()
    assert field.flatten(1).std(1).max() > 0.02
    assert field.diff(dim=1).abs().max() < 0.25
    wave = acquire(even, SPACING, sizes, how(spike_probability=1.0), Draws.seeded(4, 7, CPU)) - 100
    energy = (np.abs(np.fft.fftn(wave.numpy(), axes=(1, 2, 3))) ** 2).reshape(4, -1)
    assert (np.sort(energy, 1)[:, -30:].sum(1) / energy.sum(1) > 0.5).all()
