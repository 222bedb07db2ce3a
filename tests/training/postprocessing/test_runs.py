"""Post-processing for finished runs, and at the end of a training, with a network that numpy can follow."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
from scipy import ndimage
from typer.testing import CliRunner

import medseg
from medseg.cli.app import app
from medseg.datasets import read_dataset
from medseg.errors import NotFound, UsageError
from medseg.models import verify_bundle
from medseg.plans import Plan, steps_as_plain
from medseg.training.devices import choose_device
from medseg.training.postprocessing import choose_for_runs, with_steps_for
from medseg.training.validation import segment_case
from tests.pipeline.scans import AFFINE, IDS, save_scan
from tests.threshold_model import OFFSETS, SLOPES, expected_classes, save_threshold_model, threshold_plan

CASES = ("a", "b", "c")


def cleaned(ids: np.ndarray) -> np.ndarray:
    """Everything but the largest piece of all labels goes, by scipy."""
    components, _ = ndimage.label(ids > 0, structure=np.ones((3, 3, 3)))
    return np.where(components == 1 + np.bincount(components.ravel())[1:].argmax(), ids, 0)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three scans; true is the largest piece of what the network finds."""
    folder = tmp_path_factory.mktemp("data") / "pieces"
    (folder / "labels").mkdir(parents=True)
    for seed, case in enumerate(CASES):
        scan = save_scan(folder / "images" / f"{case}.nii.gz", seed)
        true = cleaned(IDS[expected_classes(scan)]).astype(np.uint8)
        assert (true != IDS[expected_classes(scan)]).any()
        nibabel.save(nibabel.Nifti1Image(true, AFFINE), folder / "labels" / f"{case}.nii.gz")
    return folder


@pytest.fixture
def runs(tmp_path: Path) -> tuple[Path, Path]:
    """Two folds of finished runs."""
    folders = (tmp_path / "fold0", tmp_path / "fold1")
    for folder, name, ids in zip(folders, ("one", "two"), (["a", "b"], ["c"]), strict=True):
        plan = threshold_plan(name=name)
        save_threshold_model(folder / "bundle", plan)
        (folder / "plan.yaml").write_text(plan.to_yaml(), encoding="utf-8")
        (folder / "run.json").write_text(json.dumps({"validation": ids}), encoding="utf-8")
    return folders


def test_folds_choose_together_and_every_bundle_gets_the_steps(
    runs: tuple[Path, Path], dataset: Path
) -> None:
    before = [medseg.load_model(run / "bundle") for run in runs]
    arguments = ["model", "postprocess", *map(str, runs), "--dataset", str(dataset), "--device", "cpu"]
    called = CliRunner().invoke(app, [*arguments, "--json"])
    assert called.exit_code == 0, called.output
    document = json.loads(called.stdout)
    assert (document["cases"], document["mean_dice_after"]) == (3, 1.0)
    (step,) = document["steps"]
    assert step == {"step": "largest_component", "together": True, "mean_dice": 1.0}
    for run, old in zip(runs, before, strict=True):
        bundle = medseg.load_model(run / "bundle")
        assert verify_bundle(bundle) == []
        assert bundle.files["models/model.safetensors"] == old.files["models/model.safetensors"]
        assert steps_as_plain(bundle.plan.inference.postprocess) == [
            {"step": "largest_component", "together": True}
        ]
        assert bundle.training["postprocess"]["steps"] == document["steps"]
        card = bundle.text("docs/README.md")
        assert "1. `largest_component`: together True" in card
        assert "measured without these steps" in card
    result = medseg.infer(dataset / "images" / "a.nii.gz", [run / "bundle" for run in runs])
    np.testing.assert_array_equal(
        result.labels.data, medseg.read_labels(dataset / "labels" / "a.nii.gz").data
    )
    # Again: what was chosen before is chosen anew, and the card tells it once.
    assert CliRunner().invoke(app, arguments).exit_code == 0
    again = medseg.load_model(runs[0] / "bundle")
    assert len(again.plan.inference.postprocess) == 1
    assert again.text("docs/README.md").count("## Post-processing") == 1


class Lines(torch.nn.Module):
    """The threshold model's network."""

    def forward(self, batch: torch.Tensor) -> torch.Tensor:
        slopes, offsets = (torch.from_numpy(x).reshape(1, -1, 1, 1, 1) for x in (SLOPES, OFFSETS))
        return batch * slopes + offsets


def test_a_training_that_is_asked_to_chooses_on_its_validation_cases(dataset: Path) -> None:
    values = threshold_plan().model_dump()
    plan = Plan.checked({**values, "inference": {**values["inference"], "choose_postprocess": True}})
    cases, device = read_dataset(dataset).cases, choose_device("cpu")
    chosen, told = with_steps_for(Lines(), plan, cases, device, None)
    assert steps_as_plain(chosen.inference.postprocess) == [{"step": "largest_component", "together": True}]
    assert told is not None
    assert told["mean_dice_before"] < told["mean_dice_after"] == 1.0
    # Scores of the run are those with the steps.
    segmented = segment_case(cases[0], chosen, lambda batch: Lines()(torch.from_numpy(batch)).numpy())
    assert segmented.score.dice == {7: 1.0, 255: 1.0}
    assert with_steps_for(Lines(), threshold_plan(), cases, device, None) == (threshold_plan(), None)


def test_runs_that_do_not_fit_together_are_refused(
    runs: tuple[Path, Path], dataset: Path, tmp_path: Path
) -> None:
    def refused(folders: list[Path], error: type[Exception], message: str) -> None:
        with pytest.raises(error, match=message):
            choose_for_runs(folders, dataset)

    refused([], UsageError, "no run")
    refused([tmp_path], NotFound, "not a finished run")
    refused([runs[0], runs[0]], UsageError, "name one run for each fold")
    for validation, message in (([], "no case validated it"), (["z"], "lacks validation cases")):
        (runs[0] / "run.json").write_text(json.dumps({"validation": validation}), encoding="utf-8")
        refused([runs[0]], UsageError, message)
    shutil.rmtree(runs[1] / "bundle")
    other = threshold_plan(names={7: "outer", 255: "else"})
    save_threshold_model(runs[1] / "bundle", other)
    (runs[0] / "run.json").write_text(json.dumps({"validation": ["a"]}), encoding="utf-8")
    refused(list(runs), UsageError, "their labels differ")
