"""The clean-up that a model brings along: applied, turned off, told, refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from scipy import ndimage

from medseg.errors import InputRefused, PlanInvalid, UsageError
from medseg.geometry import Geometry
from medseg.models import ModelBundle
from medseg.pipeline import infer, infer_files
from medseg.plans import Plan
from medseg.volume import Volume
from tests.pipeline.scans import AFFINE, IDS, save_scan
from tests.threshold_model import expected_classes, save_threshold_model, threshold_plan

STEPS: list[dict[str, Any]] = [
    {"step": "fill_holes", "labels": [7]},
    {"step": "largest_component", "labels": [7, 255], "together": True},
]


def cleaning_plan(steps: list[dict[str, Any]] = STEPS, **inference: Any) -> Plan:
    plan = threshold_plan().model_dump()
    return Plan.checked({**plan, "inference": {**plan["inference"], "postprocess": steps, **inference}})


@pytest.fixture(scope="module")
def cleaning(tmp_path_factory: pytest.TempPathFactory) -> ModelBundle:
    return save_threshold_model(tmp_path_factory.mktemp("models") / "cleaning", cleaning_plan())


def cleaned(ids: Any) -> Any:
    """The two steps, by scipy."""
    filled = np.where(ndimage.binary_fill_holes(ids == 7) & (ids == 0), 7, ids)
    components, _ = ndimage.label(filled > 0, structure=np.ones((3, 3, 3)))
    return np.where(components == 1 + np.bincount(components.ravel())[1:].argmax(), filled, 0)


def test_steps_of_the_plan_are_applied_and_told(tmp_path: Path, cleaning: ModelBundle) -> None:
    raw = IDS[expected_classes(save_scan(tmp_path / "scan.nii.gz"))]
    assert (cleaned(raw) != raw).any()
    report = infer_files([tmp_path / "scan.nii.gz"], model=cleaning)
    (case,) = report.cases
    found = np.asanyarray(nibabel.load(case["segmentation"]).dataobj)
    np.testing.assert_array_equal(found, cleaned(raw))
    told = json.loads((tmp_path / "scan_seg.json").read_text("utf-8"))["provenance"]
    assert told["postprocess"] == STEPS
    assert "postprocess" not in told["options"]


def test_none_leaves_the_labels_as_the_network_gives_them(tmp_path: Path, cleaning: ModelBundle) -> None:
    raw = IDS[expected_classes(save_scan(tmp_path / "scan.nii.gz"))]
    result = infer(tmp_path / "scan.nii.gz", cleaning, postprocess="none")
    np.testing.assert_array_equal(result.labels.data, raw)
    assert result.provenance["postprocess"] == []
    assert result.provenance["options"]["postprocess"] == "none"
    with pytest.raises(UsageError, match="postprocess 'all': expected one of plan, none"):
        infer(tmp_path / "scan.nii.gz", cleaning, postprocess="all")


def test_an_ensemble_applies_what_its_members_share_and_says_what_was_left_out(
    tmp_path: Path, cleaning: ModelBundle
) -> None:
    save_scan(tmp_path / "scan.nii.gz")
    steps = [STEPS[0], {"step": "fill_holes", "labels": [255]}]
    other = save_threshold_model(tmp_path / "other", cleaning_plan(steps))
    result = infer(tmp_path / "scan.nii.gz", [cleaning, other])
    assert result.provenance["postprocess"] == STEPS[:1]
    assert "differ in post-processing: 1 step(s)" in "; ".join(result.provenance["execution"]["notes"])


def test_a_scan_without_voxel_sizes_is_refused_where_a_step_needs_millimetres(tmp_path: Path) -> None:
    model = save_threshold_model(
        tmp_path / "sized", cleaning_plan([{"step": "remove_small", "smallest_mm3": 20.0}])
    )
    geometry = Geometry((9, 8, 7), AFFINE, spacing_known=False)
    scan = Volume(np.ones((1, 9, 8, 7), np.int16), geometry)
    with pytest.raises(InputRefused, match="remove_small") as refused:
        infer(scan, model)
    assert refused.value.code == "spacing-unknown"
    assert not infer(scan, model, postprocess="none").labels.data.any()


@pytest.mark.parametrize(
    ("step", "message"),
    [
        (
            {"step": "fill_holes", "labels": [3]},
            r"postprocess\[0\] \(fill_holes\): labels \[3\] are not among",
        ),
        ({"step": "largest_component", "labels": [7], "becomes": 7}, "cannot become 7"),
        ({"step": "refine", "radius_mm": 2, "channel": 1}, "there are 1 channels"),
        ({"step": "opening"}, "radius_mm: is needed and not there"),
        ({"step": "melt"}, "'largest_component'"),
        ({"step": "gaussian", "sigma_mm": 1, "labels": [7, 7]}, "a label occurs twice"),
    ],
)
def test_steps_that_do_not_fit_the_plan_are_refused(step: dict[str, Any], message: str) -> None:
    with pytest.raises(PlanInvalid, match=message):
        cleaning_plan([step])
