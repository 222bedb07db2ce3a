"""run_cohort: every case is done or named, and a repeat does exactly what is missing."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import nibabel
import numpy as np
import pandas as pd
import pytest

import medseg
from medseg.errors import UsageError
from tests.cohort.studies import SHAPE, InProcess, expected_labels, save_scan, voxel_ml, write_manifest
from tests.threshold_model import save_threshold_model, threshold_plan


def _read(path: Path) -> dict[str, dict[str, str]]:
    return pd.read_csv(path).set_index("case_id", drop=False).to_dict("index")


def _times(study: Path) -> dict[str, int]:
    """When each segmentation was written: a case that was not done again keeps its time."""
    return {path.name[:-11]: path.stat().st_mtime_ns for path in study.glob("segmentations/*.nii.gz")}


def _rerun(model: Path, tmp_path: Path, **options: object) -> tuple[medseg.Study, set[str]]:
    """The same study again, and which cases were done anew."""
    before = _times(tmp_path / "study")
    study = medseg.run_cohort(tmp_path / "cases.csv", model, tmp_path / "study", **options)
    now = _times(tmp_path / "study")
    return study, {case for case in now if now[case] != before.get(case)}


@pytest.fixture(autouse=True)
def in_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is to be done does not depend on who does it; real workers are in test_workers.py."""
    monkeypatch.setattr("medseg.cohort.run.open_executor", InProcess)


@pytest.fixture
def study(model: Path, manifest: Path, tmp_path: Path) -> medseg.Study:
    """The five cases, done."""
    return medseg.run_cohort(manifest, model, tmp_path / "study")


def test_labels_and_table_are_those_of_the_plain_computation(study: medseg.Study, tmp_path: Path) -> None:
    assert study.counts == {"total": 5, "done": 5, "failed": 0, "pending": 0, "running": 0}
    assert study.exit_code == 0
    table = pd.read_parquet(tmp_path / "study" / "table.parquet")
    assert list(table.case_id) == [f"c{n}" for n in range(5) for _ in range(2)]
    for case in study.cases:
        (_, scan), expected = case.images[0], expected_labels(case.images[0][1])
        written = nibabel.load(case.segmentation)
        assert np.array_equal(np.asarray(written.dataobj), expected)
        assert np.array_equal(written.affine, nibabel.load(scan).affine)
        rows = table[table.case_id == case.case_id].set_index("label_id")
        for label in (7, 255):
            assert rows.voxels[label] == np.count_nonzero(expected == label)
            assert rows.volume_ml[label] == pytest.approx(np.count_nonzero(expected == label) * voxel_ml())
    assert list(table.age.unique()) == [40, 41, 42, 43, 44]
    pd.testing.assert_frame_equal(study.table(), table)
    as_text = pd.read_csv(tmp_path / "study" / "table.csv")
    assert np.array_equal(as_text.volume_ml, table.volume_ml)
    described = pd.read_csv(tmp_path / "study" / "table.dictionary.csv")
    assert list(described.column) == list(table.columns)


def test_a_repeat_does_nothing_and_writes_the_same_table(
    study: medseg.Study, model: Path, tmp_path: Path
) -> None:
    first = (tmp_path / "study" / "table.parquet").read_bytes()
    _, again = _rerun(model, tmp_path)
    assert again == set()
    assert (tmp_path / "study" / "table.parquet").read_bytes() == first


def test_bad_cases_fail_alone_each_with_its_reason(model: Path, tmp_path: Path) -> None:
    good = save_scan(tmp_path / "good.nii.gz", 1)
    (tmp_path / "cut.nii.gz").write_bytes(good.read_bytes()[:3000])
    (tmp_path / "text.nii.gz").write_text("no image" * 100)
    scan = np.asarray(nibabel.load(good).dataobj).copy()
    scan[3, 4, 5] = np.nan
    nibabel.save(nibabel.Nifti1Image(scan, nibabel.load(good).affine), tmp_path / "nan.nii.gz")
    shutil.copy(good, tmp_path / "same.nii.gz")
    names = ("cut", "good", "text", "nan", "gone", "same")
    rows = [{"case_id": name, "image": f"{name}.nii.gz"} for name in names]
    study = medseg.run_cohort(write_manifest(tmp_path / "m.csv", rows), model, tmp_path / "study")
    assert study.exit_code == 4
    reasons = {case.case_id: case.verdict.codes[0] for case in study.failures}
    assert reasons == {
        "cut": "truncated",
        "text": "bad-header",
        "nan": "non-finite",
        "gone": "missing-file",
        "same": "duplicate-input",
    }
    table = study.table()
    assert list(dict.fromkeys(table.case_id)) == list(names)
    assert set(table[table.volume_ml.notna()].case_id) == {"good"}
    assert [path.name for path in (tmp_path / "study" / "segmentations").glob("*.gz")] == ["good_seg.nii.gz"]


