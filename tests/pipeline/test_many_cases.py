"""Many cases in one call: one that goes wrong stops no other, and what stops all leaves nothing half done."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import medseg
from medseg.errors import NotFound
from medseg.models import ModelBundle
from medseg.pipeline import infer_files
from tests.pipeline.scans import names, save_scan


class TestManyCases:
    def test_one_refused_scan_does_not_stop_the_others(self, tmp_path: Path, model: ModelBundle) -> None:
        for name in "ac":
            save_scan(tmp_path / f"{name}.nii.gz")
        (tmp_path / "b.nii.gz").write_bytes(b"not a scan at all")
        seen = []
        report = infer_files(
            [tmp_path / f"{name}.nii.gz" for name in "abc"],
            model=model,
            progress=lambda *now: seen.append(now),
        )
        assert [case["verdict"] for case in report.cases] == ["ok", "refused", "ok"]
        assert report.exit_code == 4
        assert report.cases[1]["reasons"]
        assert not (tmp_path / "b_seg.json").exists()
        assert [now for now in seen if now[0] == "cases"] == [("cases", n, 3) for n in range(4)]

    def test_a_folder_that_cannot_be_written_fails_the_case_by_name(
        self, tmp_path: Path, model: ModelBundle, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from medseg.pipeline import outputs

        save_scan(tmp_path / "a.nii.gz")

        def full(*_: Any, **__: Any) -> Path:
            raise medseg.errors.WriteFailed("a_seg.nii.gz: could not be written: No space left on device")

        monkeypatch.setattr(outputs, "write", full)
        report = infer_files([tmp_path / "a.nii.gz"], model=model)
        assert report.exit_code == 4
        (case,) = report.cases
        assert (case["verdict"], case["reasons"][0]["code"]) == ("failed", "write-failed")

    def test_an_out_that_cannot_be_a_folder_fails_the_case_by_name(
        self, tmp_path: Path, model: ModelBundle
    ) -> None:
        save_scan(tmp_path / "a.nii.gz")
        (tmp_path / "taken").write_text("a file")
        (case,) = infer_files([tmp_path / "a.nii.gz"], model=model, out=tmp_path / "taken").cases
        assert (case["verdict"], case["reasons"][0]["code"]) == ("failed", "write-failed")
        assert "taken" in case["reasons"][0]["message"]

    def test_too_little_memory_fails_the_case_by_name(self, tmp_path: Path, model: ModelBundle) -> None:
        save_scan(tmp_path / "a.nii.gz")
        (case,) = infer_files([tmp_path / "a.nii.gz"], model=model, max_memory="10 kB").cases
        assert (case["verdict"], case["reasons"][0]["code"]) == ("failed", "out-of-memory")
        assert not (tmp_path / "a_seg.nii.gz").exists()

    def test_a_missing_path_is_told_before_anything_runs(self, tmp_path: Path, model: ModelBundle) -> None:
        save_scan(tmp_path / "a.nii.gz")
        with pytest.raises(NotFound, match=r"b\.nii\.gz"):
            infer_files([tmp_path / "a.nii.gz", tmp_path / "b.nii.gz"], model=model)
        assert names(tmp_path) == ["a.nii.gz"]


def test_an_exception_from_progress_cancels_and_leaves_nothing(tmp_path: Path, model: ModelBundle) -> None:
    save_scan(tmp_path / "scan.nii.gz")

    def cancel(stage: str, done: int, total: int) -> None:
        if stage == "predict" and done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        infer_files([tmp_path / "scan.nii.gz"], model=model, progress=cancel)
    assert names(tmp_path) == ["scan.nii.gz"]
