"""Steps chosen on validation cases, against Dice computed mask by mask after scipy's clean-up."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from medseg.plans import Plan, steps_as_plain
from medseg.training.postprocessing import choose_steps, with_chosen
from medseg.volume import LabelMap
from tests.postprocess.label_data import SPACING, label_map
from tests.threshold_model import threshold_plan

Labels = NDArray[np.uint16]
VOXEL_MM3 = float(np.prod(SPACING))


def plan_of(**values: Any) -> Plan:
    base = threshold_plan(names={2: "organ", 3: "lesion"}).model_dump()
    return Plan.checked({**base, **values})


def case(*, speck: int, hole: bool = False, lesions: bool = True) -> tuple[Labels, Labels]:
    """Predicted and true: an organ with a far speck of so many voxels, two lesions, perhaps a hole."""
    true = np.zeros((24, 18, 12), np.uint16)
    true[3:13, 3:14, 2:10] = 2
    if lesions:
        true[5:8, 5:8, 4:7] = true[10:12, 10:12, 6:8] = 3
    predicted = true.copy()
    predicted[3, 3:14, 2:10] = 0
    predicted[20, 1 : 1 + speck, 3] = 2
    predicted[22, 16, 2:4] = 3  # two voxels that are no lesion
    if hole:
        predicted[6:8, 9:11, 4:6] = 0
    return predicted, true


def pair(predicted: Labels, true: Labels, plan: Plan) -> tuple[LabelMap, Labels]:
    return label_map(predicted, labels=plan.label_set), true


def dice(predicted: Labels, true: Labels, labels: tuple[int, ...] = (2,)) -> float:
    p, t = np.isin(predicted, labels), np.isin(true, labels)
    return 2 * float((p & t).sum()) / float(p.sum() + t.sum()) if p.any() or t.any() else 1.0


def test_steps_that_help_are_taken_and_those_that_harm_a_label_are_not() -> None:
    plan = plan_of()
    cases = [case(speck=3, hole=True), case(speck=9)]
    choice = choose_steps([pair(*c, plan) for c in cases], plan)
    # The largest of all would do as much for both labels at once: everything apart is wrong. Lesions keep
    # their two pieces; the organ's hole is filled.
    assert steps_as_plain(choice.steps) == [
        {"step": "largest_component", "together": True},
        {"step": "fill_holes", "labels": [2]},
    ]
    cleaned = []
    for predicted, _ in cases:
        components, _n = ndimage.label(predicted > 0, structure=np.ones((3, 3, 3)))
        kept = np.where(components == 1 + np.bincount(components.ravel())[1:].argmax(), predicted, 0)
        cleaned.append(np.where(ndimage.binary_fill_holes(kept == 2) & (kept == 0), 2, kept))
    for label in (2, 3):
        before = np.mean([dice(p, t, (label,)) for p, t in cases])
        after = np.mean([dice(p, t, (label,)) for p, (_, t) in zip(cleaned, cases, strict=True)])
        assert choice.before[label] == pytest.approx(before, abs=1e-12)
        assert choice.after[label] == pytest.approx(after, abs=1e-12)
    assert choice.means[0] == pytest.approx(np.mean(list(choice.before.values())))
    assert choice.means[-1] == pytest.approx(np.mean(list(choice.after.values())))
    assert list(choice.means) == sorted(choice.means)


def test_a_size_is_chosen_where_there_are_several_true_pieces() -> None:
    plan = plan_of()
    predicted, true = case(speck=0)
    for labels in (predicted, true):  # a true piece apart, so that the largest of all harms
        labels[18:21, 12:15, 6:9] = 3
    choice = choose_steps([pair(predicted, true, plan)], plan)
    (step,) = steps_as_plain(choice.steps)
    # The wrong pieces have two voxels, the smallest true one eight: the smallest round size between wins.
    assert step == {"step": "remove_small", "labels": [3], "smallest_mm3": 10.0}
    assert 2 * VOXEL_MM3 < 10.0 < 8 * VOXEL_MM3
    assert choice.after[3] == 1.0


def test_a_case_without_the_structure_counts_a_removed_false_finding_as_right() -> None:
    plan = plan_of()
    empty, full = case(speck=0, lesions=False), case(speck=0)
    choice = choose_steps([pair(*empty, plan), pair(*full, plan)], plan)
    assert choice.before[3] == pytest.approx((0.0 + dice(*full, (3,))) / 2)
    assert choice.after[3] == 1.0


def test_regions_are_cleaned_as_painted_and_become_the_region_round_them() -> None:
    regions = (
        {"name": "whole", "labels": (2, 3), "paints": 2},
        {"name": "core", "labels": (3,), "paints": 3},
    )
    plan = plan_of(regions=regions)
    predicted, true = case(speck=0)
    predicted[22, 16, 2:4] = 0
    true[true == 3] = 2
    true[5:8, 5:8, 4:7] = 3  # one core
    predicted[10:12, 10:12, 6:8] = 3  # the network found a second one, inside of the whole
    choice = choose_steps([pair(predicted, true, plan)], plan)
    assert steps_as_plain(choice.steps) == [{"step": "largest_component", "labels": [3], "becomes": 2}]
    assert choice.before[1] == choice.after[1] == pytest.approx(dice(predicted, true, (2, 3)))
    assert choice.after[2] == 1.0


def test_voxels_that_nobody_judged_decide_nothing() -> None:
    plan = plan_of(ignore_label=9)
    predicted, true = case(speck=5)
    true[20:] = 9
    choice = choose_steps([pair(predicted, true, plan)], plan)
    assert choice.steps == ()
    assert choice.before == choice.after


def test_without_voxel_sizes_no_size_is_tried_and_nothing_is_left_on_disk(tmp_path: Path) -> None:
    plan = plan_of()
    predicted, true = case(speck=0)
    for labels in (predicted, true):
        labels[18:21, 12:15, 6:9] = 3
    unknown = label_map(predicted, labels=plan.label_set, spacing_known=False)
    choice = choose_steps([(unknown, true)], plan, scratch=tmp_path)
    assert choice.steps == ()
    assert list(tmp_path.iterdir()) == []


def test_chosen_steps_come_after_those_of_the_plan() -> None:
    own = {"step": "closing", "radius_mm": 2.0}
    inference = {**threshold_plan().inference.model_dump(), "postprocess": [own]}
    plan = plan_of(inference=inference)
    choice = choose_steps([pair(*case(speck=3), plan)], plan)
    steps = steps_as_plain(with_chosen(plan, choice).inference.postprocess)
    assert steps == [own, {"step": "largest_component", "together": True}]
    assert choice.to_json(plan)["dice"]["organ"]["after"] > choice.to_json(plan)["dice"]["organ"]["before"]
