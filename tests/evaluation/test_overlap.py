"""Dice against sets of voxels counted in plain Python."""

from __future__ import annotations

import numpy as np
import pytest

from medseg.evaluation.metrics import dice, dice_per_label


def _dice_by_counting(pred, ref):
    voxels = [{tuple(v) for v in np.argwhere(mask)} for mask in (pred, ref)]
    return 2 * len(voxels[0] & voxels[1]) / (len(voxels[0]) + len(voxels[1]))


def test_dice_is_twice_the_overlap_over_both_sizes():
    rng = np.random.default_rng(0)
    pred, ref = rng.random((2, 5, 6, 7)) > 0.6
    assert dice(pred, ref) == pytest.approx(_dice_by_counting(pred, ref), abs=1e-15)


def test_dice_of_two_empty_masks_is_missing_and_of_one_empty_mask_is_zero():
    empty, full = np.zeros((2, 3, 4), bool), np.ones((2, 3, 4), bool)
    assert dice(empty, empty) is None
    assert dice(empty, full) == 0.0
    assert dice(full, empty) == 0.0
    assert dice(full, full) == 1.0


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int64])
def test_dice_per_label_agrees_with_counting_each_mask(dtype):
    rng = np.random.default_rng(1)
    pred, ref = rng.choice([0, 1, 2, 200], size=(2, 6, 7, 8)).astype(dtype)
    scores = dice_per_label(pred, ref, (1, 200, 2, 77))
    assert list(scores) == [1, 200, 2, 77]
    assert scores.pop(77) is None
    for label, score in scores.items():
        assert score == pytest.approx(_dice_by_counting(pred == label, ref == label), abs=1e-15)


def test_arrays_on_different_grids_are_refused_with_both_shapes():
    with pytest.raises(ValueError, match=r"\(2, 3\).*\(3, 2\)"):
        dice(np.zeros((2, 3), bool), np.zeros((3, 2), bool))
    with pytest.raises(ValueError, match="expected one grid"):
        dice_per_label(np.zeros((2, 3), np.uint8), np.zeros((1, 3), np.uint8), (1,))
