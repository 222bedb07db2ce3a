"""Which model segments which scan: scope, channels, and the choice where none is named."""

from __future__ import annotations

import shutil
from pathlib import Path

import nibabel
import numpy as np
import pytest

from medseg.errors import InputRefused, NotFound, UsageError
from medseg.models import ModelBundle, Scope
from medseg.pipeline import infer, infer_files
from tests.pipeline.scans import AFFINE, IDS, save_scan
from tests.threshold_model import expected_classes, save_threshold_model, threshold_plan


class TestVerdicts:
    def test_a_scan_outside_the_scope_is_a_warning_and_refused_under_strict(self, tmp_path: Path) -> None:
        narrow = Scope(
            dimensions=3, description="thin slices", spacing_min_mm=(0.5, 0.5, 0.5), spacing_max_mm=(1, 1, 1)
        )
        model = save_threshold_model(tmp_path / "model", scope=narrow)
        save_scan(tmp_path / "scan.nii.gz")
        report = infer_files([tmp_path / "scan.nii.gz"], model=model, strict=True)
        assert report.exit_code == 3
        assert report.cases[0]["reasons"][0]["code"] == "outside-scope-spacing"
        assert not (tmp_path / "scan_seg.nii.gz").exists()
        report = infer_files([tmp_path / "scan.nii.gz"], model=model)
        assert report.exit_code == 0
        assert report.cases[0]["verdict"] == "warning"
        assert report.cases[0]["reasons"][0]["code"] == "outside-scope-spacing"

    def test_an_empty_segmentation_is_a_loud_warning(self, tmp_path: Path, model: ModelBundle) -> None:
        nibabel.save(nibabel.Nifti1Image(np.full((8, 7, 6), 3, np.int16), AFFINE), tmp_path / "flat.nii.gz")
        (case,) = infer_files([tmp_path / "flat.nii.gz"], model=model).cases
        assert case["verdict"] == "warning"
        assert "empty-segmentation" in [reason["code"] for reason in case["reasons"]]
        assert [label["volume_ml"] for label in case["labels"]] == [0.0, 0.0]
        with pytest.raises(InputRefused, match="strict"):
            infer(tmp_path / "flat.nii.gz", model, strict=True)


class TestChannels:
    @pytest.fixture
    def model(self, tmp_path: Path) -> ModelBundle:
        return save_threshold_model(tmp_path / "two", threshold_plan(channels=("flair", "t1")))

    def test_channels_go_to_the_network_by_name(self, tmp_path: Path, model: ModelBundle) -> None:
        save_scan(tmp_path / "a.nii.gz", seed=1)
        flair = save_scan(tmp_path / "b.nii.gz", seed=2)
        case = f"t1={tmp_path / 'a.nii.gz'},flair={tmp_path / 'b.nii.gz'}"
        report = infer_files(model=model, case=case)
        assert report.exit_code == 0
        assert report.cases[0]["input"] == case
        written = nibabel.load(tmp_path / "a_seg.nii.gz")  # the first channel's stem
        np.testing.assert_array_equal(np.asanyarray(written.dataobj), IDS[expected_classes(flair)])
        in_memory = infer({"flair": tmp_path / "b.nii.gz", "t1": tmp_path / "a.nii.gz"}, model)
        np.testing.assert_array_equal(in_memory.labels.data, IDS[expected_classes(flair)])

    def test_a_channel_on_another_grid_is_brought_onto_the_first_ones_and_named(
        self, tmp_path: Path, model: ModelBundle
    ) -> None:
        save_scan(tmp_path / "a.nii.gz", seed=1)
        flair = save_scan(tmp_path / "b.nii.gz", seed=2)
        turned = nibabel.as_closest_canonical(nibabel.load(tmp_path / "b.nii.gz"))
        other = nibabel.orientations.axcodes2ornt(("P", "I", "R"))
        nibabel.save(turned.as_reoriented(other), tmp_path / "turned.nii.gz")  # the same voxels, stored anew
        case = {"t1": tmp_path / "a.nii.gz", "flair": tmp_path / "turned.nii.gz"}
        (found,) = infer_files(model=model, case=case).cases
        assert (found["verdict"], [r["code"] for r in found["reasons"]]) == (
            "repaired",
            ["channel-resampled"],
        )
        assert "'flair'" in found["reasons"][0]["message"]
        written = nibabel.load(tmp_path / "a_seg.nii.gz")
        np.testing.assert_array_equal(written.affine, nibabel.load(tmp_path / "a.nii.gz").affine)
        differ = np.asanyarray(written.dataobj) != IDS[expected_classes(flair)]
        assert differ.mean() < 1e-3  # interpolation at whole numbers, to rounding

    def test_a_channel_that_shows_too_little_of_the_first_one_is_refused(
        self, tmp_path: Path, model: ModelBundle
    ) -> None:
        save_scan(tmp_path / "a.nii.gz")
        save_scan(tmp_path / "b.nii.gz", shape=(21, 17, 4))
        report = infer_files(model=model, case={"t1": tmp_path / "a.nii.gz", "flair": tmp_path / "b.nii.gz"})
        (reason,) = report.cases[0]["reasons"]
        assert reason["code"] == "channel-field-of-view"
        assert "44%" in reason["message"]
        assert "21x17x4" in reason["message"]
        assert "21x17x9" in reason["message"]
        assert "smallest field of view first" in reason["message"]

    @pytest.mark.parametrize("case", ["t1=", "t1", "t1=a.nii.gz,t1=b.nii.gz", ""])
    def test_a_case_that_does_not_parse_says_how_it_should_read(self, case: str, model: ModelBundle) -> None:
        with pytest.raises(UsageError, match="name=path,name=path"):
            infer_files(model=model, case=case)

    def test_channels_the_model_does_not_know_are_refused(self, tmp_path: Path, model: ModelBundle) -> None:
        save_scan(tmp_path / "a.nii.gz")
        with pytest.raises(UsageError, match="needs flair, t1: add flair=PATH, leave out t2"):
            infer_files(model=model, case={"t1": tmp_path / "a.nii.gz", "t2": tmp_path / "a.nii.gz"})


