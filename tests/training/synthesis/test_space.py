"""Where voxels come from: rigid in millimetres, and without a fold."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from medseg.training.recipes import read_recipe
from medseg.training.synthesis.draws import Draws
from medseg.training.synthesis.space import deformed_points, nearest_voxels
from tests.label_map_data import synthesis_plan

CPU = torch.device("cpu")
PATCH, SPACING = (20, 16, 12), (1.5, 1.2, 2.0)


def points(draws: Draws, flipped: bool = False, patch=PATCH, spacing=SPACING, **how: object) -> np.ndarray:
    """Voxel coordinates (B, 3, *patch) round the middle of a map of 40 x 30 x 20."""
    plan = synthesis_plan(patch, spacing, **how)
    assert plan.synthesis is not None
    centres = torch.tensor([[19.5, 14.5, 9.5]]).expand(draws.batch, 3)
    flip = torch.full((draws.batch,), flipped)
    found = deformed_points(patch, spacing, centres, flip, plan.synthesis, draws)
    shape = (draws.batch, *patch)
    return np.stack([np.broadcast_to(point.numpy().astype(np.float64), shape) for point in found], 1)


def offsets(patch=PATCH) -> np.ndarray:
    """Of every voxel from the patch's middle, (3, *patch)."""
    return np.indices(patch) - (np.array(patch)[:, None, None, None] - 1) / 2


@pytest.mark.parametrize("flipped", [False, True])
def test_nothing_drawn_is_the_patch_in_the_middle(flipped):
    found = points(Draws.seeded(2, 0, CPU), flipped)
    away = offsets() * np.array([-1 if flipped else 1, 1, 1])[:, None, None, None]
    expected = np.array([19.5, 14.5, 9.5])[:, None, None, None] + away
    np.testing.assert_allclose(found, np.stack([expected] * 2), atol=1e-4)


@pytest.mark.parametrize("flipped", [False, True])
def test_a_rotation_keeps_millimetres_and_handedness(flipped):
    found = points(Draws.seeded(3, 1, CPU), flipped, rotation_degrees=40.0, shift_mm=9.0)
    scale = np.array(SPACING)[:, None, None, None]
    before = (offsets() * scale).reshape(3, -1)
    for one in found:
        after = (one * scale).reshape(3, -1)
        middle = after.mean(1, keepdims=True)
        assert (np.abs(middle[:, 0] - np.array([19.5, 14.5, 9.5]) * SPACING) <= 9.001).all()
        matrix = np.linalg.lstsq(before.T, (after - middle).T, rcond=None)[0].T
        np.testing.assert_allclose(matrix @ matrix.T, np.eye(3), atol=1e-4)
        assert np.linalg.det(matrix) == pytest.approx(-1 if flipped else 1, abs=1e-4)
        turn = matrix @ np.diag([-1.0 if flipped else 1.0, 1, 1])
        assert np.trace(turn) < 2.9995, "nothing was turned"


def test_scale_stays_in_its_range():
    found = points(Draws.seeded(50, 2, CPU), scale=(0.8, 1.3))
    steps = [np.diff(found[:, axis], axis=1 + axis).mean((1, 2, 3)) for axis in range(3)]
    assert 0.8 <= np.min(steps) < 0.85
    assert 1.22 < np.max(steps) <= 1.3001


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (0.7, 1.0, 2.0)])
def test_the_largest_deformation_of_the_recipe_does_not_fold(spacing, monkeypatch):
    recipe = read_recipe("brain")["synthesis"]
    closest = recipe["deformation_spacing_mm"][0]
    draws = Draws.seeded(3, 7, CPU)
    monkeypatch.setattr(
        Draws, "uniform", lambda self, low, high, *shape: torch.full((3, *shape), float(high))
    )
    patch = (44, 52, 36)
    found = points(
        draws,
        patch=patch,
        spacing=spacing,
        deformation_mm=recipe["deformation_mm"],
        deformation_spacing_mm=(closest, closest),
    )
    moved = found - np.array([19.5, 14.5, 9.5])[:, None, None, None] - offsets(patch)
    largest = np.abs(moved * np.array(spacing)[:, None, None, None]).max()
    assert largest > recipe["deformation_mm"]  # this is no small deformation
    corner = tuple(slice(0, n - 1) for n in patch)
    steps = [np.diff(found, axis=2 + axis)[(slice(None), slice(None), *corner)] for axis in range(3)]
    jacobian = np.stack(steps, -1)  # (B, 3, *patch, 3)
    assert np.linalg.det(np.moveaxis(jacobian, 1, -2)).min() > 0.1


def test_nearest_voxels_are_numpys():
    generator = np.random.default_rng(0)
    shapes = [(5, 7, 4), (6, 3, 9)]
    at = generator.uniform(-2, 9, (3, 2, 6, 5, 4)).astype(np.float32)
    position, inside = nearest_voxels([torch.from_numpy(axis) for axis in at], torch.tensor(shapes))
    for n, shape in enumerate(shapes):
        nearest = np.rint(at[:, n]).astype(int)
        expected = ((nearest >= 0) & (nearest < np.array(shape)[:, None, None, None])).all(0)
        np.testing.assert_array_equal(inside[n], expected)
        kept = np.stack([np.clip(one, 0, extent - 1) for one, extent in zip(nearest, shape, strict=True)])
        np.testing.assert_array_equal(position[n], np.ravel_multi_index(tuple(kept), shape))
