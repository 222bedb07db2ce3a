"""Probabilities and entropy: what they are, where they go, and that no half of them ever has a name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from numpy.typing import NDArray

from medseg.errors import WriteFailed
from medseg.geometry import Geometry
from medseg.io.zarr_maps import ZarrMaps
from medseg.models import ModelBundle
from medseg.pipeline import infer, infer_files
from medseg.plans import EmptyRule, InferencePlan
from medseg.volume import Volume
from tests.pipeline.scans import AFFINE, IDS, names, save_scan
from tests.threshold_model import OFFSETS, SLOPES, expected_classes, save_threshold_model, threshold_plan

# A float16 below 1 is at most so far from what it stands for; float32 arithmetic adds its own.
HALF, SINGLE = 2.5e-4, 1e-5


def expected_shares(data: NDArray[np.int16]) -> NDArray[np.float64]:
    z = (data.astype(np.float64) - data.mean()) / data.std()
    logits = SLOPES[:, None, None, None] * z + OFFSETS[:, None, None, None]
    shares = np.exp(logits - logits.max(axis=0))
    return shares / shares.sum(axis=0)


def entropy_of(shares: NDArray[np.float64]) -> NDArray[np.float64]:
    return -(shares * np.log(np.maximum(shares, 1e-300))).sum(axis=0)


def array(path: str) -> NDArray[np.float16]:
    return np.asarray(zarr.open_array(path, mode="r"))


def test_in_memory_they_are_volumes_on_the_scans_grid(tmp_path: Path, model: ModelBundle) -> None:
    data = save_scan(tmp_path / "scan.nii.gz")
    result = infer(tmp_path / "scan.nii.gz", model, probabilities=True, entropy=True)
    shares = expected_shares(data)
    assert result.probabilities is not None
    assert result.entropy is not None
    assert (result.probabilities.data.dtype, result.entropy.data.dtype) == (np.float32, np.float32)
    np.testing.assert_allclose(result.probabilities.data, shares, atol=SINGLE)
    np.testing.assert_allclose(result.entropy.data[0], entropy_of(shares), atol=SINGLE)
    assert result.entropy.geometry == result.probabilities.geometry == result.labels.geometry
    bare = infer(tmp_path / "scan.nii.gz", model)
    assert (bare.probabilities, bare.entropy) == (None, None)
    np.testing.assert_array_equal(bare.labels.data, result.labels.data)


def test_in_files_they_are_arrays_of_one_group(tmp_path: Path, model: ModelBundle) -> None:
    data = save_scan(tmp_path / "scan.nii.gz")
    (case,) = infer_files([tmp_path / "scan.nii.gz"], model=model, probabilities=True, entropy=True).cases
    group = tmp_path / "scan_seg_maps.zarr"
    assert (case["probabilities"], case["entropy"]) == (str(group / "probabilities"), str(group / "entropy"))
    shares = expected_shares(data)
    np.testing.assert_allclose(array(case["probabilities"]), shares, atol=HALF)
    np.testing.assert_allclose(array(case["entropy"]), entropy_of(shares), atol=2 * HALF)
    attributes = zarr.open_group(group, mode="r").attrs
    assert attributes["channels"] == [
        {"name": "background", "label_id": 0},
        {"name": "outer", "label_id": 7},
        {"name": "inner", "label_id": 255},
    ]
    np.testing.assert_allclose(attributes["affine_ras_mm"], AFFINE, atol=1e-5)
    assert names(tmp_path) == ["scan.nii.gz", "scan_seg.json", "scan_seg.nii.gz", "scan_seg_maps.zarr"]


def test_only_what_was_asked_for_is_written(tmp_path: Path, model: ModelBundle) -> None:
    save_scan(tmp_path / "scan.nii.gz")
    (case,) = infer_files([tmp_path / "scan.nii.gz"], model=model, entropy=True).cases
    assert "probabilities" not in case
    assert not (tmp_path / "scan_seg_maps.zarr" / "probabilities").exists()


def test_maps_that_are_there_are_done_and_others_are_refused_unless_overwrite(
    tmp_path: Path, model: ModelBundle
) -> None:
    scans = [tmp_path / "scan.nii.gz"]
    save_scan(scans[0])
    infer_files(scans, model=model, probabilities=True)
    assert infer_files(scans, model=model, probabilities=True).cases[0]["already_done"]
    assert infer_files(scans, model=model).cases[0]["already_done"]
    (reason,) = infer_files(scans, model=model, probabilities=True, entropy=True).cases[0]["reasons"]
    assert reason["code"] == "output-exists"
    assert "but not entropy" in reason["message"]
    (case,) = infer_files(scans, model=model, entropy=True, overwrite=True).cases
    assert case["verdict"] == "ok"
    assert names(tmp_path / "scan_seg_maps.zarr") == [".zattrs", ".zgroup", "entropy"]


def test_a_folder_of_that_name_is_not_replaced_unasked(tmp_path: Path, model: ModelBundle) -> None:
    save_scan(tmp_path / "scan.nii.gz")
    (tmp_path / "scan_seg_maps.zarr").mkdir()
    (tmp_path / "scan_seg_maps.zarr" / "mine.txt").write_text("keep")
    (case,) = infer_files([tmp_path / "scan.nii.gz"], model=model, entropy=True).cases
    assert case["reasons"][0]["code"] == "output-exists"
    assert names(tmp_path / "scan_seg_maps.zarr") == ["mine.txt"]


def test_cancelled_refused_or_failed_they_leave_nothing(
    tmp_path: Path, model: ModelBundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    scans = [tmp_path / f"{name}.nii.gz" for name in "ab"]
    for scan in scans:
        save_scan(scan)

    def cancel(stage: str, done: int, total: int) -> None:
        if stage == "predict" and done == 5:
            raise KeyboardInterrupt

    out = tmp_path / "out"
    for inputs in (scans[:1], scans):
        with pytest.raises(KeyboardInterrupt):
            infer_files(inputs, model=model, out=out, probabilities=True, progress=cancel)
        assert names(out) == []

    flat = tmp_path / "flat.nii.gz"
    save_scan(flat, shape=(9, 9, 1))
    report = infer_files([flat], model=model, out=out, entropy=True, strict=True, max_memory="1MB")
    assert report.exit_code == 4
    assert names(out) == []

    whole = ZarrMaps.save

    def full(maps: ZarrMaps) -> Path:
        if maps.path.name.startswith("a_"):
            raise WriteFailed("a_seg_maps.zarr: could not be written: No space left on device")
        return whole(maps)

    monkeypatch.setattr(ZarrMaps, "save", full)
    report = infer_files(scans, model=model, out=out, entropy=True)
    assert [case["verdict"] for case in report.cases] == ["failed", "ok"]
    assert report.cases[0]["reasons"][0]["code"] == "write-failed"
    assert names(out) == ["a_seg.json", "a_seg.nii.gz", "b_seg.json", "b_seg.nii.gz", "b_seg_maps.zarr"]


class TestEmptyWindows:
    """A scan with air around a body, and a model that knows what air is."""

    @pytest.fixture
    def careful(self, tmp_path: Path) -> ModelBundle:
        plan = threshold_plan(patch=(8, 8, 8))
        rule = EmptyRule(unit="intensity", below=1.0)
        plan = plan.model_copy(update={"inference": InferencePlan(overlap=0.5, empty=rule)})
        return save_threshold_model(tmp_path / "careful", plan)

    @pytest.fixture
    def scan(self) -> Volume:
        data = np.zeros((1, 40, 24, 24), np.int16)
        data[0, 26:36, 6:18, 6:18] = np.random.default_rng(3).gamma(2.0, 100.0, (10, 12, 12)) + 1
        return Volume(data, Geometry((40, 24, 24), np.diag([1.0, 1.0, 1.0, 1.0])))

    def test_they_are_counted_and_the_option_runs_them(self, careful: ModelBundle, scan: Volume) -> None:
        for skip in (True, False):
            result = infer(scan, careful, skip_empty=skip)
            windows = result.provenance["execution"]["windows"]
            assert windows["total"] == 9 * 5 * 5
            assert (windows["skipped"] > 100) == skip
            assert result.provenance["options"]["skip_empty"] == skip
            np.testing.assert_array_equal(result.labels.data, IDS[expected_classes(scan.data[0])])
            assert result.provenance["execution"]["notes"] == []

    def test_a_scan_of_nothing_else_says_so(self, careful: ModelBundle, scan: Volume) -> None:
        nothing = Volume(np.zeros_like(scan.data), scan.geometry)
        result = infer(nothing, careful)
        windows = result.provenance["execution"]["windows"]
        assert windows["skipped"] == windows["total"]
        (note,) = result.provenance["execution"]["notes"]
        assert "the network has seen nothing" in note
        assert "empty-segmentation" in result.verdict.codes


def test_the_document_tells_memory_planned_and_taken(tmp_path: Path, model: ModelBundle) -> None:
    save_scan(tmp_path / "scan.nii.gz")
    # Far more than the tests before may have left in this process.
    options: dict[str, Any] = {"max_memory": "64GB", "sums": "f16", "scratch": tmp_path}
    (case,) = infer_files([tmp_path / "scan.nii.gz"], model=model, **options).cases
    plan = case["provenance"]["execution"]["memory"]
    assert (plan["place"], plan["sums"], plan["limit_bytes"]) == ("memory", "f16", 64_000_000_000)
    assert case["memory"]["predicted_peak_bytes"] == plan["predicted_bytes"]
    assert 10**7 < case["memory"]["measured_peak_bytes"] < 10**11
    assert case["provenance"]["options"]["sums"] == "f16"
    assert not {"max_memory", "scratch", "probabilities", "entropy"} & set(case["provenance"]["options"])