def test_of_cases_with_one_content_the_first_of_the_manifest_is_run(model: Path, tmp_path: Path) -> None:
    for number in range(6):
        save_scan(tmp_path / f"s{number}.nii.gz", number)
    for number in (0, 3, 5):
        shutil.copy(tmp_path / "s2.nii.gz", tmp_path / f"s{number}.nii.gz")
    rows = [{"case_id": f"s{n}", "image": f"s{n}.nii.gz"} for n in range(6)]
    study = medseg.run_cohort(write_manifest(tmp_path / "m.csv", rows), model, tmp_path / "study")
    assert [case.case_id for case in study.failures] == ["s2", "s3", "s5"]
    # The manifest turned round: now the last of them comes first.
    study = medseg.run_cohort(write_manifest(tmp_path / "m.csv", rows[::-1]), model, tmp_path / "study")
    assert [case.case_id for case in study.failures] == ["s3", "s2", "s0"]
    assert [case.case_id for case in study.cases if case.state == "done"] == ["s5", "s4", "s1"]


def test_only_the_case_whose_input_changed_is_done_again(
    study: medseg.Study, model: Path, tmp_path: Path
) -> None:
    save_scan(tmp_path / "scans" / "scan2.nii.gz", 99)
    os.utime(tmp_path / "scans" / "scan3.nii.gz")  # touched: the same contents
    study, again = _rerun(model, tmp_path)
    assert again == {"c2"}
    written = np.asarray(nibabel.load(study.cases[2].segmentation).dataobj)
    assert np.array_equal(written, expected_labels(tmp_path / "scans" / "scan2.nii.gz"))


def test_a_change_that_keeps_size_and_time_is_found_when_contents_are_checked(
    study: medseg.Study, model: Path, tmp_path: Path
) -> None:
    path = tmp_path / "scans" / "scan1.nii.gz"
    content, before = bytearray(path.read_bytes()), path.stat()
    content[4] ^= 1  # the time of compression in gzip's header: no voxel changes
    path.write_bytes(content)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert _rerun(model, tmp_path)[1] == set()
    assert _rerun(model, tmp_path, check_contents=True)[1] == {"c1"}


def test_another_model_or_option_does_all_again(study: medseg.Study, model: Path, tmp_path: Path) -> None:
    assert _rerun(model, tmp_path, overlap=0.25)[1] == {"c0", "c1", "c2", "c3", "c4"}
    other = save_threshold_model(tmp_path / "other", threshold_plan(name="other")).path
    assert _rerun(other, tmp_path, overlap=0.25)[1] == {"c0", "c1", "c2", "c3", "c4"}


def test_what_was_deleted_is_made_again(study: medseg.Study, model: Path, tmp_path: Path) -> None:
    (tmp_path / "study" / "segmentations" / "c4_seg.nii.gz").unlink()
    (tmp_path / "study" / "segmentations" / "c1_seg.json").unlink()
    assert _rerun(model, tmp_path)[1] == {"c1", "c4"}


def test_a_corrected_segmentation_is_never_overwritten_unasked(
    study: medseg.Study, model: Path, tmp_path: Path
) -> None:
    corrected = tmp_path / "study" / "segmentations" / "c0_seg.nii.gz"
    image = nibabel.load(corrected)
    nibabel.save(nibabel.Nifti1Image(np.full(SHAPE, 7, np.uint8), image.affine), corrected)
    content = corrected.read_bytes()
    kept, again = _rerun(model, tmp_path)  # nothing asks for a new one
    assert again == set()
    assert kept.exit_code == 0
    for _ in range(2):
        changed, again = _rerun(model, tmp_path, overlap=0.25)
        assert again <= {"c1", "c2", "c3", "c4"}
        assert [(case.case_id, case.verdict.codes) for case in changed.failures] == [
            ("c0", ("output-changed",))
        ]
        assert corrected.read_bytes() == content
    assert _rerun(model, tmp_path, overlap=0.25, overwrite=True)[0].exit_code == 0
    assert corrected.read_bytes() != content


def test_a_missing_file_that_turns_up_is_run(study: medseg.Study, model: Path, tmp_path: Path) -> None:
    rows = list(pd.read_csv(tmp_path / "cases.csv").to_dict("records"))
    write_manifest(tmp_path / "cases.csv", [*rows, {"case_id": "late", "image": "late.nii.gz"}])
    assert _rerun(model, tmp_path)[0].exit_code == 4
    save_scan(tmp_path / "late.nii.gz", 50)
    study, again = _rerun(model, tmp_path)
    assert again == {"late"}
    assert study.exit_code == 0


def test_results_stay_when_scans_are_put_away(study: medseg.Study, model: Path, tmp_path: Path) -> None:
    (tmp_path / "scans").rename(tmp_path / "archive")
    study, again = _rerun(model, tmp_path)
    assert (again, study.exit_code) == (set(), 0)


