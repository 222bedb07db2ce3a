"""Surface Dice and HD95 against brute force, MONAI and shapes whose answer is known."""

from __future__ import annotations

import warnings
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medseg.evaluation.metrics import hd95, surface_dice
from medseg.evaluation.surface import area_surface

_SPACINGS = [(1.0, 1.0, 1.0), (0.7, 1.3, 4.0)]


@pytest.fixture(scope="module")
def monai():
    """MONAI, which carries a port of the published code; its import warns of its own dependencies."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip("monai", reason="MONAI is the oracle here")


def _blobs(seed, shape=(9, 7, 11)):
    """Two overlapping random masks that touch the array's border."""
    from scipy.ndimage import gaussian_filter

    noise = np.random.default_rng(seed).normal(size=(2, *shape))
    return tuple(gaussian_filter(n, 1.2) > 0 for n in noise)


def _elements_by_loop(mask, spacing):
    """Where the surface elements stand, looking at one block of voxels at a time."""
    padded = np.pad(mask, 1)
    points = []
    for i, j, k in product(*(range(n + 1) for n in mask.shape)):
        block = padded[i : i + 2, j : j + 2, k : k + 2]
        if block.any() and not block.all():
            points.append((np.array((i, j, k)) - 0.5) * spacing)
    return np.array(points)


def _brute_force(pred, ref, spacing, areas):
    """Directed distances over every pair of elements, weighted by `areas(mask)`."""
    a, b = _elements_by_loop(pred, spacing), _elements_by_loop(ref, spacing)
    distances = np.linalg.norm(a[:, None] - b[None], axis=-1)
    return (distances.min(1), areas(pred)), (distances.min(0), areas(ref))


def _areas(spacing):
    return lambda mask: area_surface(mask, spacing).weights


@pytest.mark.parametrize("spacing", _SPACINGS)
@pytest.mark.parametrize("seed", range(3))
def test_elements_stand_where_a_loop_over_blocks_finds_them(spacing, seed):
    mask, _ = _blobs(seed)
    np.testing.assert_allclose(
        area_surface(mask, spacing).points, _elements_by_loop(mask, np.array(spacing)), atol=1e-12
    )


@pytest.mark.parametrize("spacing", _SPACINGS)
@pytest.mark.parametrize("seed", range(3))
def test_surface_dice_and_hd95_agree_with_brute_force(spacing, seed):
    pred, ref = _blobs(seed)
    directed = _brute_force(pred, ref, np.array(spacing), _areas(spacing))
    for tolerance in (0.5, 1.0, 1.4):
        within = sum(w[d <= tolerance + 1e-9].sum() for d, w in directed)
        expected = within / sum(w.sum() for _, w in directed)
        assert surface_dice(pred, ref, spacing, tolerance) == pytest.approx(expected, abs=1e-12)
    percentiles = []
    for d, w in directed:
        order = np.argsort(d)
        share = w[order].cumsum() / w.sum()
        percentiles.append(d[order][np.flatnonzero(share >= 0.95 - 1e-12)[0]])
    assert hd95(pred, ref, spacing) == pytest.approx(max(percentiles), abs=1e-12)


@pytest.mark.filterwarnings("ignore:monai.metrics:FutureWarning")  # MONAI calls its own deprecated argument
@pytest.mark.parametrize("spacing", [*_SPACINGS, (5.0, 0.5, 0.8)])
@pytest.mark.parametrize("seed", range(4))
def test_surface_dice_equals_monais_port_of_the_published_code(spacing, seed, monai):
    torch = pytest.importorskip("torch", reason="MONAI's metrics need torch")
    pred, ref = _blobs(seed, (12, 9, 7))
    theirs = monai.metrics.compute_surface_dice(
        *(torch.from_numpy(np.stack((~m, m))[None].astype(np.float32)) for m in (pred, ref)),
        class_thresholds=[1.0],
        spacing=spacing,
        use_subvoxels=True,
    )
    assert surface_dice(pred, ref, spacing, 1.0) == pytest.approx(float(theirs[0, 0]), abs=1e-5)


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (2.0, 0.7, 1.3), (0.5, 0.5, 5.0)])
def test_area_of_each_of_the_256_blocks_is_the_published_one(spacing, monai):
    table, kernel = monai.metrics.utils.create_table_neighbour_code_to_surface_area(spacing)
    weights = np.asarray(kernel.tolist()).squeeze()
    for code in range(256):
        corners = np.array([code >> bit & 1 for bit in range(8)], bool).reshape(2, 2, 2)
        found = area_surface(corners, spacing)
        centre = np.isclose(found.points, 0.5 * np.array(spacing)).all(axis=1)
        assert found.weights[centre].sum() == pytest.approx(
            float(table[int(weights[corners].sum())]), abs=1e-5
        )


