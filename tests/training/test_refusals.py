"""What a training refuses, and that it refuses it before it leaves anything behind."""

from __future__ import annotations

import json
import os
import shutil

import pytest

import medseg
from medseg.errors import PlanInvalid, UsageError, WriteFailed
from medseg.plans import Plan
from medseg.training.logs import SCORES, RunLog, read_rows
from tests.ball_data import SMALL, make_case, write_nifti
from tests.threshold_model import save_threshold_model, threshold_plan

QUIET = pytest.mark.filterwarnings("ignore:.*")  # torch's exporter and fabric warn about themselves


@pytest.mark.parametrize(
    ("overrides", "options", "words"),
    [
        ((), {"fold": 7}, "expected 0 to 4, or all"),
        ((), {"devices": 0}, "--devices 0"),
        ((), {"max_minutes": -1.0}, "--max-minutes -1"),
        (("network.name=foo",), {}, "network.name: expected .*swin_unetr.*, found 'foo'"),
        (("precision=f16",), {"device": "cpu"}, "f32 or bf16"),
        (("hold_back_every=1",), {"fold": "all"}, "holds back all of 10"),
        (("hold_back_every=5.0",), {}, "whole number"),
        (("augmentation.rotation_degrees=[15]",), {}, r"needs 3 angle\(s\)"),
        (("augmentation.scale=[0,1]",), {}, "above 0"),
        (("inference.mirror_axes=[0,2]",), {}, r"does not flip along \[2\]"),
        (("ignore_label=0",), {}, "ignore_label: expected 1 or more"),
        (("inference.empty={channel: 1, below: 0}",), {}, "there are 1 channels"),
    ],
)
def test_what_cannot_be_trained_is_refused_before_the_folder_is_taken(
    decathlon, tmp_path, overrides, options, words
):
    with pytest.raises(UsageError, match=words):
        medseg.train(decathlon, tmp_path / "run", overrides=(*SMALL, *overrides), **options)
    assert not (tmp_path / "run").exists()


@QUIET
def test_no_bundle_is_made_of_an_untrained_network(decathlon, tmp_path):
    with pytest.raises(UsageError, match="no time to train"):
        medseg.train(decathlon, tmp_path / "run", fold="all", max_minutes=0.1, overrides=SMALL)
    assert not (tmp_path / "run/bundle").exists()


@QUIET
def test_a_run_does_not_go_on_with_other_cases(decathlon, tmp_path):
    data = tmp_path / "data"
    shutil.copytree(decathlon, data)
    settings = (*SMALL, "schedule.steps=6")

    def stop(status: medseg.training.Status) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        medseg.train(data, tmp_path / "run", overrides=settings, on_status=stop)
    before = (tmp_path / "run/run.json").read_text()
    facts = json.loads((data / "dataset.json").read_text())
    image, label = make_case(11)
    write_nifti(data / "imagesTr/added.nii.gz", image)
    write_nifti(data / "labelsTr/added.nii.gz", label)
    facts["training"].append({"image": "imagesTr/added.nii.gz", "label": "labelsTr/added.nii.gz"})
    (data / "dataset.json").write_text(json.dumps(facts))
    with pytest.raises(UsageError, match="added"):
        medseg.train(data, tmp_path / "run", overrides=settings, resume=True)
    assert (tmp_path / "run/run.json").read_text() == before


def test_a_flip_that_would_swap_sides_is_refused(decathlon, tmp_path):
    data = tmp_path / "data"
    shutil.copytree(decathlon, data)
    facts = json.loads((data / "dataset.json").read_text())
    facts["labels"] = {"0": "background", "1": "left ball", "4": "stone"}
    (data / "dataset.json").write_text(json.dumps(facts))
    assert medseg.plan(data).augmentation.flip_axes == ()
    with pytest.raises(PlanInvalid, match="wrong side"):
        medseg.plan(data, overrides=("augmentation.flip_axes=[0]",))
    facts["labels"] = {"0": "background", "1": "left ball", "4": "right ball"}
    (data / "dataset.json").write_text(json.dumps(facts))
    assert medseg.plan(data).augmentation.flip_axes == (0,)
    assert medseg.plan(data).inference.mirror_axes == (0,)
    # Test-time augmentation follows what training does.
    assert medseg.plan(data, overrides=("augmentation.flip_axes=[]",)).inference.mirror_axes == ()
    with pytest.raises(PlanInvalid, match="wrong side"):  # axis 0 as stored is any direction
        medseg.plan(data, overrides=("grid.orientation=null",))


