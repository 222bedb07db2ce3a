"""Fingerprint, planner, recipes and splits."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import medseg
from medseg.datasets import Case, read_dataset
from medseg.errors import NotFound, PlanInvalid, UsageError
from medseg.labels import LabelSet
from medseg.plans import Plan
from medseg.training.fingerprint import read_case, take_fingerprint
from medseg.training.planner import flip_axes, plan_patch
from medseg.training.recipes import parse_overrides, read_recipe
from medseg.training.splits import split

# Of 20 cases, as they have been since the first model: a run that is repeated validates on the same ones.
_FIFTHS = ((4, 5, 6, 8), (3, 9, 16, 17), (7, 10, 11, 15), (1, 12, 13, 19), (0, 2, 14, 18))


def test_fingerprint_counts_what_nibabel_counts(decathlon):
    import nibabel as nib

    dataset = read_dataset(decathlon)
    fingerprint, labels = take_fingerprint(dataset, dataset.cases)
    assert (fingerprint.cases, fingerprint.dimensions, labels.ids) == (10, 3, (1, 4))
    assert fingerprint.shape_median == (20, 26, 18)
    np.testing.assert_allclose(fingerprint.spacing_median, (1.0, 1.2, 1.5), atol=1e-6)
    maps = [np.asarray(nib.load(case.label).dataobj) for case in dataset.cases]
    share = np.mean([(one == 4).mean() for one in maps])
    assert fingerprint.voxel_fraction[4] == pytest.approx(share, abs=1e-7)
    assert fingerprint.cases_with_label == {1: 10, 4: 10}


def test_a_plan_survives_yaml_and_editing(decathlon):
    plan = medseg.plan(decathlon, overrides=("schedule.steps=7",))
    assert plan.schedule.steps == 7
    assert Plan.from_yaml(plan.to_yaml()) == plan
    with pytest.raises(PlanInvalid, match=r"schedule\.stepz"):
        Plan.from_yaml(plan.to_yaml().replace("{steps: 7", "{stepz: 7"))


def test_a_bad_value_is_refused_before_a_scan_is_read(decathlon, tmp_path):
    recipe = tmp_path / "mine.yaml"
    recipe.write_text("schedule: {stepz: 3}", encoding="utf-8")

    def reading(stage: str, done: int, total: int) -> None:
        raise AssertionError(stage)

    with pytest.raises(PlanInvalid, match=r"recipe .*mine\.yaml: schedule\.stepz: .*schedule\.steps"):
        medseg.plan(decathlon, config=recipe, progress=reading)


def test_overrides_go_over_recipe_and_bad_ones_are_named():
    values = parse_overrides(["a.b=1", "a.c=[1, 2]", "d=x"])
    assert values == {"a": {"b": 1, "c": [1, 2]}, "d": "x"}
    with pytest.raises(PlanInvalid, match="key=value"):
        parse_overrides(["steps"])
    with pytest.raises(NotFound, match="hippocampus"):
        read_recipe("no-such-recipe")


@settings(deadline=None)
@given(
    st.tuples(*[st.integers(5, 700)] * 3),
    st.tuples(*[st.floats(0.3, 8.0)] * 3),
    st.integers(16**3, 160**3),
)
def test_a_patch_fits_memory_and_its_strides(shape, spacing, largest):
    patch, strides, kernels = plan_patch(shape, spacing, largest)
    steps = np.prod(strides, axis=0)
    assert not np.any(np.array(patch) % steps)
    assert np.prod(patch) <= max(largest, np.prod(steps * 4))
    assert len(strides) == len(kernels)
    assert strides[0] == (1, 1, 1)


def test_thick_slices_are_pooled_later_and_convolved_flat():
    patch, strides, kernels = plan_patch((256, 256, 24), (0.5, 0.5, 5.0), 160**3)
    assert strides[1] == (2, 2, 1)
    assert kernels[0] == (3, 3, 1)
    assert kernels[-1] == (3, 3, 3)
    assert patch[2] >= 16


def test_left_and_right_decide_which_axes_flip():
    assert flip_axes(LabelSet.from_names({1: "liver"}), 3) == [0]
    assert flip_axes(LabelSet.from_names({1: "left kidney", 2: "right kidney"}), 3) == [0]
    assert flip_axes(LabelSet.from_names({1: "left kidney"}), 3) == []
    assert flip_axes(LabelSet.from_names({1: "cell"}), 2) == [0, 1]
    assert flip_axes(LabelSet.from_names({1: "lung left", 2: "lung right"}), 2) == []


def test_folds_part_the_cases_and_held_back_ones_are_in_none(decathlon):
    cases = read_dataset(decathlon).cases
    seen = []
    for fold in range(5):
        parts = split(cases, fold, hold_back_every=5)
        assert [case.id for case in parts.held_back] == ["ball_04", "ball_09"]
        assert not {c.id for c in parts.training} & {c.id for c in parts.validation}
        assert len(parts.training) + len(parts.validation) == 8
        seen += [case.id for case in parts.validation]
    assert sorted(seen) == [f"ball_{n:02d}" for n in range(10) if n not in (4, 9)]
    assert split(reversed(cases), 2) == split(cases, 2)
    assert split(cases, "all").validation == ()
    with pytest.raises(UsageError, match="0 to 4"):
        split(cases, 5)


def test_cases_of_one_patient_stay_together_and_others_are_split_as_ever():
    def case(number, patient=None):
        return Case(f"case{number:02d}", (Path("image"),), Path("label"), patient)

    followed = [case(n, f"patient{n // 2}") for n in range(20)]  # two visits each
    seen = []
    for fold in range(5):
        parts = split(followed, fold, hold_back_every=5)
        lists = (parts.training, parts.validation, parts.held_back)
        of_whom = [{c.patient for c in part} for part in lists]
        assert [2 * len(patients) for patients in of_whom] == [len(part) for part in lists]
        assert not of_whom[0] & of_whom[1]
        assert not of_whom[2] & (of_whom[0] | of_whom[1])
        assert of_whom[2] == {"patient4", "patient9"}
        seen += parts.validation
    assert len({c.id for c in seen}) == len(seen) == 16
    alone = [case(n) for n in range(20)]
    named = [case(n, f"p{n:02d}") for n in range(20)]
    for fold in range(5):
        ids = [[c.id for c in split(cases, fold).validation] for cases in (alone, named)]
        assert ids[0] == ids[1] == [f"case{n:02d}" for n in _FIFTHS[fold]]
    with pytest.raises(UsageError, match="two patients"):
        split([case(n, "the same") for n in range(6)], 0)


def test_a_label_on_another_grid_is_refused(decathlon, tmp_path):
    import nibabel as nib

    from medseg.datasets import Case
    from medseg.errors import InputRefused
    from tests.ball_data import make_case, write_nifti

    image, label = make_case(0)
    write_nifti(tmp_path / "image.nii.gz", image)
    nib.save(nib.Nifti1Image(label, np.diag([1.0, 1.2, 1.5, 1.0])), tmp_path / "label.nii.gz")
    with pytest.raises(InputRefused, match="another grid") as refusal:
        read_case(Case("c", (tmp_path / "image.nii.gz",), tmp_path / "label.nii.gz"))
    assert refusal.value.code == "grid-differs"
