"""Plans: what they refuse, what they keep through YAML, and that old ones still load."""

from __future__ import annotations

from typing import Any

import pytest

import medseg
from medseg.errors import PlanInvalid
from medseg.plans import CropRule, EmptyRule, Plan, RegionSpec, TotalSpec, dashed


def plan_of(**values: Any) -> Plan:
    return Plan.checked(
        {
            "name": "toy",
            "dimensions": 3,
            "channels": [{"name": "ct", "modality": "CT"}],
            "labels": [{"id": n, "name": f"part {n}", "colour": (1, 2, 3)} for n in (4, 1)],
            "patch": (16, 16, 16),
            **values,
        }
    )


def test_outputs_are_background_and_labels_by_id_or_the_regions_as_listed() -> None:
    assert plan_of().output_names == ("background", "part 1", "part 4")
    regions = [
        {"name": "whole", "labels": [4, 1], "paints": 4},
        {"name": "core", "labels": [1], "paints": 1},
    ]
    plan = plan_of(regions=regions)
    assert plan.output_names == ("whole", "core")
    assert plan.class_ids == (0, 1, 4)


def test_regions_and_the_rule_for_empty_windows_survive_yaml() -> None:
    plan = plan_of(
        regions=[{"name": "whole", "labels": [4, 1], "paints": 4}],
        inference={"empty": {"unit": "range", "below": 0.05}},
    )
    read = Plan.from_yaml(plan.to_yaml())
    assert read == plan
    assert read.regions == (RegionSpec(name="whole", labels=(4, 1), paints=4),)
    assert read.inference.empty == EmptyRule(channel=0, unit="range", below=0.05)


def test_a_plan_crops_nothing_unless_it_says_so_and_its_rule_survives_yaml() -> None:
    assert plan_of().inference.crop is None
    plan = plan_of(inference={"crop": {"above": 0.2}})
    assert plan.inference.crop == CropRule(above=0.2, margin_mm=8.0)
    assert Plan.from_yaml(plan.to_yaml()) == plan


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"regions": [{"name": "a", "labels": [2], "paints": 1}]}, r"region 'a': labels \[2\]"),
        ({"regions": [{"name": "a", "labels": [1], "paints": 3}]}, r"region 'a': labels \[3\]"),
        ({"regions": [{"name": "a", "labels": [], "paints": 1}]}, "at least 1 in the list"),
        ({"inference": {"empty": {"channel": 1, "below": 0}}}, "channel 1: there are 1 channels"),
        ({"inference": {"empty": {"below": float("inf")}}}, "finite"),
        ({"inference": {"empty": {"below": float("nan")}}}, "finite"),
        ({"inference": {"empty": {"unit": "HU", "below": 0}}}, "'intensity' or 'range'"),
        ({"inference": {"crop": {"above": 1.5}}}, "expected 1 or less, found 1.5"),
        ({"inference": {"crop": {"margin_mm": -1}}}, "expected 0 or more, found -1"),
        ({"inference": {"crop": {"margin_mm": float("inf")}}}, "finite"),
    ],
)
def test_what_contradicts_itself_is_refused_by_name(values: dict[str, Any], words: str) -> None:
    with pytest.raises(PlanInvalid, match=words):
        plan_of(**values)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"network": {"encodr": "vgg11"}}, "network.encodr: no such setting: did you mean network.encoder?"),
        ({"postprocess": []}, "postprocess: no such setting: did you mean inference.postprocess?"),
        (
            {"grid": {"xyz": 1}},
            "grid.xyz: no such setting: grid has orientation, spacing_mm, slice_axis, neighbours",
        ),
        (
            {"network": {"features": "seven"}},
            "network.features: expected a number of 1 or more, as in 16, or a list of one for each stage, "
            "as in [16, 32, 64], found 'seven'",
        ),
        ({"patch": 5}, "patch: expected a list, as in [1, 2], found 5"),
        ({"schedule": {"steps": 2.5}}, "schedule.steps: expected a whole number, found 2.5"),
        (
            {"inference": {"postprocess": [{"step": "closing", "radius_mm": 1, "lables": [1]}]}},
            "inference.postprocess.0.closing.lables: no such setting: "
            "did you mean inference.postprocess.0.closing.labels?",
        ),
    ],
)
def test_a_part_of_a_plan_is_told_what_was_expected(values: dict[str, Any], said: str) -> None:
    with pytest.raises(PlanInvalid) as refusal:
        Plan.check_part(values, "recipe x")
    assert str(refusal.value) == f"recipe x: {said}"


def test_a_part_of_a_plan_may_lack_what_others_decide() -> None:
    Plan.check_part({"network": {"features": [8, 16]}, "loss": {"name": "focal"}}, "recipe x")


def test_totals_may_share_labels_and_survive_yaml() -> None:
    totals = [{"name": "both, one", "labels": [4, 1]}, {"name": "one", "labels": [1]}]
    plan = plan_of(totals=totals)
    assert plan.totals == (TotalSpec(name="both, one", labels=(4, 1)), TotalSpec(name="one", labels=(1,)))
    assert Plan.from_yaml(plan.to_yaml()) == plan
    assert plan_of().totals == ()


@pytest.mark.parametrize(
    ("totals", "words"),
    [
        ({"brain": [1, 7, 9]}, r"total 'brain': labels \[7, 9\] are not among \[1, 4\]"),
        ({"brain": [0]}, "expected 1 or more, found 0"),
        ({"brain": []}, "at least 1 in the list"),
        ({"brain": [1, 4, 1]}, "total 'brain': a label occurs twice"),
        ({"whole brain": [1], "Whole-Brain": [4]}, "'whole brain': another total has this name, or one too"),
        ({"../..": [1]}, "needs a letter or a digit"),
        ({"Seg": [1]}, "would look like a segmentation"),
        ({"brain\x1b[2J": [1]}, "match pattern"),
        ({"": [1]}, "match pattern"),
    ],
)
def test_a_total_that_cannot_be_measured_or_written_is_refused_by_name(
    totals: dict[str, list[int]], words: str
) -> None:
    with pytest.raises(PlanInvalid, match=words):
        plan_of(totals=[{"name": name, "labels": labels} for name, labels in totals.items()])


@pytest.mark.parametrize(
    ("name", "in_a_file"),
    [
        ("total intracranial volume", "total-intracranial-volume"),
        ("../../etc/passwd", "etc-passwd"),
        ("grey_matter (GM)", "grey-matter-GM"),
        ("C:\\brain", "C-brain"),
        ("noyau caudé", "noyau-caudé"),
        ("noyau caude\u0301", "noyau-caudé"),  # written with an accent of its own
    ],
)
def test_a_totals_name_in_a_file_is_no_path(name: str, in_a_file: str) -> None:
    assert dashed(name) == in_a_file


def test_a_bundle_from_before_regions_and_empty_windows_loads_and_has_neither() -> None:
    bundle = medseg.load_model("hippocampus")
    text = (bundle.path / "medseg.yaml").read_text()
    assert "regions" not in text
    assert "empty" not in text
    assert bundle.plan.regions == ()
    assert bundle.plan.inference.empty is None
