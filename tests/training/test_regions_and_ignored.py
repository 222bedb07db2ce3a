"""From nnU-Net's dataset.json with overlapping regions and an ignore label to a model and its scores."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from lightning_fabric import Fabric

import medseg
from medseg.datasets import read_dataset
from medseg.errors import InputRefused
from medseg.networks import build_network
from medseg.plans import Plan, RegionSpec
from medseg.preprocess import prepare_labels
from medseg.training.cache import CachedCase, build_cache
from medseg.training.checkpoints import BEST, load_checkpoint
from medseg.training.export import summarise
from medseg.training.fingerprint import read_case, take_fingerprint
from medseg.training.fit import FitSettings, fit, forward_of
from medseg.training.splits import split
from medseg.training.validation import score_cached, segment_case
from tests.ball_data import SMALL, make_case, write_nifti

QUIET = pytest.mark.filterwarnings("ignore:.*")  # fabric and TensorBoard warn about themselves
IGNORED = 7
LABELS = {"background": 0, "balls": [1, 4], "dark": 4, "ignore": IGNORED}
REGIONS = (
    RegionSpec(name="balls", labels=(1, 4), paints=1),
    RegionSpec(name="dark", labels=(4,), paints=4),
)


@pytest.fixture(scope="module")
def partly_judged(tmp_path_factory) -> Path:
    """Six cases of a bright and a dark ball; a slab of each, other in each, nobody has judged."""
    folder = tmp_path_factory.mktemp("data") / "Dataset007_Balls"
    for n in range(6):
        image, label = make_case(n)
        label[:, :, n : n + 5] = IGNORED
        write_nifti(folder / f"imagesTr/ball_{n}_0000.nii.gz", image)
        write_nifti(folder / f"labelsTr/ball_{n}.nii.gz", label)
    facts = {
        "channel_names": {"0": "MRI"},
        "labels": LABELS,
        "regions_class_order": [1, 4],
        "file_ending": ".nii.gz",
    }
    (folder / "dataset.json").write_text(json.dumps(facts))
    return folder


def maps_of(dataset: Path) -> dict[str, np.ndarray]:
    files = sorted((dataset / "labelsTr").glob("*.nii.gz"))
    return {file.name[:-7]: np.asarray(nib.load(file).dataobj) for file in files}


def overlap(found: np.ndarray, there: np.ndarray) -> float:
    return 2 * (found & there).sum() / (found.sum() + there.sum())


@QUIET
def test_regions_train_around_what_nobody_judged(partly_judged, tmp_path):
    settings = ("schedule.steps=50", "schedule.validate_every=50", "schedule.checkpoint_every=50")
    plan = medseg.plan(partly_judged, overrides=(*SMALL, *settings))
    assert (plan.regions, plan.ignore_label, plan.class_ids) == (REGIONS, IGNORED, (0, 1, 4))
    parts = split(read_dataset(partly_judged).cases, 0)
    cached = [build_cache(part, plan, tmp_path / "cache") for part in (parts.training, parts.validation)]
    fit(Fabric(accelerator="cpu", devices=1), plan, *cached, FitSettings(tmp_path, None, resume=False))
    header = (tmp_path / "validation.csv").read_text().splitlines()[0]
    assert header == "step,mean_dice,dice balls,dice dark"

    network = build_network(plan)
    network.load_state_dict(load_checkpoint(tmp_path / "checkpoints" / BEST)["model"])
    forward = forward_of(network.eval(), torch.device("cpu"))
    segmented = segment_case(parts.validation[0], plan, forward)
    score, found, there = segmented.score, segmented.predicted.data, segmented.reference.data
    assert min(score.dice.values()) > 0.6
    assert set(np.unique(found)) == {0, 1, 4}
    judged = there != IGNORED
    # The region that is painted last is what it found.
    assert score.dice[2] == pytest.approx(overlap(found[judged] == 4, there[judged] == 4))
    assert set(summarise([score], plan)["dice"]) == {"balls", "dark"}


def test_what_nobody_judged_is_in_no_count_and_no_statistic(partly_judged):
    dataset = read_dataset(partly_judged)
    fingerprint, labels = take_fingerprint(dataset, dataset.cases)
    maps = maps_of(partly_judged)
    judged = np.concatenate([one[one != IGNORED] for one in maps.values()])
    assert fingerprint.voxel_fraction == {i: pytest.approx((judged == i).mean(), abs=1e-8) for i in (0, 1, 4)}
    assert fingerprint.cases_with_label == {i: sum(i in one for one in maps.values()) for i in (1, 4)}
    assert {label.id: label.name for label in labels} == {1: "rest of balls", 4: "dark"}
    images = [np.asarray(nib.load(case.images[0]).dataobj) for case in dataset.cases]
    inside = np.concatenate([
        image[np.isin(one, (1, 4))] for image, one in zip(images, maps.values(), strict=True)
    ])  # fmt: skip
    assert fingerprint.channels[0].mean == pytest.approx(inside.mean(), abs=1e-3)


@pytest.mark.parametrize("regions", [(), REGIONS], ids=["labels", "regions"])
def test_a_score_looks_past_what_nobody_judged(partly_judged, regions):
    plan = medseg.plan(partly_judged, overrides=(*SMALL, "grid.spacing_mm=null"))
    plan = Plan.checked({**plan.model_dump(mode="json"), "regions": regions})
    case = read_dataset(partly_judged).cases[3]
    volume, reference = read_case(case, plan.training_labels)
    classes = prepare_labels(reference, plan)
    ids = reference.data[::-1]  # the file's first axis runs to the left
    np.testing.assert_array_equal(classes, np.array([0, 1, 9, 9, 2, 9, 9, 3])[ids])
    image = volume.data[:, ::-1].astype(np.float32)

    def forward(batch: np.ndarray) -> np.ndarray:
        """Bright is label 1, dark is label 4, whether it is or not."""
        bright, dark = batch - 150, 50 - batch
        return np.concatenate([np.maximum(bright, dark), dark] if regions else [0 * batch, bright, dark], 1)

    score = score_cached(CachedCase("c", image, classes, {}), plan, forward)
    judged = ids != IGNORED
    bright, dark = ((image[0] > 150)[judged], (image[0] < 50)[judged])
    truth = ids[judged]
    first = overlap(bright | dark, truth > 0) if regions else overlap(bright, truth == 1)
    expected = {1: first, (2 if regions else 4): overlap(dark, truth == 4)}
    assert score.dice == {key: pytest.approx(value) for key, value in expected.items()}


def test_the_user_can_name_an_ignore_label_that_the_dataset_takes_for_a_structure(decathlon):
    plan = medseg.plan(decathlon, overrides=("ignore_label=4",))
    assert (plan.ignore_label, plan.class_ids) == (4, (0, 1))
    assert 4 not in plan.fingerprint.voxel_fraction


@pytest.mark.parametrize(
    ("labels", "order", "words"),
    [
        ({"background": 0, "all": [1, 2], "core": 2}, [1], "expected 2 ids .* all, core"),
        ({"background": 0, "all": [1, "2"]}, [1], "label 'all' is"),
        ({"background": 0, "all": [], "core": [2]}, [1, 2], "label 'all' is"),
    ],
)
def test_regions_that_do_not_add_up_are_refused(partly_judged, tmp_path, labels, order, words):
    for part in ("imagesTr", "labelsTr"):
        (tmp_path / part).symlink_to(partly_judged / part, target_is_directory=True)
    facts = {"channel_names": {"0": "MRI"}, "labels": labels, "regions_class_order": order}
    (tmp_path / "dataset.json").write_text(json.dumps(facts))
    with pytest.raises(InputRefused, match=words) as refusal:
        read_dataset(tmp_path)
    assert refusal.value.code == "bad-labels"
