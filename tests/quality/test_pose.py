"""A shift, a turn and a scale are found again, whatever a few wrong points say."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from medseg.quality.pose import fit_pose


def points(count: int = 12, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, (40, 60, 30), (count, 3))


@pytest.mark.parametrize("degrees", [0.0, 20.0, 90.0, 135.0, 179.0])
def test_a_known_pose_is_found(degrees):
    turn = Rotation.from_rotvec(np.array([1.0, -2.0, 0.5]) / np.sqrt(5.25) * np.radians(degrees))
    expected = points()
    found = 1.3 * turn.apply(expected) + (7.0, -90.0, 33.0)
    pose = fit_pose(expected, found)
    assert pose.scale == pytest.approx(1.3)
    assert pose.degrees == pytest.approx(degrees, abs=1e-5)
    np.testing.assert_allclose(pose.rotation, turn.as_matrix(), atol=1e-9)
    np.testing.assert_allclose(pose.place(expected), found, atol=1e-9)


def test_with_noise_the_turn_is_scipys():
    random = np.random.default_rng(1)
    expected = points(4)
    found = Rotation.from_euler("xyz", (20, -35, 60), degrees=True).apply(expected) + random.normal(
        0, 3, (4, 3)
    )
    oracle, _ = Rotation.align_vectors(found - found.mean(axis=0), expected - expected.mean(axis=0))
    np.testing.assert_allclose(fit_pose(expected, found).rotation, oracle.as_matrix(), atol=1e-6)


def test_a_mirror_image_is_never_answered_with_a_reflection():
    expected = points()
    found = expected * (1, 1, -1)
    pose = fit_pose(expected, found)
    assert np.linalg.det(pose.rotation) == pytest.approx(1.0)
    assert np.linalg.norm(pose.place(expected) - found, axis=1).mean() > 10


def test_a_quarter_of_the_points_may_be_anywhere():
    expected = points(16)
    found = 0.9 * expected + 5.0
    found[:3] += (150.0, -80.0, 60.0)
    pose = fit_pose(expected, found)
    assert pose.scale == pytest.approx(0.9, abs=0.1)
    assert np.abs(pose.place(expected)[3:] - found[3:]).mean() < 8


@pytest.mark.parametrize(
    "few",
    [points(3), np.outer(np.arange(6), (1.0, 2.0, 3.0)), np.ones((5, 3))],
    ids=["three", "line", "one spot"],
)
def test_points_that_span_no_plane_have_no_pose(few):
    assert fit_pose(few, few + 1.0) is None
