"""Outputs are named by rule, overwrite nothing unasked, and are made only once."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest

from medseg.errors import UsageError
from medseg.models import ModelBundle
from medseg.pipeline import infer_files
from tests.pipeline.scans import IDS, names, save_scan
from tests.threshold_model import expected_classes, save_threshold_model, threshold_plan


class TestWhereOutputsGo:
    def test_a_known_extension_makes_o_a_file(self, tmp_path: Path, model: ModelBundle) -> None:
        save_scan(tmp_path / "scan.nii.gz")
        infer_files([tmp_path / "scan.nii.gz"], model=model, out=tmp_path / "out" / "mine.nrrd")
        assert names(tmp_path / "out") == ["mine.json", "mine.nrrd"]

    def test_one_file_for_two_inputs_is_refused(self, tmp_path: Path, model: ModelBundle) -> None:
        for name in "ab":
            save_scan(tmp_path / f"{name}.nii.gz")
        with pytest.raises(UsageError, match="one file for 2 inputs: give a folder"):
            infer_files(
                [tmp_path / "a.nii.gz", tmp_path / "b.nii.gz"], model=model, out=tmp_path / "c.nii.gz"
            )

    @pytest.mark.parametrize(
        ("first", "second", "out"),
        [
            ("a/scan.nii.gz", "b/scan.nii.gz", "out"),
            ("scan.nii", "scan.nii.gz", None),
            ("Scan.nii", "scan.nii.gz", None),
        ],
    )
    def test_two_inputs_with_one_stem_are_refused_before_anything_runs(
        self, tmp_path: Path, model: ModelBundle, first: str, second: str, out: str | None
    ) -> None:
        for path in (first, second):
            save_scan(tmp_path / path)
        before = sorted(tmp_path.rglob("*"))
        with pytest.raises(UsageError, match="would both be written to"):
            infer_files([tmp_path / first, tmp_path / second], model=model, out=out and tmp_path / out)
        assert sorted(tmp_path.rglob("*")) == before

    def test_one_name_in_two_folders_is_no_clash(self, tmp_path: Path, model: ModelBundle) -> None:
        for folder in "ab":
            save_scan(tmp_path / folder / "t1.nii.gz")
        assert infer_files([tmp_path / "a/t1.nii.gz", tmp_path / "b/t1.nii.gz"], model=model).exit_code == 0
        assert (tmp_path / "a" / "t1_seg.nii.gz").is_file()
        assert (tmp_path / "b" / "t1_seg.nii.gz").is_file()

    def test_an_input_is_never_overwritten(self, tmp_path: Path, model: ModelBundle) -> None:
        save_scan(tmp_path / "scan.nii.gz")
        with pytest.raises(UsageError, match="is an input"):
            infer_files([tmp_path / "scan.nii.gz"], model=model, out=tmp_path / "scan.nii.gz", overwrite=True)

    @pytest.mark.parametrize("formats", [("dicom-seg",), (), ("nii.gz", "png")])
    def test_a_format_that_cannot_be_written_is_refused(
        self, tmp_path: Path, model: ModelBundle, formats: tuple[str, ...]
    ) -> None:
        save_scan(tmp_path / "scan.nii.gz")
        with pytest.raises(UsageError, match=r"expected some of nii\.gz, nii, nrrd"):
            infer_files([tmp_path / "scan.nii.gz"], model=model, formats=formats)

    def test_a_dicom_folder_is_never_written_into(
        self, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, real_data: Path
    ) -> None:
        model = save_threshold_model(
            tmp_path_factory.mktemp("large") / "m", threshold_plan(patch=(256, 256, 16))
        )
        series = tmp_path / "series"
        shutil.copytree(real_data / "dicom" / "ct_clean_j2k", series)
        before = names(series)
        for out in (series, series / "results"):
            with pytest.raises(UsageError, match="inside the DICOM folder"):
                infer_files([series], model=model, out=out)
        assert infer_files([series], model=model).exit_code == 0
        assert names(series) == before
        assert names(tmp_path) == ["series", "series_seg.json", "series_seg.nii.gz"]
        # One file of it means the whole series, and the same outputs.
        again = infer_files([series / before[3]], model=model)
        assert again.cases[0]["already_done"]


class TestDone:
    def test_a_finished_case_is_not_computed_again(self, tmp_path: Path, model: ModelBundle) -> None:
        save_scan(tmp_path / "scan.nii.gz")
        first = infer_files([tmp_path / "scan.nii.gz"], model=model)
        when = (tmp_path / "scan_seg.nii.gz").stat().st_mtime_ns
        again = infer_files([tmp_path / "scan.nii.gz"], model=model)
        assert again.exit_code == 0
        assert again.cases[0] == {**first.cases[0], "already_done": True}
        assert (tmp_path / "scan_seg.nii.gz").stat().st_mtime_ns == when

    @pytest.mark.parametrize(
        "change", ["input", "options", "model", "sidecar", "no sidecar", "format", "preview"]
    )
    def test_anything_else_is_kept_and_refused_unless_overwrite(
        self, tmp_path: Path, model: ModelBundle, change: str
    ) -> None:
        scan, sidecar = tmp_path / "scan.nii.gz", tmp_path / "scan_seg.json"
        save_scan(scan)
        infer_files([scan], model=model)
        options: dict[str, Any] = {"model": model}
        if change == "input":
            save_scan(scan, seed=1)
        elif change == "options":
            options["overlap"] = 0.25
        elif change == "model":
            options["model"] = save_threshold_model(tmp_path / "other", threshold_plan(patch=(8, 8, 8)))
        elif change == "sidecar":
            sidecar.write_text('{"labels": []}')
        elif change == "no sidecar":
            sidecar.unlink()
        elif change == "format":
            options["formats"] = ("nii.gz", "nrrd")
        else:
            options["preview"] = True
        kept = (tmp_path / "scan_seg.nii.gz").read_bytes()

        report = infer_files([scan], **options)
        assert report.exit_code == 3
        (case,) = report.cases
        assert (case["verdict"], case["segmentation"]) == ("refused", None)
        assert case["reasons"][0]["code"] == "output-exists"
        assert "--overwrite" in case["reasons"][0]["message"]
        assert (tmp_path / "scan_seg.nii.gz").read_bytes() == kept

        report = infer_files([scan], **options, overwrite=True)
        assert report.exit_code == 0
        data = np.asanyarray(nibabel.load(scan).dataobj)
        written = np.asanyarray(nibabel.load(tmp_path / "scan_seg.nii.gz").dataobj)
        np.testing.assert_array_equal(written, IDS[expected_classes(data)])

    def test_a_case_that_was_interrupted_while_writing_is_run_again(
        self, tmp_path: Path, model: ModelBundle, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from medseg.pipeline import outputs

        scan = tmp_path / "scan.nii.gz"
        data = save_scan(scan)
        whole = outputs.write

        def stopped(item: Any, path: Path, *, overwrite: bool) -> Path:
            if path.name.endswith(".nrrd"):
                raise KeyboardInterrupt
            return whole(item, path, overwrite=overwrite)

        monkeypatch.setattr(outputs, "write", stopped)
        with pytest.raises(KeyboardInterrupt):
            infer_files([scan], model=model, formats=("nii.gz", "nrrd"))
        monkeypatch.undo()
        left = json.loads((tmp_path / "scan_seg.json").read_text())
        assert (left["verdict"], left["segmentation"]) == ("failed", None)
        assert left["reasons"][0]["code"] == "interrupted"

        report = infer_files([scan], model=model, formats=("nii.gz", "nrrd"))
        assert report.exit_code == 0
        assert names(tmp_path) == ["scan.nii.gz", "scan_seg.json", "scan_seg.nii.gz", "scan_seg.nrrd"]
        written = np.asanyarray(nibabel.load(tmp_path / "scan_seg.nii.gz").dataobj)
        np.testing.assert_array_equal(written, IDS[expected_classes(data)])
