"""A model that crops scans: files in, files out on the scan's own grid; the document says what was seen."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import zarr

from medseg.models import ModelBundle
from medseg.pipeline import infer, infer_files
from medseg.plans import CropRule, InferencePlan, Plan
from tests.pipeline.scans import AFFINE, IDS
from tests.threshold_model import expected_classes, save_threshold_model, threshold_plan


def cropping(name: str, margin_mm: float = 5.0) -> Plan:
    plan = threshold_plan(name=name)
    return plan.model_copy(update={"inference": InferencePlan(crop=CropRule(margin_mm=margin_mm))})


def save_object(path: Path) -> np.ndarray:
    """Tissue in blocks of 4 x 3 x 2 voxels; 0 around them."""
    data = np.zeros((50, 44, 26), np.int16)
    data[16:32, 15:30, 6:16] = np.random.default_rng(4).integers(300, 900, (16, 15, 10))
    nibabel.save(nibabel.Nifti1Image(data, AFFINE), path)
    return data


def test_the_network_sees_the_box_and_the_files_the_whole_scan(tmp_path: Path) -> None:
    data = save_object(tmp_path / "scan.nii.gz")
    model = save_threshold_model(tmp_path / "model", cropping("cropping"))
    report = infer_files([tmp_path / "scan.nii.gz"], model=model, probabilities=True, entropy=True)
    (case,) = report.cases
    crop = case["provenance"]["execution"]["crop"]
    box = tuple(slice(a, b) for a, b in zip(crop["start"], crop["stop"], strict=True))
    assert np.count_nonzero(data[box]) == np.count_nonzero(data)
    assert data[box].size < 0.5 * data.size
    expected = np.zeros(data.shape, np.uint8)
    expected[box] = IDS[expected_classes(data[box])]  # z-scores of the box, not of the scan
    written = nibabel.load(tmp_path / "scan_seg.nii.gz")
    np.testing.assert_array_equal(np.asanyarray(written.dataobj), expected)
    np.testing.assert_allclose(written.affine, AFFINE, atol=1e-6)
    shares = np.asarray(zarr.open_array(tmp_path / "scan_seg_maps.zarr/probabilities", mode="r"))
    entropy = np.asarray(zarr.open_array(tmp_path / "scan_seg_maps.zarr/entropy", mode="r"))
    np.testing.assert_array_equal(IDS[shares.argmax(axis=0)], expected)
    outside = np.ones(data.shape, bool)
    outside[box] = False
    assert (shares[0][outside] == 1).all()
    assert (shares[1:, outside] == 0).all()
    assert (entropy[outside] == 0).all()
    assert (entropy[box] > 0).any()
    bare = infer(tmp_path / "scan.nii.gz", model)
    np.testing.assert_array_equal(bare.labels.data, expected)


def test_members_with_unlike_rules_share_the_larger_box(tmp_path: Path) -> None:
    data = save_object(tmp_path / "scan.nii.gz")
    near, far = (
        save_threshold_model(tmp_path / name, cropping(name, margin_mm))
        for name, margin_mm in (("near", 2.0), ("far", 5.0))
    )
    crops = [
        infer(tmp_path / "scan.nii.gz", models).provenance["execution"]["crop"]
        for models in ([near], [far], [near, far])
    ]
    assert crops[1] == crops[2] != crops[0]
    joint = infer(tmp_path / "scan.nii.gz", [near, far]).labels.data
    np.testing.assert_array_equal(joint, infer(tmp_path / "scan.nii.gz", far).labels.data)
    assert joint.shape == data.shape


def test_without_a_rule_nothing_is_cropped(tmp_path: Path, model: ModelBundle) -> None:
    data = save_object(tmp_path / "scan.nii.gz")
    found = infer(tmp_path / "scan.nii.gz", model)
    assert found.provenance["execution"]["crop"] is None
    np.testing.assert_array_equal(found.labels.data, IDS[expected_classes(data)])
