"""``medseg evaluate``: its options reach the function, and what it prints."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from medseg.cli.app import main


@pytest.fixture
def pair(tmp_path, monkeypatch):
    """Two label maps: one lesion found, one missed, one invented, on an oblique grid of 3 mm3 voxels."""
    monkeypatch.chdir(tmp_path)
    turn, _ = np.linalg.qr(np.random.default_rng(3).normal(size=(3, 3)))
    affine = np.eye(4)
    affine[:3, :3] = turn * (0.5, 2.0, 3.0)
    for name, places in (("pred.nii", (2, 9)), ("ref.nii", (3, 14))):
        data = np.zeros((18, 5, 4), np.uint8)
        for start in places:
            data[start : start + 2, 1:3, 1] = 1
        image = nib.Nifti1Image(data, affine)
        image.set_sform(affine, code=1)
        nib.save(image, name)
    return ["evaluate", "pred.nii", "ref.nii"]


def test_options_of_metrics_definitions_and_lesions_reach_the_document(pair, capsys):
    options = ["--metrics", "dice,hausdorff", "--metrics", "lesions", "--definition", "hausdorff=voxels"]
    rules = ["--lesion-connectivity", "6", "--lesion-overlap", "0.5", "--lesion-smallest-mm3", "12"]
    assert main([*pair, *options, *rules, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["metrics"] == ["dice", "hausdorff", "lesions"]
    assert document["definitions"] == {"hausdorff": "voxels"}
    assert document["lesions"] == {"connectivity": 6, "overlap": 0.5, "smallest_mm3": 12.0}
    label = document["cases"][0]["labels"][0]
    assert [label[f"lesions_{name}"] for name in ("tp", "fn", "fp")] == [1, 1, 1]
    assert main([*pair, "--metrics", "lesions", "--lesion-overlap", "0.6", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["cases"][0]["labels"][0]["lesions_tp"] == 0


def test_the_table_shows_what_was_asked_for_and_the_file_holds_it(pair, capsys):
    assert main([*pair, "--metrics", "volumetric_similarity,lesions", "-o", "m.csv", "-q"]) == 0
    printed = capsys.readouterr().out
    assert "volumetric similarity" in printed
    assert "lesions found" in printed
    assert "Dice" not in printed
    (row,) = csv.DictReader(Path("m.csv").read_text(encoding="utf-8").splitlines())
    assert (row["volumetric_similarity"], row["lesions_tp"], row["lesion_f1"]) == ("1.0", "1", "0.5")
    assert (row["dice"], "dice:not-asked" in row["missing"]) == ("", True)


@pytest.mark.parametrize(
    ("option", "message"),
    [
        (["--definition", "hd95"], "is no METRIC=NAME, such as hd95=voxels"),
        (["--definition", "hd95=voxels,hd95=area"], "hd95 is given twice"),
        (["--definition", "dice=voxels"], "only surface_dice, hd95, hausdorff, mean_surface_distance have"),
        (["--metrics", "hd96"], "metric 'hd96'"),
    ],
)
def test_what_cannot_be_is_a_usage_error(pair, option, message, capsys):
    assert main([*pair, *option]) == 2
    assert message in capsys.readouterr().err
