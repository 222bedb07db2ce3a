"""Slices between annotated ones, against shapes whose formula is known: pure tests, no viewer."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from napari_medseg.editing.slice_interpolation import interpolate_slices
from scipy import ndimage

from medseg import UsageError

_SPACING = (3.0, 0.7, 1.1)  # of axes i, j, k; slices lie across i
_SHAPE = (25, 60, 44)
_I, _Y, _X = np.meshgrid(
    *(np.arange(n) * size for n, size in zip(_SHAPE, _SPACING, strict=True)), indexing="ij"
)


def _disc(y, x, radius):
    """Where a disc is that may move and grow with i; all in mm."""
    return (_Y - y) ** 2 + (_X - x) ** 2 <= radius**2


def _every(step, truth):
    given = list(range(0, len(truth), step))
    sparse = np.zeros_like(truth)
    sparse[given] = truth[given]
    return sparse, given


def _interpolated(labels, ids, axis=0, spacing=_SPACING, **options):
    before = labels.copy()
    after = labels.copy()
    interpolate_slices(labels, ids, axis, spacing, **options).apply(after)
    np.testing.assert_array_equal(labels, before)
    return after


def _dice(found, truth, given, label=1):
    between = np.setdiff1d(np.arange(given[0], given[-1]), given)
    a, b = found[between] == label, truth[between] == label
    return 2 * (a & b).sum() / (a.sum() + b.sum())


def _round_tube():
    return _disc(20.0, 24.0, 9.0 + _I / 20)


def _oblique_tube():
    return _disc(7.0 + _I * 0.37, 10.0 + _I * 0.32, 5.0)


def _tube_that_moves_by_more_than_its_width():
    return _disc(6.0 + _I * 0.4, 8.0 + _I * 0.4, 2.5)


def _tubes_that_move_to_each_others_place():
    return _disc(8.0 + _I * 0.3, 10.0, 3.2) | _disc(16.0 + _I * 0.3, 10.0, 3.2)


def _branches():
    apart = np.maximum(_I - 20, 0) * 0.22
    return _disc(21.0 - apart, 24.0, 6.0) | _disc(21.0 + apart, 24.0, 6.0)


@pytest.mark.parametrize(
    ("shape", "step", "least"),
    [
        (_round_tube, 6, 0.985),
        (_oblique_tube, 4, 0.97),
        (_tube_that_moves_by_more_than_its_width, 6, 0.9),
        (_tubes_that_move_to_each_others_place, 8, 0.93),
        (_branches, 4, 0.96),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_shapes_come_back_from_every_few_slices(shape, step, least):
    truth = shape().astype(np.uint8)
    sparse, given = _every(step, truth)
    found = _interpolated(sparse, (1,))
    assert _dice(found, truth, given) > least
    areas = found.sum(axis=(1, 2)) / truth.sum(axis=(1, 2))
    np.testing.assert_allclose(areas, 1, atol=0.15)


@pytest.mark.parametrize("shape", [_tubes_that_move_to_each_others_place, _branches])
def test_pieces_stay_as_many_as_there_are(shape):
    truth = shape().astype(np.uint8)
    sparse, _ = _every(4, truth)
    found = _interpolated(sparse, (1,))
    counts = [[ndimage.label(one, np.ones((3, 3)))[1] for one in array] for array in (found, truth)]
    # Where the branches part, between two annotated slices, one slice may be early or late.
    assert np.count_nonzero(np.subtract(*counts)) <= (2 if shape is _branches else 0)


def test_a_label_that_ends_tapers_to_a_tip_in_the_next_annotated_slice():
    labels = (_disc(20.0, 20.0, 10.0) & (_I < 1)).astype(np.uint8)
    found = _interpolated(labels, (1,), slices=(0, 8))
    areas = found[:9].sum(axis=(1, 2))
    np.testing.assert_allclose(areas, areas[0] * (1 - np.arange(9) / 8) ** 2, rtol=0.05, atol=4)
    assert areas[8] == 0
    for smaller, larger in zip(found[1:9], found[:8], strict=True):
        assert not (smaller & ~larger).any()


def test_pieces_too_far_apart_are_not_bridged():
    labels = np.zeros(_SHAPE, np.uint8)
    labels[0] = _disc(5.0, 24.0, 4.0)[0]
    labels[4] = _disc(36.0, 24.0, 4.0)[4]  # 31 mm away, in slices that are 12 mm apart
    found = _interpolated(labels, (1,))
    assert found[2].any()
    assert not (found.any(axis=0) & ~labels.any(axis=0)).any()


def test_labels_that_touch_are_interpolated_without_gap_or_overlap():
    """A disc whose halves are two labels; the border between them moves and turns."""
    border = (_Y - 20.0) * np.cos(_I / 60) + (_X - 22.0) * np.sin(_I / 60) + (_I - 36) * 0.08
    truth = np.where(_disc(20.0, 22.0, 14.0), np.where(border > 0, 7, 3), 0).astype(np.uint16)
    sparse, given = _every(6, truth)
    found = _interpolated(sparse, (3, 7))
    assert [_dice(found, truth, given, n) > 0.97 for n in (3, 7)] == [True, True]
    assert np.count_nonzero((found == 0) != (truth == 0)) < 0.003 * np.count_nonzero(truth)


@pytest.mark.parametrize("axis", [1, 2])
def test_every_axis_is_treated_alike(axis):
    truth = _oblique_tube() * np.where(_Y + _X > 30 + _I * 0.5, 2, 1).astype(np.uint8)
    sparse, given = _every(5, truth)
    expected = _interpolated(sparse, (1, 2), slices=given)
    moved = np.moveaxis(sparse, 0, axis)
    spacing = tuple(np.insert(np.array(_SPACING)[1:], axis, _SPACING[0]))
    found = _interpolated(moved, (1, 2), axis, spacing, slices=given)
    np.testing.assert_array_equal(np.moveaxis(found, axis, 0), expected)


def test_a_structure_that_the_scan_cuts_off_stays_cut_off():
    labels = np.zeros(_SHAPE, np.uint8)
    labels[2, :20] = labels[8, :30] = 1
    found = _interpolated(labels, (1,))
    for n in range(3, 8):
        rows = found[n].all(axis=1)
        np.testing.assert_array_equal(found[n].any(axis=1), rows)
        assert abs(rows.sum() - (20 + 10 * (n - 2) / 6)) < 1.2
    assert not found[:2].any()
    assert not found[9:].any()


def test_only_what_may_change_between_annotated_slices_does():
    truth = _oblique_tube().astype(np.uint8)
    sparse, given = _every(4, truth)
    sparse[1:, 20:40, 15:25][sparse[1:, 20:40, 15:25] == 0] = 9
    free = _interpolated(sparse, (1,), slices=given, over="all")
    kept = _interpolated(sparse, (1,), slices=given)
    np.testing.assert_array_equal(kept, np.where((sparse == 9) & (free == 1), 9, free))
    assert np.count_nonzero(kept != free) > 50
    np.testing.assert_array_equal(free[given], sparse[given])
    where = np.random.default_rng(0).random(_SHAPE) < 0.5
    some = _interpolated(sparse, (1,), slices=given, over="all", where=where)
    np.testing.assert_array_equal(some, np.where(where, free, sparse))


def test_slices_between_given_ones_are_made_anew_and_detected_ones_stay():
    truth = _oblique_tube().astype(np.uint8)
    sparse, given = _every(6, truth)
    once = _interpolated(sparse, (1,))
    spoilt = once.copy()
    spoilt[5, 3:9, 3:9] = 1
    np.testing.assert_array_equal(_interpolated(spoilt, (1,), slices=given), once)
    np.testing.assert_array_equal(_interpolated(spoilt, (1,)), spoilt)


def test_the_edit_is_a_box_around_what_changes_and_empty_without_two_slices():
    truth = _oblique_tube().astype(np.uint8)
    sparse, _ = _every(12, truth)
    edit = interpolate_slices(sparse, (1,), 0, _SPACING)
    changed = np.argwhere(_interpolated(sparse, (1,)) != sparse)
    assert [part.start for part in edit.box] == changed.min(axis=0).tolist()
    assert [part.stop for part in edit.box] == (changed.max(axis=0) + 1).tolist()
    sparse[1:] = 0
    assert interpolate_slices(sparse, (1,), 0, _SPACING).is_empty
    assert interpolate_slices(sparse, (5,), 0, _SPACING).is_empty
    assert interpolate_slices(sparse, (5,), 0, _SPACING, slices=(3, 9)).is_empty


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"ids": (0, 1)}, "label 0 is background"),
        ({"slices": (0, 25)}, "axis 0 has slices 0 to 24"),
        ({"axis": 3}, "expected 0, 1 or 2"),
        ({"spacing": (3.0, 0.7)}, "three lengths"),
    ],
)
def test_a_wrong_call_is_refused_with_the_cure(options, says):
    with pytest.raises(UsageError, match=says):
        interpolate_slices(
            np.zeros(_SHAPE, np.uint8), **({"ids": (1,), "axis": 0, "spacing": _SPACING} | options)
        )


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_real_structure_comes_back_better_than_from_plain_signed_distances(real_data, axis):
    import nibabel as nib

    gains, scores = [], []
    for path in sorted((real_data / "hippocampus" / "labelsTr").glob("*.nii.gz"))[:3]:
        image = nib.load(path)
        truth = np.moveaxis(np.asarray(image.dataobj).astype(np.uint8), axis, 0)
        sparse, given = _every(4, truth)
        found = _interpolated(sparse, (1, 2), spacing=(1.0, 1.0, 1.0), slices=given)
        plain = _plain_signed_distances(sparse, (1, 2), given)
        ours, theirs = (np.mean([_dice(a, truth, given, n) for n in (1, 2)]) for a in (found, plain))
        gains.append(ours - theirs)
        scores.append(ours)
    assert min(scores) > 0.82
    assert np.mean(gains) > 0.01


def _plain_signed_distances(stack, ids, given):
    """Raya and Udupa's interpolation by scipy alone; a label without a counterpart ends at once."""

    def distance(mask):
        if not mask.any():
            return np.full(mask.shape, -np.inf)
        return ndimage.distance_transform_edt(mask) - ndimage.distance_transform_edt(~mask)

    filled = stack.copy()
    for first, last in itertools.pairwise(given):
        ends = [np.array([distance(stack[n] == one) for one in ids]) for n in (first, last)]
        for n in range(first + 1, last):
            share = (n - first) / (last - first)
            mixed = (1 - share) * ends[0] + share * ends[1]
            filled[n] = np.where(mixed.max(axis=0) >= 0, np.array(ids)[mixed.argmax(axis=0)], 0)
    return filled
