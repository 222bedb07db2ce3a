"""Totals, left and right, and masks: what infer measures and writes beyond single labels."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk

from medseg.errors import UsageError, WriteFailed
from medseg.geometry import Geometry
from medseg.models import ModelBundle
from medseg.pipeline import infer, infer_files
from medseg.plans import Plan
from medseg.volume import Volume
from tests.pipeline.scans import AFFINE, IDS, names, save_scan
from tests.threshold_model import expected_classes, save_threshold_model, threshold_plan

TOTALS = ({"name": "whole brain", "labels": (7, 255)}, {"name": "core", "labels": (255,)})
VOXEL_ML = 0.9 * 1.2 * 2.5 / 1000


def two_sided_plan(totals: Any = TOTALS, **options: Any) -> Plan:
    plan = threshold_plan(names={7: "Left-Blob", 255: "Right-Blob"}, **options)
    return Plan.checked({**plan.model_dump(), "totals": totals})


@pytest.fixture(scope="module")
def sided(tmp_path_factory: pytest.TempPathFactory) -> ModelBundle:
    """A bundle with two totals whose labels 7 and 255 are left and right of each other."""
    return save_threshold_model(tmp_path_factory.mktemp("models") / "sided", two_sided_plan())


def voxels(path: Path | str) -> Any:
    return np.asanyarray(nibabel.load(path).dataobj)


class TestInMemory:
    def test_totals_and_sides_are_measured(self, tmp_path: Path, sided: ModelBundle) -> None:
        ids = IDS[expected_classes(save_scan(tmp_path / "scan.nii.gz"))]
        result = infer(tmp_path / "scan.nii.gz", sided)
        left, right = np.count_nonzero(ids == 7), np.count_nonzero(ids == 255)
        assert [(t.name, t.labels, t.voxels) for t in result.totals] == [
            ("whole brain", (7, 255), left + right),
            ("core", (255,), right),
        ]
        assert result.totals[0].volume_ml == pytest.approx((left + right) * VOXEL_ML, rel=1e-5)
        (blob,) = result.asymmetries
        assert (blob.name, blob.left_id, blob.right_id) == ("Blob", 7, 255)
        assert blob.left_ml == pytest.approx(left * VOXEL_ML, rel=1e-5)
        assert blob.index_percent == pytest.approx(200 * (left - right) / (left + right), rel=1e-9)

    def test_a_mask_is_a_label_map_of_its_own_on_the_same_grid(
        self, tmp_path: Path, sided: ModelBundle
    ) -> None:
        ids = IDS[expected_classes(save_scan(tmp_path / "scan.nii.gz"))]
        result = infer(tmp_path / "scan.nii.gz", sided)
        for name, inside in (("whole brain", ids > 0), ("core", ids == 255)):
            mask = result.mask(name)
            np.testing.assert_array_equal(mask.data, inside)
            assert (mask.data.dtype, mask.geometry) == (np.uint8, result.labels.geometry)
            assert [(label.id, label.name) for label in mask.labels] == [(1, name)]
            assert mask.source == result.labels.source
        with pytest.raises(UsageError, match="no total 'liver'; model 'threshold' has 'whole brain', 'core'"):
            result.mask("liver")

    def test_a_total_that_was_not_found_is_a_mask_of_zeros(self, sided: ModelBundle) -> None:
        flat = Volume(np.ones((1, 9, 8, 7), np.int16), Geometry((9, 8, 7), AFFINE))
        result = infer(flat, sided)
        assert (result.totals[1].voxels, result.totals[1].volume_ml) == (0, 0.0)
        assert not result.mask("core").data.any()

    def test_a_2d_model_measures_no_millilitres_but_makes_masks(self, tmp_path: Path) -> None:
        model = save_threshold_model(tmp_path / "flat", two_sided_plan(dimensions=2, patch=(16, 16)))
        data = np.random.default_rng(2).gamma(2.0, 100.0, (1, 20, 18, 1)).astype(np.int16)
        geometry = Geometry((20, 18, 1), np.diag([-1.0, -1.0, 1.0, 1.0]), is_2d=True)
        result = infer(Volume(data, geometry), model)
        assert [total.volume_ml for total in result.totals] == [None, None]
        assert result.asymmetries[0].reason == result.totals[0].reason == "a 2D image has no thickness"
        np.testing.assert_array_equal(result.mask("whole brain").data, expected_classes(data[0]) > 0)

    def test_a_model_without_totals_has_none(self, tmp_path: Path, model: ModelBundle) -> None:
        save_scan(tmp_path / "scan.nii.gz")
        result = infer(tmp_path / "scan.nii.gz", model)
        assert (result.totals, result.asymmetries) == ((), ())
        with pytest.raises(UsageError, match="'threshold' has none"):
            result.mask("whole brain")

    def test_members_of_an_ensemble_have_the_same_totals(self, tmp_path: Path, sided: ModelBundle) -> None:
        bare = save_threshold_model(
            tmp_path / "bare", two_sided_plan(totals=(), name="bare", patch=(8, 8, 8))
        )
        with pytest.raises(UsageError, match=r"their totals differ: whole brain \(labels \[7, 255\]\); core"):
            infer(Volume(np.ones((1, 9, 8, 7)), Geometry((9, 8, 7), AFFINE)), [sided, bare])


class TestDocument:
    def test_the_sidecar_lists_totals_and_sides(self, tmp_path: Path, sided: ModelBundle) -> None:
        save_scan(tmp_path / "scan.nii.gz")
        (case,) = infer_files([tmp_path / "scan.nii.gz"], model=sided).cases
        left, right = (label["volume_ml"] for label in case["labels"])
        assert [(t["name"], t["labels"]) for t in case["totals"]] == [
            ("whole brain", [7, 255]),
            ("core", [255]),
        ]
        assert case["totals"][0]["volume_ml"] == pytest.approx(left + right, abs=2e-6)
        (blob,) = case["asymmetry"]
        assert blob == {
            "name": "Blob",
            "left_id": 7,
            "right_id": 255,
            "left_ml": left,
            "right_ml": right,
            "index_percent": pytest.approx(200 * (left - right) / (left + right), abs=1e-2),
        }
        sidecar = json.loads((tmp_path / "scan_seg.json").read_text())
        assert (sidecar["totals"], sidecar["asymmetry"]) == (case["totals"], case["asymmetry"])
        assert "masks" not in case

    def test_without_any_and_of_a_refused_case_the_lists_are_empty(
        self, tmp_path: Path, model: ModelBundle
    ) -> None:
        save_scan(tmp_path / "scan.nii.gz")
        (tmp_path / "torn.nii.gz").write_bytes(b"no scan")
        report = infer_files([tmp_path / "scan.nii.gz", tmp_path / "torn.nii.gz"], model=model)
        assert [(case["totals"], case["asymmetry"]) for case in report.cases] == [([], [])] * 2


class TestMaskFiles:
    FILES = ("scan_seg_core.nii.gz", "scan_seg_whole-brain.nii.gz")

    def test_each_total_is_a_file_on_the_scans_grid_in_every_format(
        self, tmp_path: Path, sided: ModelBundle
    ) -> None:
        scan = tmp_path / "scan.nii.gz"
        ids = IDS[expected_classes(save_scan(scan))]
        (case,) = infer_files([scan], model=sided, masks=True, formats=("nii.gz", "seg.nrrd")).cases
        brain = [str(tmp_path / f"scan_seg_whole-brain.{form}") for form in ("nii.gz", "seg.nrrd")]
        core = [str(tmp_path / f"scan_seg_core.{form}") for form in ("nii.gz", "seg.nrrd")]
        assert case["masks"] == {"whole brain": brain, "core": core}
        assert json.loads((tmp_path / "scan_seg.json").read_text())["masks"] == case["masks"]
        for paths, inside in ((brain, ids > 0), (core, ids == 255)):
            written, original = nibabel.load(paths[0]), nibabel.load(scan)
            np.testing.assert_array_equal(np.asanyarray(written.dataobj), inside)
            np.testing.assert_array_equal(written.affine, original.affine)
            assert [int(written.header[code]) for code in ("sform_code", "qform_code")] == [2, 3]
            nrrd = sitk.ReadImage(paths[1])
            np.testing.assert_array_equal(sitk.GetArrayFromImage(nrrd).transpose(2, 1, 0), inside)
            assert nrrd.GetMetaData("Segment0_Name") == ("whole brain" if paths is brain else "core")
        formats = ("nii.gz", "seg.nrrd")
        files = {f"scan_seg{part}.{form}" for part in ("", "_core", "_whole-brain") for form in formats}
        assert set(names(tmp_path)) == {"scan.nii.gz", "scan_seg.json"} | files

    def test_they_take_the_name_that_o_gives(self, tmp_path: Path, sided: ModelBundle) -> None:
        save_scan(tmp_path / "scan.nii.gz")
        out = tmp_path / "out" / "mine.NII.gz"
        infer_files([tmp_path / "scan.nii.gz"], model=sided, masks=True, out=out)
        assert names(out.parent) == [
            "mine.NII.gz",
            "mine.json",
            "mine_core.NII.gz",
            "mine_whole-brain.NII.gz",
        ]

    def test_with_them_a_case_is_done_only_where_they_are_there(
        self, tmp_path: Path, sided: ModelBundle
    ) -> None:
        scans = [tmp_path / "scan.nii.gz"]
        save_scan(scans[0])
        first = infer_files(scans, model=sided, masks=True)
        assert infer_files(scans, model=sided, masks=True).cases[0] == {
            **first.cases[0],
            "already_done": True,
        }
        assert infer_files(scans, model=sided).cases[0]["already_done"]
        (tmp_path / self.FILES[0]).unlink()
        (case,) = infer_files(scans, model=sided, masks=True).cases
        assert (case["verdict"], case["reasons"][0]["code"]) == ("refused", "output-exists")
        assert f"but not {self.FILES[0]}: use --overwrite" in case["reasons"][0]["message"]
        assert infer_files(scans, model=sided, masks=True, overwrite=True).cases[0]["verdict"] == "ok"
        assert (tmp_path / self.FILES[0]).is_file()

    def test_masks_of_a_segmentation_that_was_replaced_are_not_taken_for_its_own(
        self, tmp_path: Path, sided: ModelBundle
    ) -> None:
        scans = [tmp_path / "scan.nii.gz"]
        save_scan(scans[0])
        infer_files(scans, model=sided, masks=True)
        data = save_scan(scans[0], seed=1)
        infer_files(scans, model=sided, overwrite=True)
        (case,) = infer_files(scans, model=sided, masks=True).cases
        assert case["reasons"][0]["code"] == "output-exists"
        assert "was not written together with scan_seg_whole-brain.nii.gz" in case["reasons"][0]["message"]
        infer_files(scans, model=sided, masks=True, overwrite=True)
        inside = expected_classes(data) > 0
        np.testing.assert_array_equal(voxels(tmp_path / "scan_seg_whole-brain.nii.gz"), inside)

    def test_a_file_of_that_name_is_not_replaced_unasked(self, tmp_path: Path, sided: ModelBundle) -> None:
        save_scan(tmp_path / "scan.nii.gz")
        (tmp_path / self.FILES[1]).write_bytes(b"mine")
        (case,) = infer_files([tmp_path / "scan.nii.gz"], model=sided, masks=True).cases
        assert case["reasons"][0]["code"] == "output-exists"
        assert (tmp_path / self.FILES[1]).read_bytes() == b"mine"
        assert names(tmp_path) == ["scan.nii.gz", self.FILES[1]]

    def test_no_mask_takes_an_inputs_place(self, tmp_path: Path, sided: ModelBundle) -> None:
        scans = [tmp_path / "scan.nii.gz", tmp_path / self.FILES[0]]
        for scan in scans:
            save_scan(scan)
        with pytest.raises(UsageError, match=r"scan_seg_core\.nii\.gz is an input"):
            infer_files(scans, model=sided, masks=True, overwrite=True)
        assert names(tmp_path) == sorted(scan.name for scan in scans)
        assert infer_files(scans, model=sided).exit_code == 0

    def test_a_named_model_without_totals_is_refused_before_anything_is_read(
        self, tmp_path: Path, model: ModelBundle
    ) -> None:
        (tmp_path / "torn.nii.gz").write_bytes(b"no scan")
        with pytest.raises(UsageError, match=r"model 'threshold' has no totals.*leave --masks out"):
            infer_files([tmp_path / "torn.nii.gz"], model=model, masks=True)

    def test_where_scans_choose_their_model_those_without_totals_are_refused(
        self, tmp_path: Path, model: ModelBundle, sided: ModelBundle, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from medseg.pipeline.models import ModelChooser

        def choose(_: ModelChooser, volume: Volume, names: Any = ()) -> tuple[ModelBundle, ...]:
            return (model if volume.geometry.shape[2] == 8 else sided,)

        monkeypatch.setattr(ModelChooser, "bundles", choose)
        save_scan(tmp_path / "a.nii.gz", shape=(21, 17, 8))
        save_scan(tmp_path / "b.nii.gz")
        scans = [tmp_path / "a.nii.gz", tmp_path / "b.nii.gz"]
        report = infer_files(scans, masks=True)
        assert [case["verdict"] for case in report.cases] == ["refused", "ok"]
        (reason,) = report.cases[0]["reasons"]
        assert reason["code"] == "option-does-not-fit"
        assert "leave --masks out" in reason["message"]
        with pytest.raises(UsageError, match="has no totals"):
            infer_files(scans[:1], masks=True)

    def test_stopped_or_failed_while_they_are_written_the_case_is_not_done(
        self, tmp_path: Path, sided: ModelBundle, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from medseg.pipeline import outputs

        scans = [tmp_path / "scan.nii.gz"]
        ids = IDS[expected_classes(save_scan(scans[0]))]
        whole = outputs.write

        def fails(error: BaseException) -> None:
            def write(item: Any, path: Path, *, overwrite: bool) -> Path:
                if path.name == self.FILES[0]:
                    raise error
                return whole(item, path, overwrite=overwrite)

            monkeypatch.setattr(outputs, "write", write)

        fails(WriteFailed("scan_seg_core.nii.gz: could not be written: No space left on device"))
        (case,) = infer_files(scans, model=sided, masks=True).cases
        assert (case["verdict"], case["reasons"][0]["code"]) == ("failed", "write-failed")
        fails(KeyboardInterrupt())
        with pytest.raises(KeyboardInterrupt):
            infer_files(scans, model=sided, masks=True)
        left = json.loads((tmp_path / "scan_seg.json").read_text())
        assert (left["segmentation"], left["reasons"][0]["code"]) == (None, "interrupted")
        assert self.FILES[0] not in names(tmp_path)
        monkeypatch.undo()
        assert infer_files(scans, model=sided, masks=True).cases[0]["verdict"] == "ok"
        np.testing.assert_array_equal(voxels(tmp_path / self.FILES[0]), ids == 255)