def test_a_recipe_that_is_no_text_is_named(decathlon, tmp_path):
    (tmp_path / "recipe.yaml").write_bytes(b"\xff\xfe")
    with pytest.raises(PlanInvalid, match=r"recipe\.yaml: not text"):
        medseg.plan(decathlon, config=tmp_path / "recipe.yaml")


@QUIET
def test_a_label_name_may_hold_a_comma(tmp_path):
    for resume_at in (0, 5):
        with RunLog(tmp_path, ("lobe, upper", "b"), resume_at) as log:
            log.scores(resume_at, 0.5, [0.25, None])
    rows = read_rows(tmp_path / SCORES)
    assert [(row["step"], row["dice lobe, upper"], row["dice b"]) for row in rows] == [
        (0, 0.25, None),
        (5, 0.25, None),
    ]


@QUIET
def test_time_that_is_up_before_the_first_step_leaves_no_network(decathlon, tmp_path):
    from lightning_fabric import Fabric

    from medseg.datasets import read_dataset
    from medseg.training.cache import build_cache
    from medseg.training.fit import FitSettings, fit

    plan = medseg.plan(decathlon, overrides=SMALL)
    cached = build_cache(read_dataset(decathlon).cases[:2], plan, tmp_path / "cache")
    fit(Fabric(accelerator="cpu", devices=1), plan, cached, [], FitSettings(tmp_path, -1.0, False))
    assert not (tmp_path / "checkpoints").exists()


@QUIET
def test_a_run_whose_time_was_up_goes_on_with_more_time(decathlon, tmp_path):
    from lightning_fabric import Fabric

    from medseg.datasets import read_dataset
    from medseg.training.cache import build_cache
    from medseg.training.fit import FitSettings, fit
    from medseg.training.logs import STEPS, read_rows

    plan = medseg.plan(decathlon, overrides=(*SMALL, "schedule.steps=3"))
    cached = build_cache(read_dataset(decathlon).cases[:2], plan, tmp_path / "cache")
    fabric = Fabric(accelerator="cpu", devices=1)
    fit(fabric, plan, cached, [], FitSettings(tmp_path, 1e-3, False))
    assert len(read_rows(tmp_path / STEPS)) == 1
    fit(fabric, plan, cached, [], FitSettings(tmp_path, 600.0, True))
    rows = read_rows(tmp_path / STEPS)
    assert [row["step"] for row in rows] == [0, 1, 2]
    assert rows[1]["learning_rate"] > rows[2]["learning_rate"] > 0


@pytest.mark.skipif(os.name == "nt", reason="a folder's permissions are others on Windows")
def test_a_place_where_no_folder_can_be_made_is_refused_by_name(decathlon, tmp_path):
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(WriteFailed, match=r"file/run: the folder could not be made"):
        medseg.train(decathlon, tmp_path / "file/run", overrides=SMALL)
    with pytest.raises(WriteFailed, match=r"file/looked_at: the folder could not be made"):
        medseg.check_dataset(decathlon, tmp_path / "file/looked_at")


def test_post_processing_that_a_new_bundle_lacks_is_told(tmp_path):
    from medseg.training.run_folder import lost_postprocess

    plan = threshold_plan()
    inference = {"postprocess": [{"step": "fill_holes"}, {"step": "median", "radius_mm": 2.0}]}
    cleaning = Plan.checked({**plan.model_dump(mode="json"), "inference": inference})
    save_threshold_model(tmp_path / "bundle", cleaning)
    assert lost_postprocess(tmp_path / "bundle", plan) == "fill_holes, median"
    assert lost_postprocess(tmp_path / "bundle", cleaning) == ""
    assert lost_postprocess(tmp_path / "nothing", plan) == ""
