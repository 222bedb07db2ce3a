"""The rule for empty windows: kept only where it is safe on every training scan, by brute force."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import medseg
from medseg.datasets import Case
from medseg.errors import PlanInvalid
from medseg.inference.empty import EmptyWindows
from medseg.io import read
from medseg.plans import EmptyRule, Plan
from medseg.training.empty_rule import check_empty_rule, propose_empty_rule

SHAPE = (24, 20, 18)


def plan_for(modality: str | None = "CT", patch: tuple[int, ...] = (8, 8, 8), **values: Any) -> Plan:
    return Plan.checked(
        {
            "name": "toy",
            "dimensions": len(patch),
            "channels": [{"name": "c", "modality": modality}],
            "labels": [{"id": 1, "name": "organ", "colour": (1, 2, 3)}],
            "patch": patch,
            "network": {"strides": ((1,) * len(patch),) * 3, "features": (1, 1, 1), "deep_supervision": 0},
            **values,
        }
    )


def save_case(folder: Path, image: np.ndarray, label: np.ndarray, name: str = "a") -> Case:
    paths = folder / f"images/{name}.nii.gz", folder / f"labels/{name}.nii.gz"
    for path, array in zip(paths, (image.astype(np.float32), label.astype(np.uint8)), strict=True):
        path.parent.mkdir(parents=True, exist_ok=True)
        nib.save(nib.Nifti1Image(array, np.diag([-1.0, 1.0, 1.0, 1.0])), path)
    return Case(name, (paths[0],), paths[1])


def body(
    organ: float = 60.0, fat: float = -100.0, air: float = -1000.0, noise: float = 8.0
) -> tuple[np.ndarray, np.ndarray]:
    """A body in one half of the scan, air in the other; the organ lies in the body."""
    image = np.random.default_rng(0).normal(air, noise, SHAPE)
    image[:11] += fat - air
    label = np.zeros(SHAPE, np.uint8)
    label[2:7, 6:13, 5:12] = 1
    image[label > 0] += organ - fat
    return image, label


def skipped_at_worst(plan: Plan, rule: EmptyRule, case: Case) -> tuple[int, int]:
    """Windows that the rule skips among all places where one can stand: those with a label, and in all."""
    volume = read(case.images[0])
    label = np.asarray(nib.load(case.label).dataobj)[::-1]  # to RAS, as the plan's grid
    geometry = volume.geometry.permuted((0, 1, 2), (True, False, False))
    windows = EmptyWindows(volume, geometry, rule)
    with_label = total = 0
    for start in itertools.product(*(range(n - p + 1) for n, p in zip(SHAPE, plan.patch, strict=True))):
        box = tuple(slice(s, s + p) for s, p in zip(start, plan.patch, strict=True))
        empty = windows.is_empty((start[0], start[1], start[2]), (8, 8, 8))
        total += empty
        with_label += empty and bool(label[box].any())
    return with_label, total


def test_air_round_a_body_is_skipped_on_ct(tmp_path):
    case = save_case(tmp_path, *body())
    plan = plan_for()
    rule = propose_empty_rule(plan, [case])
    assert rule == EmptyRule(channel=0, unit="intensity", below=-300)
    with_label, total = skipped_at_worst(plan, rule, case)
    assert with_label == 0
    assert total > 0


def test_a_large_dark_organ_lowers_the_threshold_and_one_of_nothing_but_air_forbids_the_rule(tmp_path):
    image, label = body()
    label[1:11, 4:16, 3:15] = 1  # larger than a window
    image[label > 0] = np.random.default_rng(1).normal(-400, 8, int(label.sum()))
    dark = save_case(tmp_path / "dark", image, label)
    rule = propose_empty_rule(plan_for(), [dark])
    assert rule is not None
    assert -540 < rule.below < -510
    assert skipped_at_worst(plan_for(), rule, dark)[0] == 0
    air = save_case(tmp_path / "air", image - 590.0 * label, label)
    assert propose_empty_rule(plan_for(), [air]) is None
    # One such scan among many decides.
    assert propose_empty_rule(plan_for(), [save_case(tmp_path, *body()), air]) is None


def test_a_label_of_air_is_no_obstacle_where_every_window_on_it_shows_more_than_air(tmp_path):
    image, label = body(organ=-990)  # smaller than a window
    case = save_case(tmp_path, image, label)
    rule = propose_empty_rule(plan_for(), [case])
    assert rule == EmptyRule(below=-300)
    assert skipped_at_worst(plan_for(), rule, case)[0] == 0


def test_without_ct_the_threshold_is_a_share_of_each_scans_range(tmp_path):
    image, label = body(organ=300, fat=120, air=0, noise=2)
    cases = [save_case(tmp_path, image * scale + 40, label, name) for name, scale in (("a", 1.0), ("b", 7.0))]
    rule = propose_empty_rule(plan_for("MR"), cases)
    assert rule == EmptyRule(channel=0, unit="range", below=0.1)
    for case in cases:
        with_label, total = skipped_at_worst(plan_for("MR"), rule, case)
        assert with_label == 0
        assert total > 0


def test_the_first_ct_channel_is_the_one_looked_at(tmp_path):
    image, label = body()
    pet, ct = save_case(tmp_path / "pet", image * 0 + 1, label), save_case(tmp_path / "ct", image, label)
    case = Case("a", (pet.images[0], ct.images[0]), ct.label)
    plan = plan_for(channels=[{"name": "pet", "modality": "PT"}, {"name": "ct", "modality": "CT"}])
    assert propose_empty_rule(plan, [case]) == EmptyRule(channel=1, unit="intensity", below=-300)


@settings(max_examples=25)
@given(
    seed=st.integers(0, 2**16),
    modality=st.sampled_from(["CT", None]),
    labelled=st.floats(0.0005, 0.05),
    shift=st.sampled_from([0.0, -300.0, -700.0]),
)
def test_no_window_with_a_labelled_voxel_is_ever_skipped(tmp_path_factory, seed, modality, labelled, shift):
    # Labels strewn anywhere, in air too.
    generator = np.random.default_rng(seed)
    image, _ = body()
    label = generator.random(SHAPE) < labelled
    label[0, 0, 0] = True
    image[label] = generator.normal(shift, 150, int(label.sum()))
    case = save_case(tmp_path_factory.mktemp("random"), image, label)
    plan = plan_for(modality)
    rule = propose_empty_rule(plan, [case])
    if rule is not None:
        with_label, total = skipped_at_worst(plan, rule, case)
        assert with_label == 0
        assert total > 0


def test_where_no_window_would_be_skipped_there_is_no_rule(tmp_path):
    image, label = body()
    assert propose_empty_rule(plan_for(), [save_case(tmp_path / "cropped", image[:11], label[:11])]) is None
    # Every window reaches past the scan.
    small = save_case(tmp_path / "small", image, label)
    assert propose_empty_rule(plan_for(patch=(28, 8, 8)), [small]) is None


def dataset(folder: Path) -> Path:
    for n in range(5):
        save_case(folder, *body(), name=f"case_{n}")
    facts = {"channel_names": {"0": "CT"}, "labels": {"background": 0, "organ": 1}, "file_ending": ".nii.gz"}
    (folder / "images").rename(folder / "imagesTr")
    (folder / "labels").rename(folder / "labelsTr")
    for path in (folder / "imagesTr").iterdir():
        path.rename(path.with_name(path.name.replace(".nii.gz", "_0000.nii.gz")))
    (folder / "dataset.json").write_text(json.dumps({**facts, "numTraining": 5}))
    return folder


SMALL = (
    "patch=[8,8,8]",
    "network.features=[8,8,8]",
    "network.deep_supervision=0",
    "network.strides=[[1,1,1],[2,2,2],[2,2,2]]",
    "network.kernel_sizes=[]",
)


def test_a_plan_carries_the_rule_unless_told_otherwise(tmp_path):
    data = dataset(tmp_path / "data")
    plan = medseg.plan(data, overrides=SMALL)
    assert plan.inference.empty == EmptyRule(below=-300)
    (tmp_path / "plan.yaml").write_text(plan.to_yaml())
    assert medseg.plan(data, config=tmp_path / "plan.yaml") == plan
    assert medseg.plan(data, overrides=(*SMALL, "inference.empty=null")).inference.empty is None
    own = medseg.plan(data, overrides=(*SMALL, "inference.empty={below: -200}"))
    assert own.inference.empty == EmptyRule(below=-200)


def test_a_rule_that_would_skip_a_labelled_window_is_refused_with_the_highest_that_would_not(tmp_path):
    data = dataset(tmp_path / "data")
    with pytest.raises(PlanInvalid, match=r"inference\.empty\.below 500: .*reaches (-?\d+)") as refusal:
        medseg.plan(data, overrides=(*SMALL, "inference.empty={below: 500}"))
    highest = float(str(refusal.value).split("reaches ")[1].split(":")[0])
    cases = [save_case(tmp_path, *body())]
    check_empty_rule(plan_for(inference={"empty": {"below": highest - 1}}), cases)
    with pytest.raises(PlanInvalid):
        check_empty_rule(plan_for(inference={"empty": {"below": highest + 1}}), cases)
    assert skipped_at_worst(plan_for(), EmptyRule(below=highest - 1), cases[0])[0] == 0
    assert skipped_at_worst(plan_for(), EmptyRule(below=highest + 1), cases[0])[0] > 0
