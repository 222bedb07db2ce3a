"""Lesion-wise detection against a flood fill, and its rules on lesions drawn by hand."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

import medseg
from medseg.evaluation import LesionRules, detect_lesions

_REACH = {6: 1, 18: 2, 26: 3}  # how many axes two neighbours may differ along


def _flood(mask, connectivity):
    """Components as sets of voxels, grown one voxel at a time."""
    left, found = set(map(tuple, np.argwhere(mask).tolist())), []
    steps = [s - 1 for s in np.argwhere(np.ones((3, 3, 3))) if 0 < abs(s - 1).sum() <= _REACH[connectivity]]
    while left:
        grown = [left.pop()]
        for voxel in grown:
            beside = {tuple(np.add(voxel, step).tolist()) for step in steps} & left
            left -= beside
            grown += beside
        found.append(set(grown))
    return found


def _by_flood(pred, ref, connectivity, overlap, smallest):
    counts = []
    for mask, other in ((ref, pred), (pred, ref)):
        voxels = set(map(tuple, np.argwhere(other).tolist()))
        lesions = [one for one in _flood(mask, connectivity) if len(one) >= smallest]
        met = [one for one in lesions if len(one & voxels) >= max(1, overlap * len(one))]
        counts += [len(lesions), len(met)]
    return tuple(counts)


@pytest.mark.parametrize("connectivity", [6, 18, 26])
@pytest.mark.parametrize(("overlap", "smallest"), [(0.0, 0), (0.25, 4), (1.0, 0)])
def test_counts_agree_with_a_flood_fill(connectivity, overlap, smallest):
    noise = np.random.default_rng(connectivity).normal(size=(2, 12, 9, 7))
    pred, ref = (gaussian_filter(one, 0.6) > 0.45 for one in (noise[0] + noise[1] / 2, noise[1]))
    rules = LesionRules(connectivity, overlap, smallest_mm3=smallest * 0.9)
    found = detect_lesions(pred, ref, rules, voxel_mm3=0.9)
    expected = _by_flood(pred, ref, connectivity, overlap, smallest)
    assert (found.reference, found.found, found.predicted, found.matched) == expected
    assert found.reference > 1
    assert found.matched < found.predicted


def _line(*parts):
    """A mask of lesions along one axis: ``(start, stop)`` each."""
    mask = np.zeros((20, 3, 2), bool)
    for start, stop in parts:
        mask[start:stop, 1, 0] = True
    return mask


def test_one_prediction_over_two_lesions_finds_both_and_counts_once():
    found = detect_lesions(_line((2, 9)), _line((2, 4), (6, 9)))
    assert (found.reference, found.found, found.predicted, found.matched) == (2, 2, 1, 1)
    assert (found.sensitivity, found.precision, found.f1) == (1, 1, 1)


def test_two_predictions_in_one_lesion_find_it_once_and_neither_is_invented():
    found = detect_lesions(_line((2, 4), (6, 9)), _line((1, 10)))
    assert (found.reference, found.found, found.predicted, found.matched) == (1, 1, 2, 2)


def test_missed_and_invented_lesions_are_counted_by_side():
    found = detect_lesions(_line((2, 4), (8, 9), (12, 13)), _line((3, 6), (16, 19)))
    assert (found.reference, found.found, found.predicted, found.matched) == (2, 1, 3, 1)
    assert (found.sensitivity, found.precision) == (1 / 2, 1 / 3)
    assert found.f1 == pytest.approx(2 * 1 / 2 * 1 / 3 / (1 / 2 + 1 / 3))


def test_what_lies_on_a_lesion_too_small_to_count_is_not_invented():
    found = detect_lesions(_line((2, 6)), _line((3, 5)), LesionRules(smallest_mm3=6), voxel_mm3=2)
    assert (found.reference, found.found, found.predicted, found.matched) == (0, 0, 1, 1)
    exactly = detect_lesions(_line((2, 6)), _line((3, 5)), LesionRules(smallest_mm3=4), voxel_mm3=2)
    assert exactly.reference == 1


def test_without_lesions_shares_are_missing_where_nothing_is_divided():
    none, some = _line(), _line((3, 5))
    assert detect_lesions(none, none).f1 is None
    missed, invented = detect_lesions(none, some), detect_lesions(some, none)
    assert (missed.sensitivity, missed.precision, missed.f1) == (0, None, 0)
    assert (invented.sensitivity, invented.precision, invented.f1) == (None, 0, 0)


def test_evaluate_counts_lesions_in_mm3_of_an_oblique_grid(tmp_path):
    turn, _ = np.linalg.qr(np.random.default_rng(1).normal(size=(3, 3)))
    affine = np.eye(4)
    affine[:3, :3] = turn * (0.5, 2.0, 3.0)  # 3 mm3
    for name, mask in (("pred", _line((2, 4), (8, 9))), ("ref", _line((3, 6), (16, 17)))):
        image = nib.Nifti1Image(mask.astype(np.uint8), affine)
        image.set_sform(affine, code=1)
        nib.save(image, tmp_path / f"{name}.nii")

    def scores(**options):
        evaluation = medseg.evaluate(
            tmp_path / "pred.nii", tmp_path / "ref.nii", metrics=["lesions"], **options
        )
        return evaluation.to_json()["cases"][0]["labels"][0]

    counts = ("lesions_reference", "lesions_predicted", "lesions_tp", "lesions_fn", "lesions_fp")
    assert [scores()[name] for name in counts] == [2, 2, 1, 1, 1]
    large = scores(lesion_smallest_mm3=5)
    assert [large[name] for name in counts] == [1, 1, 1, 0, 0]
    none = scores(lesion_smallest_mm3=50)
    assert [none[name] for name in counts] == [0] * 5
    assert {r["code"]: r["missing"] for r in none["reasons"] if r["code"] != "not-asked"} == {
        "no-reference-lesion": ["lesion_sensitivity"],
        "no-predicted-lesion": ["lesion_precision"],
        "no-lesion": ["lesion_f1"],
    }


def test_rules_that_cannot_be_are_refused():
    for rules, message in (
        ({"connectivity": 8}, "expected 6, 18 or 26"),
        ({"overlap": 1.5}, "expected a share from 0 to 1"),
        ({"smallest_mm3": -1}, "expected 0 or more"),
    ):
        with pytest.raises(ValueError, match=message):
            LesionRules(**rules)
    with pytest.raises(ValueError, match="give voxel_mm3"):
        detect_lesions(_line(), _line(), LesionRules(smallest_mm3=1))