class TestModelChoice:
    @pytest.fixture
    def shelf(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        """Two models: one for thick slices, one for thin ones."""
        from medseg.models import registry

        shelf = tmp_path / "shelf"
        for name, low, high in (("thick", 2.0, 4.0), ("thin", 0.5, 1.5)):
            scope = Scope(
                dimensions=3,
                description=f"{name} slices",
                spacing_min_mm=(0.5, 0.5, low),
                spacing_max_mm=(1.5, 1.5, high),
            )
            shelf.mkdir(exist_ok=True)
            save_threshold_model(shelf / name, threshold_plan(name=name), scope)
        monkeypatch.setattr(registry, "BUILTIN", shelf)
        return shelf

    def test_the_model_whose_scope_accepts_the_scan_is_used_and_named(
        self, tmp_path: Path, shelf: Path
    ) -> None:
        save_scan(tmp_path / "scan.nii.gz")
        (case,) = infer_files([tmp_path / "scan.nii.gz"]).cases
        assert (case["verdict"], case["model"]) == ("ok", "thick")

    def test_none_or_several_are_refused_with_the_list(self, tmp_path: Path, shelf: Path) -> None:
        nibabel.save(
            nibabel.Nifti1Image(np.ones((5, 6, 7), np.int16), np.diag([9.0, 9, 9, 1])),
            tmp_path / "coarse.nii.gz",
        )
        report = infer_files([tmp_path / "coarse.nii.gz"])
        assert report.exit_code == 3
        (reason,) = report.cases[0]["reasons"]
        assert reason["code"] == "no-model"
        assert "thick (thick slices); thin (thin slices)" in reason["message"]

        shutil.copytree(shelf / "thick", shelf / "twin")
        save_scan(tmp_path / "scan.nii.gz")
        (reason,) = infer_files([tmp_path / "scan.nii.gz"]).cases[0]["reasons"]
        assert reason["code"] == "several-models"

    def test_the_environment_names_the_default(
        self, tmp_path: Path, shelf: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("MEDSEG_MODEL", "thin")
        save_scan(tmp_path / "scan.nii.gz")
        (case,) = infer_files([tmp_path / "scan.nii.gz"]).cases
        assert (case["model"], case["verdict"]) == ("thin", "warning")

    def test_a_model_that_is_not_there_fails_before_a_scan_is_read(self, tmp_path: Path) -> None:
        (tmp_path / "scan.nii.gz").write_bytes(b"never looked at")
        with pytest.raises(NotFound, match="nonesuch"):
            infer_files([tmp_path / "scan.nii.gz"], model="nonesuch")
