"""Many cases in one call: one that goes wrong stops no other, and what stops all leaves nothing half done."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest

import medseg
from medseg.errors import ModelRefused, NotFound
from medseg.models import ModelBundle
from medseg.pipeline import infer_files
from tests.pipeline.scans import IDS, ends, names, save_scan
from tests.threshold_model import expected_classes, save_threshold_model, threshold_plan


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


def test_ctrl_c_in_the_third_case_leaves_two_whole_and_the_next_call_does_the_rest(
    tmp_path: Path, model: ModelBundle
) -> None:
    scans = [tmp_path / "in" / f"s{n}.nii.gz" for n in range(5)]
    data = [save_scan(scan, seed=n) for n, scan in enumerate(scans)]
    out = tmp_path / "out"
    turn = []

    def cancel(stage: str, done: int, total: int) -> None:
        if stage == "cases":
            turn.append(done)
        elif turn[-1] == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        infer_files(scans, model=model, out=out, progress=cancel)
    assert names(out) == ["s0_seg.json", "s0_seg.nii.gz", "s1_seg.json", "s1_seg.nii.gz"]
    assert ends("medseg writes")

    report = infer_files(scans, model=model, out=out)
    assert [case.get("already_done", False) for case in report.cases] == [True, True, False, False, False]
    for scan, case in zip(data, report.cases, strict=True):
        written = np.asanyarray(nibabel.load(case["segmentation"]).dataobj)
        np.testing.assert_array_equal(written, IDS[expected_classes(scan)])


def test_progress_is_called_in_the_callers_thread_case_by_case(tmp_path: Path, model: ModelBundle) -> None:
    for n in range(4):
        save_scan(tmp_path / f"s{n}.nii.gz", seed=n)
    seen = []
    here = threading.get_ident()

    def progress(stage: str, done: int, total: int) -> None:
        assert threading.get_ident() == here
        seen.append((stage, done))

    infer_files([tmp_path / f"s{n}.nii.gz" for n in range(4)], model=model, progress=progress)
    windows = [("predict", done) for done in range(1, 9)]
    assert seen == [one for n in range(4) for one in (("cases", n), *windows)] + [("cases", 4)]


def test_a_model_that_is_broken_ends_the_call_not_the_case(tmp_path: Path) -> None:
    model = save_threshold_model(tmp_path / "broken")
    (model.path / "models" / "model.onnx").write_bytes(b"not the file it was")
    for n in range(3):
        save_scan(tmp_path / "in" / f"s{n}.nii.gz", seed=n)
    with pytest.raises(ModelRefused, match=r"model\.onnx"):
        infer_files(sorted((tmp_path / "in").iterdir()), model=model.path, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_call_that_is_wrong_for_one_case_refuses_that_case(tmp_path: Path) -> None:
    model = save_threshold_model(tmp_path / "two", threshold_plan(channels=("flair", "t1")))
    save_scan(tmp_path / "a.nii.gz")
    save_scan(tmp_path / "b.nii.gz")
    right = {"flair": tmp_path / "a.nii.gz", "t1": tmp_path / "b.nii.gz"}
    wrong = {"flair": tmp_path / "b.nii.gz", "t2": tmp_path / "a.nii.gz"}
    report = infer_files(model=model, case=[wrong, right])
    assert [case["verdict"] for case in report.cases] == ["refused", "ok"]
    assert report.cases[0]["reasons"][0]["code"] == "option-does-not-fit"


@pytest.mark.parametrize("room", [True, False])
def test_under_a_memory_limit_the_next_scan_is_read_ahead_only_where_there_is_room(
    tmp_path: Path, model: ModelBundle, monkeypatch: pytest.MonkeyPatch, room: bool
) -> None:
    from medseg.pipeline import steps

    monkeypatch.setattr(steps, "_SHARE_OF_A_SCAN", 16 if room else 10**9)
    data = [save_scan(tmp_path / f"s{n}.nii.gz", seed=n) for n in range(3)]
    scans = [tmp_path / f"s{n}.nii.gz" for n in range(3)]
    read, seen = threading.Event(), []
    whole = steps.read_scan

    def noted(case: Any, *others: Any) -> Any:
        if case.path == scans[1]:
            read.set()
        return whole(case, *others)

    monkeypatch.setattr(steps, "read_scan", noted)

    def progress(stage: str, done: int, total: int) -> None:
        if stage == "predict" and not seen:  # the first window of the first scan
            seen.append(read.wait(30 if room else 0.3))

    report = infer_files(scans, model=model, max_memory="60GB", progress=progress)
    assert seen == [room]
    for scan, case in zip(data, report.cases, strict=True):
        written = np.asanyarray(nibabel.load(case["segmentation"]).dataobj)
        np.testing.assert_array_equal(written, IDS[expected_classes(scan)])


def test_an_exception_from_progress_cancels_and_leaves_nothing(tmp_path: Path, model: ModelBundle) -> None:
    save_scan(tmp_path / "scan.nii.gz")

    def cancel(stage: str, done: int, total: int) -> None:
        if stage == "predict" and done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        infer_files([tmp_path / "scan.nii.gz"], model=model, progress=cancel)
    assert names(tmp_path) == ["scan.nii.gz"]
