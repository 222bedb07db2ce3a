"""Sampling and augmentation: repeatable, in place, left stays left."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import ndimage

from medseg.plans import Plan
from medseg.training.augment import _draw_move, augment
from medseg.training.cache import CachedCase
from medseg.training.knots import enlarged, knot_positions
from medseg.training.sampling import Prefetcher, draw_batch, read_size

STILL = {
    "spatial_probability": 1.0,
    "rotation_degrees": (0.0, 0.0, 0.0),
    "scale": (1.0, 1.0),
    "intensity_probability": 0.0,
}


def plan(
    augmentation: dict[str, object],
    patch: tuple[int, ...] = (8, 12, 10),
    names: tuple[str, str] = ("a", "b"),
) -> Plan:
    return Plan.checked(
        {
            "name": "t",
            "dimensions": len(patch),
            "channels": [{"name": "x"}],
            "labels": [{"id": n + 1, "name": name, "colour": (0, 0, 0)} for n, name in enumerate(names)],
            "patch": patch,
            "network": {
                "features": (4, 8),
                "strides": ((1,) * len(patch), (2,) * len(patch)),
                "deep_supervision": 0,
            },
            "sampling": {"batch_size": 4, "foreground_fraction": 0.5},
            "augmentation": augmentation,
        }
    )


def cached(shape: tuple[int, int, int], seed: int = 0) -> CachedCase:
    generator = np.random.default_rng(seed)
    classes = np.zeros(shape, np.uint8)
    classes[1:3, 2:4, 1:3] = 1
    image = generator.normal(size=(1, *shape)).astype(np.float32)
    return CachedCase("c", image, classes, {1: np.argwhere(classes == 1).astype(np.int32)})


def test_a_batch_depends_on_seed_step_and_rank_alone():
    cases, the_plan = [cached((20, 30, 16), s) for s in range(3)], plan(STILL)
    first = draw_batch(cases, the_plan, 5)
    with Prefetcher(cases, the_plan) as ahead:
        for step in range(5):
            ahead.batch(step)
        np.testing.assert_array_equal(ahead.batch(5)[0], first[0])
    assert not np.array_equal(draw_batch(cases, the_plan, 6)[0], first[0])
    assert not np.array_equal(draw_batch(cases, the_plan, 5, rank=1)[0], first[0])


def test_patches_are_cut_from_the_case_and_half_hold_foreground():
    case, the_plan = cached((40, 40, 40)), plan({**STILL, "spatial_probability": 0.0})
    held = 0
    for step in range(20):
        images, classes = draw_batch([case], the_plan, step)
        assert images.shape == (4, 1, 8, 12, 10)
        windows = np.lib.stride_tricks.sliding_window_view(case.image[0], (8, 12, 10))
        for image, label in zip(images, classes, strict=True):
            place = np.argwhere(windows[..., 0, 0, 0] == image[0, 0, 0, 0])[0]
            np.testing.assert_array_equal(windows[tuple(place)], image[0])
            inside = tuple(slice(s, s + n) for s, n in zip(place, (8, 12, 10), strict=True))
            np.testing.assert_array_equal(case.classes[inside], label)
        held += sum(label.any() for label in classes[:2])
    assert held == 40


def test_a_small_case_sits_in_the_middle_of_zeros():
    case, the_plan = cached((5, 7, 4)), plan({**STILL, "spatial_probability": 0.0})
    images, classes = draw_batch([case], the_plan, 0)
    np.testing.assert_array_equal(images[0, 0, 1:6, 2:9, 3:7], case.image[0])
    assert images[0].astype(bool).sum() == case.image.astype(bool).sum()
    np.testing.assert_array_equal(classes[0, 1:6, 2:9, 3:7], case.classes)


def test_no_change_is_exactly_the_centre():
    the_plan = plan(STILL)
    size = read_size(the_plan)
    images = torch.randn(2, 1, *size)
    classes = torch.randint(0, 3, (2, *size), dtype=torch.uint8)
    found, labels = augment(images, classes, the_plan, torch.Generator().manual_seed(0))
    inside = tuple(slice((s - p) // 2, (s - p) // 2 + p) for s, p in zip(size, the_plan.patch, strict=True))
    torch.testing.assert_close(found, images[(slice(None), slice(None), *inside)], atol=1e-4, rtol=0)
    assert torch.equal(labels, classes[(slice(None), *inside)].long())


@pytest.mark.parametrize(("axis", "plane"), [(0, (1, 2)), (1, (0, 2)), (2, (0, 1))])
def test_a_quarter_turn_is_numpys(axis, plane, monkeypatch):
    angles = [0.0, 0.0, 0.0]
    angles[axis] = 90.0
    the_plan = plan({**STILL, "rotation_degrees": angles}, patch=(8, 8, 8))
    # The draw is uniform in +-90 degrees: pin it to its end.
    monkeypatch.setattr(
        "medseg.training.augment.uniform", lambda batch, low, high, generator: torch.full((batch,), high)
    )
    images = torch.randn(1, 1, 8, 8, 8)
    found, _ = augment(images, torch.zeros(1, 8, 8, 8, dtype=torch.uint8), the_plan, torch.Generator())
    turns = [np.rot90(images[0, 0].numpy(), k, plane) for k in (1, 3)]
    assert min(np.abs(found[0, 0].numpy() - turn).max() for turn in turns) < 1e-4


def test_a_flipped_left_stays_left():
    the_plan = plan({**STILL, "flip_axes": (0,)}, patch=(8, 8, 8), names=("left kidney", "right kidney"))
    classes = torch.zeros(64, 8, 8, 8, dtype=torch.uint8)
    classes[:, 1:3, 3:6, 3:6] = 1  # low index along R is the patient's left
    classes[:, 5:7, 3:5, 3:5] = 2
    images = classes[:, None].float()
    found, labels = augment(images, classes, the_plan, torch.Generator().manual_seed(1))
    flipped = [n for n in range(64) if (found[n] - images[n]).abs().max() > 0.5]
    assert 20 < len(flipped) < 44
    for n in range(64):
        where = [np.argwhere(labels[n].numpy() == index)[:, 0].mean() for index in (1, 2)]
        assert where[0] < where[1], "a label has changed sides"
    sizes = {int((labels[n] == 1).sum()) for n in flipped}
    assert sizes == {2 * 2 * 2}, "the flipped patch's left structure is what lay on the right"


def test_intensity_changes_keep_the_label_and_stay_finite():
    the_plan = plan({**STILL, "spatial_probability": 0.0, "intensity_probability": 1.0, "bias_field": 0.3})
    images = torch.randn(4, 1, *the_plan.patch)
    classes = torch.randint(0, 3, (4, *the_plan.patch), dtype=torch.uint8)
    found, labels = augment(images, classes, the_plan, torch.Generator().manual_seed(2))
    assert torch.equal(labels, classes.long())
    assert torch.isfinite(found).all()
    assert (found - images).abs().mean() > 0.05


@pytest.mark.parametrize("patch", [(8, 12, 10), (12, 16)])
def test_a_moved_patch_is_scipys_interpolation_of_image_and_labels(patch):
    how = {**STILL, "rotation_degrees": (20.0, 20.0, 20.0), "scale": (0.8, 1.2), "translation_voxels": 3.0}
    the_plan = plan({**how, "flip_axes": (1,)}, patch)
    size, generator = read_size(the_plan), np.random.default_rng(3)
    images = generator.normal(size=(3, 2, *size)).astype(np.float32)
    classes = generator.integers(0, 3, (3, *size)).astype(np.uint8)
    move = _draw_move(3, the_plan, torch.Generator().manual_seed(4))
    found, labels = augment(
        torch.from_numpy(images), torch.from_numpy(classes), the_plan, torch.Generator().manual_seed(4)
    )
    offsets = np.indices(patch).reshape(len(patch), -1).T - (np.array(patch) - 1) / 2
    for n in range(3):
        places = offsets @ move.matrix[n].numpy().astype(float).T + move.shift[n].numpy()
        places = (places + (np.array(size) - 1) / 2).T

        def at(values, places=places):
            return ndimage.map_coordinates(values.astype(float), places, order=1, mode="grid-constant")

        for channel in range(2):
            expected = at(images[n, channel]).reshape(patch)
            np.testing.assert_allclose(found[n, channel].numpy(), expected, atol=2e-4)
        shares = np.stack([at(classes[n] == index) for index in (1, 2)])
        shares = np.concatenate([1 - shares.sum(0, keepdims=True), shares])
        clear = np.diff(np.sort(shares, 0)[-2:], axis=0)[0] > 1e-3
        np.testing.assert_array_equal(labels[n].numpy().ravel()[clear], shares.argmax(0)[clear])


def test_a_patch_that_is_not_moved_is_cut_out_and_flipped_exactly():
    the_plan = plan({**STILL, "spatial_probability": 0.0, "flip_axes": (1, 2)})
    images = torch.randn(16, 1, *the_plan.patch)
    classes = torch.randint(0, 3, (16, *the_plan.patch), dtype=torch.uint8)
    found, labels = augment(images, classes, the_plan, torch.Generator().manual_seed(0))
    seen = set()
    for n in range(16):
        for axes in ((), (1,), (2,), (1, 2)):
            if np.array_equal(found[n, 0].numpy(), np.flip(images[n, 0].numpy(), axes)):
                seen.add(axes)
                np.testing.assert_array_equal(labels[n].numpy(), np.flip(classes[n].numpy(), axes))
                break
        else:
            raise AssertionError("not a flip of the patch")
    assert len(seen) == 4


@pytest.mark.parametrize(("patch", "mode"), [((9, 20, 7), "trilinear"), ((33, 4), "bilinear")])
def test_a_field_is_enlarged_as_torch_interpolates_it_twice(patch, mode):
    knots = [len(axis) for axis in knot_positions(patch, 4.0, torch.device("cpu"))]
    field = torch.randn(2, *knots, 3)
    middle = [min(2 * k - 1, n) for k, n in zip(knots, patch, strict=True)]
    expected = field.movedim(-1, 1)
    for size in (middle, list(patch)):
        expected = torch.nn.functional.interpolate(expected, size=size, mode=mode, align_corners=True)
    torch.testing.assert_close(enlarged(field, patch), expected.movedim(1, -1), atol=1e-5, rtol=0)


def test_the_ignore_class_moves_with_the_labels():
    values = plan({**STILL, "translation_voxels": 2.0}).model_dump()
    the_plan = Plan.checked({**values, "ignore_label": 7})
    size = read_size(the_plan)
    classes = torch.full((4, *size), the_plan.ignore_class, dtype=torch.uint8)
    _, labels = augment(torch.zeros(4, 1, *size), classes, the_plan, torch.Generator().manual_seed(0))
    assert (labels == the_plan.ignore_class).float().mean() > 0.7


def test_rotation_keeps_distances():
    from medseg.training.augment import _rotation

    matrix = _rotation(torch.tensor([[0.3, -1.1, 2.0]]), 3)[0]
    torch.testing.assert_close(matrix @ matrix.T, torch.eye(3), atol=1e-6, rtol=0)
    assert math.isclose(float(torch.det(matrix)), 1.0, abs_tol=1e-5)
