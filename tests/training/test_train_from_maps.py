"""Runs from label maps alone: a bundle that works, curriculum included, and exact resume."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch

import medseg
from medseg.inference.backends import open_backend
from medseg.models import verify_bundle
from medseg.training.checkpoints import load_checkpoint
from medseg.training.synthesis import synthetic_scan
from tests.label_map_data import IDS, TINY

QUIET = pytest.mark.filterwarnings("ignore:.*")  # torch's exporter and fabric warn about themselves
SETTINGS = (
    *TINY,
    "schedule.steps=6",
    "schedule.coarse_until=0.5",
    "schedule.validate_every=4",
    "schedule.checkpoint_every=2",
    "synthesis.widen_until=0.5",
)


def losses(run: Path) -> list[str]:
    with (run / "steps.csv").open(newline="") as stream:
        return [row["loss"] for row in csv.DictReader(stream)]


@pytest.fixture(autouse=True)
def threads() -> Iterator[None]:
    """As many threads of torch for every run: inference with torch takes all there are, and keeps them."""
    count = torch.get_num_threads()
    yield
    torch.set_num_threads(count)


@pytest.fixture(scope="module")
def trained(label_maps, tmp_path_factory):
    run = tmp_path_factory.mktemp("runs") / "whole"
    return medseg.train(label_maps, run, overrides=SETTINGS, device="cpu")


@QUIET
def test_a_run_ends_in_a_bundle_that_segments_a_made_scan(trained, label_maps, tmp_path):
    assert verify_bundle(trained.bundle) == []
    # Fold 0 validates on scans made from the map that it does not train on.
    [score] = trained.scores["validation"]
    assert score.case.startswith("head_")
    assert set(score.dice) == set(IDS)
    for name in ("curves.png", "overlays.png", "validation.csv"):
        assert (trained.run / name).is_file(), name

    label_map = medseg.read_labels(label_maps / f"{score.case}.nii.gz")
    volume, _ = synthetic_scan(label_map, trained.plan, seed=3, voxel_mm=(1.8, 1.4, 2.2))
    result = medseg.infer(volume, model=trained.run / "bundle", backend="openvino", precision="f32")
    assert set(np.unique(result.labels.data)) <= {0, *IDS}
    assert result.labels.geometry.same_grid(volume.geometry)
    patch = np.random.default_rng(0).uniform(size=(1, 1, *trained.plan.patch)).astype(np.float32)
    found, wanted = (
        np.array(open_backend(trained.bundle, backend=name, device="cpu", precision="f32")(patch))
        for name in ("openvino", "torch")
    )
    np.testing.assert_allclose(found, wanted, atol=1e-4 * np.abs(wanted).max())


@QUIET
def test_a_stopped_run_resumes_to_the_very_same_weights(trained, label_maps, tmp_path):
    def stop(status: medseg.training.Status) -> None:
        if status.step == 3:  # a step after a checkpoint, before full resolution begins
            raise KeyboardInterrupt

    def stop_before_export(stage: str, done: int, total: int) -> None:
        if stage == "validate":
            raise KeyboardInterrupt

    run = tmp_path / "stopped"
    settings = {"overrides": SETTINGS, "device": "cpu"}
    with pytest.raises(KeyboardInterrupt):
        medseg.train(label_maps, run, on_status=stop, **settings)
    with pytest.raises(KeyboardInterrupt):
        medseg.train(label_maps, run, resume=True, progress=stop_before_export, **settings)
    assert losses(run) == losses(trained.run)
    mine, theirs = (load_checkpoint(one / "checkpoints/last.pt") for one in (run, trained.run))
    assert mine["step"] == theirs["step"] == 6
    for name, value in mine["model"].items():
        assert torch.equal(value, theirs["model"][name]), name
    for value, same in zip(mine["average"]["values"], theirs["average"]["values"], strict=True):
        assert torch.equal(value, same)


def test_the_cache_holds_tissues_on_the_plans_grid(trained, label_maps):
    folders = sorted((trained.run / "cache").iterdir())
    assert [folder.name[:7] for folder in folders] == ["head_00", "head_01", "head_02"]
    assert trained.plan.synthesis is not None
    values = np.array([tissue.value for tissue in trained.plan.synthesis.tissues])
    for folder in folders:
        stored = nib.load(label_maps / f"{folder.name[:7]}.nii.gz")
        expected = np.asarray(nib.as_closest_canonical(stored).dataobj)
        np.testing.assert_array_equal(values[np.load(folder / "classes.npy")], expected)