def test_a_case_that_left_the_manifest_leaves_the_table(
    study: medseg.Study, model: Path, tmp_path: Path
) -> None:
    rows = pd.read_csv(tmp_path / "cases.csv").to_dict("records")
    write_manifest(tmp_path / "cases.csv", [rows[3], rows[0]])
    study, again = _rerun(model, tmp_path)
    assert again == set()
    assert list(dict.fromkeys(study.table().case_id)) == ["c3", "c0"]


def test_a_study_that_was_copied_is_known_again(study: medseg.Study, model: Path, tmp_path: Path) -> None:
    shutil.copytree(tmp_path / "study", tmp_path / "copy", copy_function=shutil.copyfile)
    before = _times(tmp_path / "copy")
    medseg.run_cohort(tmp_path / "cases.csv", model, tmp_path / "copy")
    assert _times(tmp_path / "copy") == before


def test_sidecars_name_the_case_and_no_path(study: medseg.Study, tmp_path: Path) -> None:
    for path in (tmp_path / "study" / "segmentations").glob("*.json"):
        document = json.loads(path.read_text())
        assert document["input"] == path.name.removesuffix("_seg.json")
        assert document["segmentation"] == f"{document['input']}_seg.nii.gz"
        assert str(tmp_path) not in path.read_text()


def test_segmentations_without_a_ledger_are_left_alone(model: Path, manifest: Path, tmp_path: Path) -> None:
    save_scan(tmp_path / "study" / "segmentations" / "c0_seg.nii.gz", 0)
    with pytest.raises(UsageError, match="no ledger"):
        medseg.run_cohort(manifest, model, tmp_path / "study")


def test_channels_that_the_model_does_not_have_are_refused_before_anything_runs(
    model: Path, tmp_path: Path
) -> None:
    rows = [{"case_id": "a", "image_t1": "a.nii.gz", "image_t2": "b.nii.gz"}]
    with pytest.raises(UsageError, match="image_t1, image_t2"):
        medseg.run_cohort(write_manifest(tmp_path / "m.csv", rows), model, tmp_path / "study")
    assert not (tmp_path / "study").exists()


def test_an_exception_from_progress_ends_the_run_and_a_repeat_does_the_rest(
    model: Path, manifest: Path, tmp_path: Path
) -> None:
    def stop(stage: str, done: int, total: int) -> None:
        if done:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        medseg.run_cohort(manifest, model, tmp_path / "study", progress=stop)
    counts = medseg.open_study(tmp_path / "study").counts
    assert counts["done"] >= 1
    assert counts["running"] == 0
    study, again = _rerun(model, tmp_path)
    assert len(again) <= 5 - counts["done"]
    assert study.exit_code == 0


def test_what_does_not_fit_into_memory_fails_and_is_tried_again(
    model: Path, manifest: Path, tmp_path: Path
) -> None:
    study = medseg.run_cohort(manifest, model, tmp_path / "study", max_memory="1MB")
    assert {case.verdict.codes for case in study.failures} == {("out-of-memory",)}
    study, again = _rerun(model, tmp_path)
    assert (len(again), study.exit_code) == (5, 0)


def test_a_study_is_of_one_model_and_options_also_where_a_change_was_interrupted(
    study: medseg.Study, model: Path, tmp_path: Path
) -> None:
    first = (tmp_path / "study" / "table.csv").read_bytes()
    told: list[str] = []

    def stop(stage: str, done: int, total: int) -> None:
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        _rerun(model, tmp_path, overlap=0.25, progress=stop, tell=told.append)
    assert [text[:55] for text in told] == ["5 cases done before with another model or other options"]
    mixed = medseg.open_study(tmp_path / "study")
    assert (mixed.counts["done"], mixed.counts["pending"]) == (2, 3)
    assert set(mixed.table().dropna(subset="volume_ml").case_id) == {"c0", "c1"}
    assert not (tmp_path / "study" / "table.csv").exists()
    # The old options again: those results are still there that no run had begun to replace.
    _, again = _rerun(model, tmp_path, tell=told.append)
    assert again == {"c0", "c1", "c2"}
    assert (tmp_path / "study" / "table.csv").read_bytes() == first
    _rerun(model, tmp_path, tell=told.append)
    assert told[-1] == "nothing to do: every case is finished"


def test_results_whose_scans_were_put_away_wait_for_their_options(
    study: medseg.Study, model: Path, tmp_path: Path
) -> None:
    (tmp_path / "scans").rename(tmp_path / "archive")
    told: list[str] = []
    other, again = _rerun(model, tmp_path, overlap=0.25, tell=told.append)
    assert again == set()
    assert (other.counts["pending"], other.exit_code) == (5, 4)
    assert "the scans are not there any more" in told[-1]
    assert _rerun(model, tmp_path)[0].counts["done"] == 5
