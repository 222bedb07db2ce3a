"""A model with a quality section tells each structure's probable Dice, and warns where it is low."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from medseg.errors import InputRefused
from medseg.measure import Measurement
from medseg.models import ModelBundle, Quality, save_with_quality
from medseg.pipeline import infer, infer_files, open_model
from tests.pipeline.scans import save_scan
from tests.pipeline.test_maps import expected_shares
from tests.threshold_model import save_threshold_model, threshold_plan


def section(*ids: int, low: float = 0.1) -> Quality:
    """Dice is half the confidence."""
    figures = {"mean_absolute_error": 0.01, "guess_error": 0.02}
    label = {"cases": 9, "knots": ((0, 0), (1, 0.5)), "typical": low + 0.1, "low_below": low, **figures}
    labels = tuple({"id": i, **label} for i in ids)
    return Quality.model_validate({"cases": 9, "low_drop": 0.2, "labels": labels, **figures})


@pytest.fixture
def judged(tmp_path: Path, model: ModelBundle) -> ModelBundle:
    return save_with_quality(model, tmp_path / "judged", section(7, 255))


def half_soft_dice(data: np.ndarray) -> dict[int, float]:
    """From the definition, over the whole scan, in double precision."""
    shares = expected_shares(data)
    winner = shares.argmax(axis=0)
    return {
        label: shares[k][winner == k].sum() / (shares[k].sum() + (winner == k).sum())
        for k, label in ((1, 7), (2, 255))
    }


def test_each_label_has_the_dice_that_its_confidence_stands_for(tmp_path: Path, judged: ModelBundle) -> None:
    data = save_scan(tmp_path / "scan.nii.gz")
    (case,) = infer_files([tmp_path / "scan.nii.gz"], model=judged).cases
    assert case["verdict"] == "ok"
    expected = half_soft_dice(data)
    for label in case["labels"]:
        assert label["quality"] == pytest.approx(expected[label["id"]], abs=6e-4)  # rounded to 3 places
        assert label["quality"] == round(label["quality"], 3)
        assert label["quality_low"] is False
        assert "quality_reason" not in label
    assert json.loads((tmp_path / "scan_seg.json").read_text())["labels"] == case["labels"]


def test_labels_are_the_same_with_and_without(
    tmp_path: Path, judged: ModelBundle, model: ModelBundle
) -> None:
    save_scan(tmp_path / "scan.nii.gz")
    with_it, without = (infer(tmp_path / "scan.nii.gz", one) for one in (judged, model))
    np.testing.assert_array_equal(with_it.labels.data, without.labels.data)
    assert [one.quality for one in without.measurements] == [None, None]
    for one in without.measurements:
        assert not {"quality", "quality_low", "quality_reason"} & one.to_json().keys()


def test_a_low_estimate_is_a_warning_that_names_the_structures(tmp_path: Path, model: ModelBundle) -> None:
    strict = save_with_quality(model, tmp_path / "strict", section(7, 255, low=0.6))
    save_scan(tmp_path / "scan.nii.gz")
    (case,) = infer_files([tmp_path / "scan.nii.gz"], model=strict).cases
    assert case["verdict"] == "warning"
    (reason,) = case["reasons"]
    assert reason["code"] == "low-quality"
    assert "outer" in reason["message"]
    assert "inner" in reason["message"]
    assert all(label["quality_low"] for label in case["labels"])
    with pytest.raises(InputRefused, match="estimated at") as refusal:
        infer(tmp_path / "scan.nii.gz", strict, strict=True)
    assert refusal.value.code == "low-quality"


def test_what_has_no_estimate_says_why(tmp_path: Path, model: ModelBundle) -> None:
    half = save_with_quality(model, tmp_path / "half", section(7))
    save_scan(tmp_path / "scan.nii.gz")
    outer, inner = infer(tmp_path / "scan.nii.gz", half).measurements
    assert outer.quality is not None
    assert inner.to_json()["quality"] is None
    assert "without this label" in inner.to_json()["quality_reason"]


def test_an_absent_label_has_none(tmp_path: Path) -> None:
    never = save_threshold_model(
        tmp_path / "never", threshold_plan(), offsets=np.array([0, -0.5, -1000], np.float32)
    )
    judged = save_with_quality(never, tmp_path / "judged", section(7, 255))
    save_scan(tmp_path / "scan.nii.gz")
    result = infer(tmp_path / "scan.nii.gz", judged)
    assert result.measurements[1].voxels == 0
    assert result.measurements[1].to_json()["quality_reason"] == "the label is absent"
    assert result.verdict.codes == ()


def test_an_ensemble_has_none_and_says_so(tmp_path: Path, judged: ModelBundle, model: ModelBundle) -> None:
    other = save_threshold_model(
        tmp_path / "b", threshold_plan(name="b"), offsets=np.array([1.5, -0.5, -2.0], np.float32)
    )
    save_scan(tmp_path / "scan.nii.gz")
    for one in infer(tmp_path / "scan.nii.gz", [open_model(judged), other]).measurements:
        assert one.to_json()["quality"] is None
        assert "ensemble" in one.to_json()["quality_reason"]
    for one in infer(tmp_path / "scan.nii.gz", [model, other]).measurements:
        assert "quality" not in one.to_json()


def test_a_measurement_without_a_model_that_tells_is_written_as_ever() -> None:
    assert Measurement(3, "a", 5, 0.5, False).to_json() == {
        "id": 3,
        "name": "a",
        "volume_ml": 0.5,
        "voxels": 5,
        "touches_border": False,
    }
