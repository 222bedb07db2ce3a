"""A call for every file of a folder does not segment the results that lie there."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel
import numpy as np
import pytest

from medseg.cli.app import main
from medseg.errors import InputRefused
from medseg.models import ModelBundle
from medseg.pipeline import infer_files
from medseg.pipeline.own_results import is_own_result
from medseg.plans import Plan
from tests.pipeline.scans import AFFINE, save_scan
from tests.threshold_model import save_threshold_model, threshold_plan

RESULTS = ("scan_seg.nii.gz", "scan_seg_whole-brain.nii.gz")


@pytest.fixture(scope="module")
def totals(tmp_path_factory: pytest.TempPathFactory) -> ModelBundle:
    """The threshold model with one total."""
    plan = threshold_plan()
    plan = Plan.checked({**plan.model_dump(), "totals": ({"name": "whole brain", "labels": (7, 255)},)})
    return save_threshold_model(tmp_path_factory.mktemp("models") / "totals", plan)


@pytest.fixture
def folder(tmp_path: Path, totals: ModelBundle) -> Path:
    """A folder with a scan that has been segmented."""
    scans = tmp_path / "scans"
    save_scan(scans / "scan.nii.gz")
    assert infer_files([scans / "scan.nii.gz"], model=totals, masks=True, preview=True).exit_code == 0
    return scans


def test_a_folder_of_scans_and_results_is_segmented_again_without_the_results(
    folder: Path, totals: ModelBundle, capfd: pytest.CaptureFixture[str]
) -> None:
    save_scan(folder / "scan2.nii.gz", seed=1)
    files = sorted(map(str, folder.glob("*.nii.gz")))
    assert len(files) == 4
    assert main(["infer", *files, "-m", str(totals.path), "--masks", "--preview", "--json", "--quiet"]) == 0
    shown = capfd.readouterr()
    document = json.loads(shown.out)
    assert [Path(case["input"]).name for case in document["cases"]] == ["scan.nii.gz", "scan2.nii.gz"]
    assert document["cases"][0]["already_done"]
    assert [Path(path).name for path in document["left_out"]] == list(RESULTS)
    (line,) = shown.err.splitlines()
    assert line == f"left out 2 results of an earlier call: {', '.join(RESULTS)}"
    assert not list(folder.glob("*_seg_seg*"))


def test_results_are_known_in_a_folder_that_was_moved_and_in_every_format(
    folder: Path, totals: ModelBundle
) -> None:
    infer_files(
        [folder / "scan.nii.gz"],
        model=totals,
        out=folder / "out",
        formats=("nii.gz", "seg.nrrd"),
        masks=True,
        preview=True,
    )
    moved = (folder / "out").rename(folder / "elsewhere")
    own = {path.name for path in moved.iterdir() if is_own_result(path)}
    assert own == {
        *RESULTS,
        "scan_seg.seg.nrrd",
        "scan_seg_whole-brain.seg.nrrd",
        "scan_seg.png",
    }


def test_results_alone_are_refused_with_the_reason(
    folder: Path, totals: ModelBundle, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(InputRefused, match=r"scan_seg\.nii\.gz: a result of medseg") as refusal:
        infer_files([folder / "scan_seg.nii.gz"], model=totals)
    assert refusal.value.code == "own-result"
    files = [str(folder / name) for name in RESULTS]
    assert main(["infer", *files, "-m", str(totals.path), "--json"]) == 3
    (reason,) = json.loads(capfd.readouterr().out)["reasons"]
    assert reason["code"] == "own-result"
    assert not list(folder.glob("*_seg_seg*"))


def test_a_result_that_was_not_finished_is_left_out_too(folder: Path) -> None:
    sidecar = folder / "scan_seg.json"
    document = json.loads(sidecar.read_text())
    document |= {"segmentation": None, "reasons": [{"code": "interrupted", "message": "stopped"}]}
    del document["masks"], document["preview"]
    sidecar.write_text(json.dumps(document))
    assert all(is_own_result(folder / name) for name in RESULTS)


def test_what_is_only_called_like_a_result_is_a_scan(folder: Path, totals: ModelBundle) -> None:
    """Without a sidecar of ours that names the file, or where a channel is named, the caller is believed."""
    for name in ("other_seg.nii.gz", "scan_seg_left.nii.gz", "scan_seg_whole-brain_2.nii.gz"):
        save_scan(folder / name)
        assert not is_own_result(folder / name)
    for text in ("not json", "[]", '{"format_version": 1, "segmentation": "other_seg.nii.gz"}'):
        (folder / "other_seg.json").write_text(text)
        assert not is_own_result(folder / "other_seg.nii.gz")
    report = infer_files(model=totals, case={"t1": folder / "scan_seg.nii.gz"}, out=folder / "out")
    assert report.left_out == ()
    written = nibabel.load(folder / "out" / "scan_seg_seg.nii.gz")
    np.testing.assert_allclose(written.affine, AFFINE, atol=1e-6)