def test_area_of_a_voxelised_ball_is_near_the_formula_where_counted_faces_are_half_too_large():
    spacing, radius = np.array((0.8, 1.1, 1.9)), 20.0
    grid = np.indices((54, 40, 25)) - np.array((26.5, 19.5, 12)).reshape(3, 1, 1, 1)
    ball = np.linalg.norm(grid * spacing.reshape(3, 1, 1, 1), axis=0) <= radius
    assert area_surface(ball, spacing).weights.sum() == pytest.approx(4 * np.pi * radius**2, rel=0.15)


def test_a_slab_moved_by_two_slices_is_that_far_away():
    ref = np.zeros((12, 14, 16), bool)
    ref[:, :, 4:8] = True
    pred = np.roll(ref, 2, axis=2)
    assert hd95(pred, ref, (0.5, 0.5, 2.5)) == pytest.approx(5.0)
    assert surface_dice(pred, ref, (0.5, 0.5, 2.5), 5.0) == 1.0
    assert surface_dice(pred, ref, (0.5, 0.5, 2.5), 2.0) < 0.6


def test_hd95_is_the_larger_direction_and_swapping_changes_nothing():
    ref = np.zeros((10, 11, 30), bool)
    ref[3:7, 3:8, 3:8] = True
    pred = ref.copy()
    pred[3:7, 3:8, 18:23] = True  # invented: far from the reference, which itself is met everywhere
    assert hd95(pred, ref, (1, 1, 2)) > 20
    assert hd95(pred, ref, (1, 1, 2)) == hd95(ref, pred, (1, 1, 2))


def test_distances_on_a_sheared_grid_are_those_of_world_points():
    steps = np.array(((0.9, 0.0, 0.0), (0.0, 0.9, 1.2), (0.0, 0.0, 3.0)))
    pred, ref = _blobs(7, (8, 9, 6))
    a, b = ((np.array(_elements_by_loop(m, np.ones(3))) @ steps.T) for m in (pred, ref))
    distances = np.linalg.norm(a[:, None] - b[None], axis=-1)
    areas = [area_surface(m, steps).weights for m in (pred, ref)]
    within = areas[0][distances.min(1) <= 1.5].sum() + areas[1][distances.min(0) <= 1.5].sum()
    assert surface_dice(pred, ref, steps, 1.5) == pytest.approx(within / (areas[0].sum() + areas[1].sum()))


def test_turning_the_grid_in_space_changes_nothing():
    turn, _ = np.linalg.qr(np.random.default_rng(2).normal(size=(3, 3)))
    spacing = np.array((0.7, 1.3, 4.0))
    pred, ref = _blobs(8)
    assert surface_dice(pred, ref, turn * spacing, 1.0) == pytest.approx(
        surface_dice(pred, ref, spacing, 1.0)
    )
    assert hd95(pred, ref, turn * spacing) == pytest.approx(hd95(pred, ref, spacing))


def test_a_square_in_a_plane_is_measured_by_its_outline():
    mask = np.zeros((9, 8), bool)
    mask[2:7, 3:6] = True  # 5 x 3 pixels: straight outline 4 and 2 pixels long, four corners cut
    outline = 2 * (4 * 0.5 + 2 * 2.0) + 4 * np.hypot(0.25, 1.0)
    assert area_surface(mask, (0.5, 2.0)).weights.sum() == pytest.approx(outline)
    assert surface_dice(mask, np.roll(mask, 1, axis=0), (0.5, 2.0), 0.5) == 1.0


@settings(max_examples=40, deadline=None)
@given(bits=st.lists(st.booleans(), min_size=2 * 3 * 4 * 3, max_size=2 * 3 * 4 * 3))
def test_scores_stay_within_their_bounds_and_are_symmetric(bits):
    pred, ref = np.array(bits).reshape(2, 3, 4, 3)
    score = surface_dice(pred, ref, (1, 2, 3), 1.0)
    assert score == surface_dice(ref, pred, (1, 2, 3), 1.0)
    if not pred.any() and not ref.any():
        assert score is None
    elif not pred.any() or not ref.any():
        assert (score, hd95(pred, ref, (1, 2, 3))) == (0.0, None)
    else:
        assert 0 <= score <= 1


def test_equal_masks_score_one_at_no_distance():
    mask, _ = _blobs(3)
    assert surface_dice(mask, mask, (0.7, 1.3, 4.0), 0.0) == 1.0
    assert hd95(mask, mask, (0.7, 1.3, 4.0)) == 0.0


def test_spacing_that_does_not_fit_the_mask_is_refused():
    with pytest.raises(ValueError, match="does not fit a mask of 3 axes"):
        area_surface(np.ones((2, 3, 4), bool), (1.0, 1.0))
