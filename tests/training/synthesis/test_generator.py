"""Batches from label maps: repeatable, the map itself where nothing is drawn, left stays left."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.ndimage import binary_dilation

from medseg.errors import InputRefused
from medseg.geometry import Geometry
from medseg.labels import LabelSet
from medseg.plans import Plan
from medseg.training.synthesis.generator import Synthesiser, tissue_map
from medseg.volume import LabelMap
from tests.label_map_data import SPACING, TABLE, make_map, synthesis_plan

CPU = torch.device("cpu")
PATCH = (11, 16, 13)
START = (1, 3, 2)  # of the patch in the map: both have the segmented box in their middle
VALUES = [row[0] for row in TABLE]
# One intensity for every class, so far apart at the bright end that the range's upper limit parts them too.
MEANS = {row[3]: 10 + 2.6 * n**2 for n, row in enumerate(TABLE)}
CONSTANT = {"contrasts": {"flat": {"priors": {number: {"mean": mean} for number, mean in MEANS.items()}}}}


def lopsided_map() -> np.ndarray:
    """Values (15, 22, 18): a segmented box whose halves differ, in a head that is not round it."""
    values = np.zeros((15, 22, 18), np.uint16)
    values[1:14, 3:18, 0:17] = 502
    values[4:9, 6:16, 5:12] = 41
    values[4:6, 6:16, 5:12] = 2
    values[4:6, 8:13, 6:10] = 17
    values[6:9, 6:9, 5:8] = 24
    return values


def tissues_of(values: np.ndarray) -> np.ndarray:
    """Positions in the table of the values of a map."""
    found = np.zeros(values.shape, np.uint8)
    for position, value in enumerate(VALUES):
        found[values == value] = position
    return found


def intensities_of(values: np.ndarray) -> np.ndarray:
    """Intensity classes of the values of a map, by the table."""
    return np.array([row[3] for row in TABLE])[tissues_of(values)]


def classes_of(values: np.ndarray, plan: Plan) -> np.ndarray:
    """Class indices of the values of a map, by the table."""
    found = np.zeros(values.shape, np.int64)
    for row in TABLE:
        found[values == row[0]] = plan.class_ids.index(row[1])
    return found


def patch_of(array: np.ndarray) -> np.ndarray:
    return array[tuple(slice(s, s + n) for s, n in zip(START, PATCH, strict=True))]


def made(plan: Plan, seed: int = 0, count: int = 8, maps=None) -> tuple[np.ndarray, np.ndarray]:
    images, classes = Synthesiser(maps or [tissues_of(lopsided_map())], plan, CPU).batch(seed, count=count)
    return images[:, 0].numpy(), classes.numpy()


def test_a_batch_follows_from_its_seed():
    # Everything is drawn.
    plan = synthesis_plan(
        (16, 24, 12),
        rotation_degrees=15.0,
        flip=True,
        deformation_mm=3.0,
        strip_probability=0.3,
        crop_probability=0.3,
        split_probability=0.3,
        coarse_probability=0.3,
        slices_probability=0.3,
        bias_field=0.4,
        noise=0.06,
        gamma=0.3,
        spike_probability=0.3,
        random_weight=1.0,
    )
    maps = [tissues_of(make_map(n)) for n in range(3)]
    first, same = (Synthesiser(maps, plan, CPU).batch(11, 0.5, 4) for _ in range(2))
    other = Synthesiser(maps, plan, CPU).batch(12, 0.5, 4)
    assert torch.equal(first[0], same[0])
    assert torch.equal(first[1], same[1])
    assert not torch.equal(first[0], other[0])
    images, classes = first
    assert images.shape == (4, 1, 16, 24, 12)
    assert classes.shape == (4, 16, 24, 12)
    assert images.dtype == torch.float32
    assert classes.dtype == torch.int64
    assert images.min() >= 0
    assert images.max() <= 1
    assert set(classes.unique().tolist()) <= set(range(len(plan.class_ids)))


def test_where_nothing_is_drawn_the_batch_is_the_map(monkeypatch):
    monkeypatch.setattr("medseg.training.synthesis.acquisition._SIGMA_PER_MM", 0.0)  # the narrowest spread
    plan = synthesis_plan(PATCH, **CONSTANT)
    images, classes = made(plan)
    values = patch_of(lopsided_map())
    alike = intensities_of(values)  # left and right look alike
    there = np.array(sorted(np.unique(alike), key=lambda number: MEANS[number]))
    for image, one in zip(images, classes, strict=True):
        np.testing.assert_array_equal(one, classes_of(values, plan))
        # One intensity for what looks alike, in the order of the priors: the image tells it voxel by voxel.
        levels = np.array([np.median(image[alike == number]) for number in there])
        assert (np.diff(levels) > 0.02).all()
        np.testing.assert_array_equal(there[np.abs(image[..., None] - levels).argmin(-1)], alike)


def test_beyond_a_map_there_is_air():
    plan = synthesis_plan((21, 28, 23), **CONSTANT)  # three voxels more than the map on some sides
    _, classes = made(plan, count=1)
    expected = np.zeros((21, 28, 23), np.int64)
    inner = classes_of(lopsided_map(), plan)
    # Its middle, 6, 10.5 and 8 in the map, lies at 10, 13.5 and 11 in the patch.
    expected[4:19, 3:25, 3:21] = inner
    np.testing.assert_array_equal(classes[0], expected)


def test_a_mirrored_patch_swaps_left_and_right():
    plan = synthesis_plan(PATCH, flip=True, **CONSTANT)
    images, classes = made(plan, count=24)
    straight = classes_of(patch_of(lopsided_map()), plan)
    swap = {2: 41, 41: 2, 17: 53, 53: 17}
    swapped = np.array([plan.class_ids.index(swap.get(label, label)) for label in plan.class_ids])
    mirrored = swapped[np.flip(straight, 0)]
    is_mirrored = np.array([not np.array_equal(one, straight) for one in classes])
    assert 6 < is_mirrored.sum() < 18
    for one in classes[is_mirrored]:
        np.testing.assert_array_equal(one, mirrored)
    # What is bright stays where the mirrored label is: images differ in their point spread alone.
    reference = images[~is_mirrored][0]
    for image in images[is_mirrored]:
        alike = np.corrcoef(np.flip(image, 0).ravel(), reference.ravel())[0, 1]
        assert alike > 0.98
        assert np.corrcoef(image.ravel(), reference.ravel())[0, 1] < alike - 0.02


def test_stripping_leaves_exact_zeros_and_background_outside():
    plan = synthesis_plan((21, 28, 23), strip_probability=1.0, strip_labels=(24,), **CONSTANT)
    images, classes = made(plan, count=16)
    values = np.pad(lopsided_map(), ((4, 2), (3, 3), (3, 2)))
    closely = 0
    for image, one in zip(images, classes, strict=True):
        kept = np.isin(values, (2, 17, 41) if (one[values == 24] == 0).all() else (2, 17, 24, 41))
        closely += not kept[values == 24].all()
        np.testing.assert_array_equal(one, np.where(kept, classes_of(values, plan), 0))
        reached = binary_dilation(kept, np.ones((3, 3, 3)), iterations=3)  # by the point spread
        assert (~reached).any()
        assert (image[~reached] < 1e-6).all()
        assert (image[kept] > 0).all()
    assert 3 < closely < 13


def test_what_is_cropped_away_is_zero_and_background():
    plan = synthesis_plan(PATCH, crop_probability=1.0, **CONSTANT)
    images, classes = made(plan, count=16)
    values = classes_of(patch_of(lopsided_map()), plan)
    cut = [not np.array_equal(one, values) for one in classes]
    assert any(cut)
    for image, one in zip(images, classes, strict=True):
        assert ((one == values) | (one == 0)).all()
        assert (image[(one == 0) & (values > 0)] == 0).all()


def test_maps_of_different_sizes_are_drawn_evenly_and_never_mixed():
    plan = synthesis_plan(PATCH, **CONSTANT)
    small = np.full((7, 6, 5), VALUES.index(17), np.uint8)
    large = np.full((23, 30, 19), VALUES.index(53), np.uint8)
    _, classes = made(plan, count=60, maps=[small, large])
    left, right = plan.class_ids.index(17), plan.class_ids.index(53)
    from_small = [set(np.unique(one)) == {0, left} and (one == left).sum() == small.size for one in classes]
    from_large = [set(np.unique(one)) == {right} for one in classes]
    assert 15 < sum(from_small) < 45
    assert sum(from_small) + sum(from_large) == 60


def test_a_tissue_map_lies_on_the_plans_grid_and_knows_its_tissues():
    plan = synthesis_plan()
    values = make_map(4)
    base = Geometry(values.shape, np.diag([*SPACING, 1.0]))
    turned = base.permuted((2, 0, 1), (True, False, True))
    stored = np.flip(values.transpose(2, 0, 1), (0, 2))
    label_map = LabelMap(stored, turned, LabelSet.from_ids([int(v) for v in np.unique(values) if v]))
    np.testing.assert_array_equal(tissue_map(label_map, plan), tissues_of(values))
    broken = stored.copy()
    broken[0, 0, 0] = 77
    labels = LabelSet.from_ids([int(v) for v in np.unique(broken) if v])
    with pytest.raises(InputRefused, match=r"values \[77\] are not among the 10 tissues") as refusal:
        tissue_map(LabelMap(broken, turned, labels), plan)
    assert refusal.value.code == "unknown-label"
