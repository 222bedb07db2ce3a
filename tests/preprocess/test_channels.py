"""Channels on grids of their own, against SimpleITK's resampling and against world points."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

import medseg
from medseg.errors import InputRefused
from medseg.geometry import Geometry
from medseg.preprocess import stack_channels
from medseg.volume import Volume


def grid(shape: tuple[int, int, int], spacing: tuple[float, float, float], degrees: float) -> Geometry:
    """Turned about an oblique axis, centred on one world point."""
    axis = np.array([0.3, -0.5, 0.81])
    axis /= np.linalg.norm(axis)
    cross = np.array([[0, -axis[2], axis[1]], [axis[2], 0, -axis[0]], [-axis[1], axis[0], 0]])
    angle = np.radians(degrees)
    turn = np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross
    affine = np.eye(4)
    affine[:3, :3] = turn @ np.diag(spacing)
    affine[:3, 3] = np.array([12.0, -7.0, 30.0]) - affine[:3, :3] @ (np.array(shape) - 1) / 2
    return Geometry(shape, affine)


def scan(geometry: Geometry, seed: int, dtype: str = "int16") -> Volume:
    values = np.random.default_rng(seed).integers(-100, 1000, geometry.shape).astype(dtype)
    return Volume(values[None], geometry)


def by_simpleitk(volume: Volume, target: Geometry) -> np.ndarray:
    """Linear, NaN outside: world points are the same in LPS, so both grids stay in RAS+ here."""

    def image(data: np.ndarray, geometry: Geometry) -> sitk.Image:
        made = sitk.GetImageFromArray(np.ascontiguousarray(data.T.astype(np.float32)))
        made.SetSpacing(geometry.spacing)
        made.SetOrigin([float(v) for v in geometry.affine[:3, 3]])
        made.SetDirection([float(v) for v in geometry.direction.ravel()])
        return made

    reference = image(np.zeros(target.shape), target)
    moved = sitk.Resample(
        image(volume.data[0], volume.geometry), reference, sitk.Transform(3, sitk.sitkIdentity),
        sitk.sitkLinear, float("nan"),
    )  # fmt: skip
    return sitk.GetArrayFromImage(moved).T


def test_a_turned_channel_comes_to_lie_where_simpleitk_puts_it():
    first = scan(grid((23, 19, 11), (0.9, 1.1, 2.6), 20.0), 0)
    other = scan(grid((44, 52, 34), (1.3, 0.9, 1.7), -35.0), 1)
    both = stack_channels([first, other], ["t1", "flair"])
    assert both.geometry == first.geometry
    np.testing.assert_array_equal(both.data[0], first.data[0])
    expected = by_simpleitk(other, first.geometry)
    assert not np.isnan(expected).any()
    np.testing.assert_allclose(both.data[1], expected, atol=0.05)  # of a spread of 1100
    assert both.verdict.status == "repaired"
    (reason,) = both.verdict.reasons
    assert reason.code == "channel-resampled"
    assert "'flair' was resampled onto the grid of 't1'" in reason.message


def test_what_a_channel_does_not_show_is_its_lowest_value_and_a_warning():
    first = scan(grid((23, 19, 20), (0.9, 1.1, 1.3), 20.0), 0)
    other = scan(grid((30, 24, 16), (0.9, 1.1, 1.35), 25.0), 1)
    both = stack_channels([first, other], ["t1", "flair"])
    world = first.geometry.index_to_world(np.moveaxis(np.indices(first.geometry.shape), 0, -1))
    index = other.geometry.world_to_index(world)
    outside = ((index < -0.5) | (index > np.array(other.geometry.shape) - 0.5)).any(axis=-1)
    assert 0.05 < outside.mean() < 0.25
    np.testing.assert_array_equal(both.data[1] == other.data.min(), outside)
    assert both.verdict.status == "warning"
    assert f"{outside.mean():.1%} lies outside of 'flair'" in both.verdict.reasons[0].message
    expected = by_simpleitk(other, first.geometry)
    known = ~np.isnan(expected)
    assert known.sum() > 1000
    np.testing.assert_allclose(both.data[1][known], expected[known], atol=0.05)


def test_channels_of_one_grid_are_taken_as_they_are():
    geometry = grid((23, 19, 11), (0.9, 1.1, 2.6), 20.0)
    volumes = [scan(geometry, n, dtype) for n, dtype in enumerate(("uint8", "int16", "float32"))]
    both = stack_channels(volumes, ["a", "b", "c"])
    assert both.verdict.status == "ok"
    for channel, volume in zip(both.data, volumes, strict=True):
        np.testing.assert_array_equal(channel, volume.data[0])


def test_a_channel_of_another_place_is_refused_with_the_cure():
    first = scan(grid((23, 19, 11), (0.9, 1.1, 2.6), 20.0), 0)
    small = scan(grid((23, 19, 5), (0.9, 1.1, 2.6), 20.0), 1)
    with pytest.raises(
        InputRefused, match="'flair' shows 45% of the field of view of channel 't1'"
    ) as refusal:
        stack_channels([first, small], ["t1", "flair"])
    assert refusal.value.code == "channel-field-of-view"
    stack_channels([small, first], ["flair", "t1"])  # the cure: the smallest first
    away = first.geometry.affine.copy()
    away[0, 3] += 500
    elsewhere = Volume(first.data, Geometry(first.geometry.shape, away))
    with pytest.raises(InputRefused, match="does not overlap"):
        stack_channels([first, elsewhere], ["t1", "flair"])
    pictures = [
        Volume(np.zeros((1, *shape, 1), np.uint8), Geometry((*shape, 1), np.eye(4), is_2d=True))
        for shape in ((30, 20), (31, 20))
    ]
    with pytest.raises(InputRefused, match="give channels of one size"):
        stack_channels(pictures, ["red", "green"])


def test_contrasts_of_a_real_spine_are_aligned(real_data: Path):
    folder = real_data / "nifti/bids_spine/sub-unf03/anat"
    star, t1 = (medseg.read(folder / f"sub-unf03_{name}.nii.gz") for name in ("T2star", "T1w"))
    both = stack_channels([star, t1], ["T2star", "T1w"])
    assert both.verdict.codes == ("channel-resampled",)
    expected = by_simpleitk(t1, star.geometry)
    known = ~np.isnan(expected)
    assert 0.5 < known.mean() < 0.9
    spread = float(np.ptp(t1.data))
    np.testing.assert_allclose(both.data[1][known], expected[known], atol=1e-3 * spread)
    with pytest.raises(InputRefused, match="smallest field of view first"):
        stack_channels([t1, star], ["T1w", "T2star"])
