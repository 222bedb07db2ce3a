"""The review queue: which cases there are, in which order, and what becomes of them."""

from __future__ import annotations

import json
import os
import shutil

import nibabel as nib
import numpy as np
import pytest
from napari_medseg.layers import Opening
from napari_medseg.recovery.known_scan import KnownScan
from napari_medseg.recovery.sessions import open_session
from napari_medseg.reviewing.case_loading import load_case
from napari_medseg.reviewing.review import ReviewQueue
from napari_medseg.reviewing.review_files import find_cases

import medseg
from medseg import InputRefused, LabelSet, UsageError, Volume
from medseg.errors import NotFound
from tests.cohort.studies import InProcess, expected_labels, save_scan, write_manifest
from tests.napari.session_case import SHAPE, label_map, oblique
from tests.threshold_model import save_threshold_model


def _scan(path, seed=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    data = np.random.default_rng(seed).integers(0, 900, SHAPE).astype(np.int16)
    nib.save(nib.Nifti1Image(data, oblique()), path)
    return path


def _segmented(folder, case, given, *, verdict="ok", quality=(0.9, 0.9, 0.9), seed=0):
    """What ``medseg infer`` leaves of a case: the label file and its sidecar."""
    folder.mkdir(parents=True, exist_ok=True)
    labels = medseg.write(label_map(seed=seed), folder / f"{case}_seg.nii.gz")
    names = label_map().labels
    sidecar = {
        "format_version": 1,
        "input": str(given),
        "segmentation": str(labels),
        "verdict": verdict,
        "reasons": [{"code": "low-quality", "message": "look at it"}] if verdict == "warning" else [],
        "labels": [
            {"id": one.id, "name": one.name, "quality": value}
            for one, value in zip(names, quality, strict=True)
        ],
        "provenance": {"model": {"name": "brain", "sha256": "ab" * 32}},
    }
    (folder / f"{case}_seg.json").write_text(json.dumps(sidecar))
    return labels


@pytest.fixture
def cohort(tmp_path):
    """Five scans beside their results; one has none, one was refused."""
    folder = tmp_path / "cohort"
    for n, (case, verdict, quality) in enumerate([
        ("fine", "ok", (0.9, 0.9, None)),
        ("poor", "ok", (0.5, 0.9, 0.6)),
        ("warned", "warning", (0.95, 0.95, 0.95)),
    ]):  # fmt: skip
        scan = _scan(folder / f"{case}.nii.gz", n)
        _segmented(folder, case, scan.name, verdict=verdict, quality=quality, seed=n)
    _scan(folder / "untouched.nii.gz", 7)
    scan = _scan(folder / "refused.nii.gz", 8)
    refusal = {"format_version": 1, "input": str(scan), "segmentation": None, "verdict": "refused"}
    (folder / "refused_seg.json").write_text(json.dumps({**refusal, "labels": [], "provenance": {}}))
    return folder


def _correct(queue, case_id, tmp_path, value=3, who="B. Reader"):
    """Open a case of a queue, paint, save it as corrected; the array that was saved."""
    case = queue[case_id]
    session = open_session(
        medseg.read_labels(case.labels),
        case=case.id,
        scan=KnownScan(tuple(path for _, path in case.files.images)),
        labels_path=case.labels,
        root=tmp_path / "sessions",
    )
    with session.step():
        session.array[2:6, 1:4, 0:2] = value
    queue.save_corrected(case_id, session, who=who)
    session.close()
    return session.array


def test_the_worst_cases_come_first_and_unknown_ones_last(cohort):
    queue = ReviewQueue(cohort)
    assert [case.id for case in queue] == ["refused", "warned", "poor", "fine", "untouched"]
    assert {case.status for case in queue} == {"to do"}
    assert queue["warned"].files.reasons == ("look at it",)
    assert queue["untouched"].labels is None
    assert queue["poor"].labels == cohort / "poor_seg.nii.gz"
    assert queue["poor"].files.images == (("", cohort / "poor.nii.gz"),)


def test_going_on_and_back_ends_at_the_ends_and_can_skip_what_is_finished(cohort):
    queue = ReviewQueue(cohort)
    assert queue.next().id == "refused"
    assert queue.next("poor").id == "fine"
    assert queue.previous("poor").id == "warned"
    assert queue.next("untouched") is None
    assert queue.previous("refused") is None
    queue.set_status("poor", "accepted")
    queue.set_status("fine", "in progress")
    assert queue.next("warned", open_only=True).id == "fine"
    with pytest.raises(UsageError, match="to do, in progress, corrected, accepted, rejected"):
        queue.set_status("fine", "done")
    with pytest.raises(UsageError, match="no corrected labels"):
        queue.set_status("fine", "corrected")


def test_status_is_kept_for_the_next_window_and_two_windows_do_not_overwrite_each_other(cohort):
    one, two = ReviewQueue(cohort), ReviewQueue(cohort)
    one.set_status("poor", "rejected", who="A")
    two.set_status("fine", "accepted", who="B")
    found = {case.id: (case.status, case.who) for case in ReviewQueue(cohort)}
    assert (found["poor"], found["fine"]) == (("rejected", "A"), ("accepted", "B"))


def test_corrected_cases_are_a_training_dataset_at_once(cohort, tmp_path):
    from medseg.datasets import read_dataset

    queue = ReviewQueue(cohort)
    model_made = (cohort / "poor_seg.nii.gz").read_bytes()
    arrays = {case: _correct(queue, case, tmp_path) for case in ("poor", "fine")}
    dataset = read_dataset(queue.dataset_path)
    assert [case.id for case in dataset.cases] == ["fine", "poor"]
    assert dataset.labels.names == label_map().labels.names
    for case in dataset.cases:
        np.testing.assert_array_equal(np.asanyarray(nib.load(case.label).dataobj), arrays[case.id])
        assert case.images[0].read_bytes() == (cohort / f"{case.id}.nii.gz").read_bytes()
    facts = json.loads((queue.dataset_path / "dataset.json").read_text())
    assert facts["numTraining"] == 2  # nnU-Net's own check
    assert (cohort / "poor_seg.nii.gz").read_bytes() == model_made


def test_a_rejected_case_leaves_the_dataset_and_comes_back_with_its_correction(cohort, tmp_path):
    from medseg.datasets import read_dataset

    queue = ReviewQueue(cohort)
    array = _correct(queue, "poor", tmp_path)
    _correct(queue, "fine", tmp_path)
    rejected = queue.set_status("poor", "rejected")
    assert [case.id for case in read_dataset(queue.dataset_path).cases] == ["fine"]
    np.testing.assert_array_equal(np.asanyarray(nib.load(rejected.labels).dataobj), array)
    queue.set_status("poor", "corrected")
    assert [case.id for case in read_dataset(queue.dataset_path).cases] == ["fine", "poor"]


def test_time_and_voxels_add_up_over_sessions_and_tell_who(cohort, tmp_path):
    queue = ReviewQueue(cohort)
    start = np.asanyarray(nib.load(cohort / "poor_seg.nii.gz").dataobj)
    first = _correct(queue, "poor", tmp_path, value=3, who="A")
    second = _correct(ReviewQueue(cohort), "poor", tmp_path, value=1, who="B")  # from the corrected labels
    case = ReviewQueue(cohort)["poor"]
    assert (case.status, case.who, [one["who"] for one in case.sessions]) == ("corrected", "B", ["A", "B"])
    assert case.active_seconds == sum(one["active_seconds"] for one in case.sessions)
    steps = ((start, first), (first, second))
    for name, label in (("tumour", 1), ("oedema", 3)):
        added = sum(((new == label) & (old != label)).sum() for old, new in steps)
        removed = sum(((old == label) & (new != label)).sum() for old, new in steps)
        assert case.changed[name] == (added, removed)


def test_an_image_is_copied_where_the_system_has_no_links(cohort, tmp_path, monkeypatch):
    def no_links(*paths):
        raise OSError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", no_links)
    queue = ReviewQueue(cohort)
    _correct(queue, "poor", tmp_path)
    copy = queue.dataset_path / "imagesTr" / "poor_0000.nii.gz"
    assert copy.read_bytes() == (cohort / "poor.nii.gz").read_bytes()
    assert not copy.samefile(cohort / "poor.nii.gz")


def test_labels_that_mean_something_else_than_before_are_refused(cohort, tmp_path):
    queue = ReviewQueue(cohort)
    _correct(queue, "poor", tmp_path)
    labels = label_map()
    session = open_session(labels, case="fine", root=tmp_path / "sessions")
    session.set_labels(LabelSet.from_names({1: "tumour", 3: "cyst", 200: "vessel"}))
    with pytest.raises(UsageError, match="label 3 is 'cyst', in the cases before it is 'oedema'"):
        queue.save_corrected("fine", session)
    assert queue["fine"].status == "to do"
    session.close(discard=True)


def test_a_study_finds_its_scans_by_the_sidecars_or_in_a_folder_that_is_named(tmp_path):
    study, scans = tmp_path / "study", tmp_path / "scans"
    by_sidecar = _scan(tmp_path / "elsewhere" / "a.nii.gz")
    _scan(scans / "b.nii.gz")
    _segmented(study / "segmentations", "a", by_sidecar)
    _segmented(study / "segmentations", "b", "case b")
    _segmented(study / "segmentations", "c", "gone.nii.gz")
    found = {case.id: [path for _, path in case.images] for case in find_cases(study, scans)}
    assert found == {"a": [by_sidecar], "b": [scans / "b.nii.gz"], "c": []}
    beside = _scan(tmp_path / "given" / "d.nii.gz")
    _segmented(tmp_path / "out", "d", "given/d.nii.gz")  # as `medseg infer given/d.nii.gz -o out` writes it
    assert find_cases(tmp_path / "out")[0].images == (("", beside),)
    queue = ReviewQueue(study, scans)
    assert queue.status_path == study / "review.json"
    session = open_session(label_map(), case="c", root=tmp_path / "sessions")
    with pytest.raises(UsageError, match="scan was not found"):
        queue.save_corrected("c", session)
    session.close()


@pytest.fixture
def cohort_study(tmp_path, monkeypatch):
    """What ``medseg cohort run`` leaves of four scans: plain, sheared, damaged, and moved since."""
    monkeypatch.setattr("medseg.cohort.run.open_executor", InProcess)
    model = save_threshold_model(tmp_path / "model").path
    scans = tmp_path / "scans"
    paths = {
        case: save_scan(scans / f"{case} 1.nii.gz", n) for n, case in enumerate(("plain", "sheared", "moved"))
    }
    image = nib.load(paths["sheared"])
    affine = image.affine.copy()
    affine[:3, 2] += 0.06 * affine[:3, 1]
    nib.save(nib.Nifti1Image(image.get_fdata(dtype=np.float32), affine), paths["sheared"])
    paths["damaged"] = scans / "damaged 1.nii.gz"
    paths["damaged"].write_bytes(b"no scan")
    rows = [{"case_id": case, "image": path} for case, path in paths.items()]
    manifest = write_manifest(tmp_path / "cases.csv", rows)
    medseg.run_cohort(manifest, model, tmp_path / "study", allow=["shear"], pictures=False)
    (tmp_path / "archive").mkdir()
    shutil.move(paths["moved"], tmp_path / "archive")
    return tmp_path / "study", paths


def test_a_study_of_a_cohort_opens_with_the_scans_that_its_ledger_names(cohort_study, tmp_path):
    from medseg.datasets import read_dataset

    study, paths = cohort_study
    found = {case.id: case for case in ReviewQueue(study)}
    assert list(found)[:2] == ["damaged", "sheared"]  # refused, then with a warning
    assert {case: [path for _, path in one.files.images] for case, one in found.items()} == {
        case: [] if case == "moved" else [path] for case, path in paths.items()
    }
    assert found["damaged"].labels is None
    assert any("damaged" in reason for reason in found["damaged"].files.reasons)
    queue = ReviewQueue(study, tmp_path / "archive")
    assert queue["moved"].files.images == (("", tmp_path / "archive" / "moved 1.nii.gz"),)
    for case in ("plain", "moved"):
        labels = _correct(queue, case, tmp_path, value=7)
        expected = expected_labels(queue[case].files.images[0][1])
        expected[2:6, 1:4, 0:2] = 7
        np.testing.assert_array_equal(labels, expected)
    assert [case.id for case in read_dataset(queue.dataset_path).cases] == ["moved", "plain"]


def test_what_was_allowed_for_a_study_is_allowed_when_its_case_is_opened(cohort_study, tmp_path):
    study, paths = cohort_study
    with pytest.raises(InputRefused, match="right angles"):
        medseg.read(paths["sheared"])
    loaded = load_case(ReviewQueue(study), "sheared", tmp_path / "sessions")
    np.testing.assert_array_equal(loaded.session.array, expected_labels(paths["sheared"]))
    assert loaded.session.scan.opening == Opening(None, ("shear",))
    assert any("right angles" in notice for notice in loaded.notices)
    loaded.session.close()


def test_a_case_whose_scan_was_replaced_since_comes_back_with_a_warning(cohort, tmp_path):
    queue, root = ReviewQueue(cohort), tmp_path / "sessions"
    for replaced in (False, True):
        loaded = load_case(queue, "poor", root)
        assert any("not those of the scan" in notice for notice in loaded.notices) == replaced
        loaded.session.array[1, 1, 1] ^= 1
        loaded.session.sync(everything=True)
        loaded.session.close()
        _scan(cohort / "poor.nii.gz", seed=99)


def test_channels_of_a_case_keep_their_names_and_become_files_of_the_dataset(tmp_path):
    from medseg.datasets import read_dataset

    folder = tmp_path / "out"
    t1, flair = (_scan(tmp_path / "in" / name, n) for n, name in enumerate(("t1.nii.gz", "flair.nii.gz")))
    _segmented(folder, "t1", f"t1={t1},flair={flair}")
    queue = ReviewQueue(folder)
    assert queue["t1"].files.images == (("t1", t1), ("flair", flair))
    _correct(queue, "t1", tmp_path)
    dataset = read_dataset(queue.dataset_path)
    assert dataset.channels == ("t1", "flair")
    assert [image.read_bytes() for image in dataset.cases[0].images] == [t1.read_bytes(), flair.read_bytes()]


def test_a_list_names_cases_images_and_labels(tmp_path):
    scan = _scan(tmp_path / "data" / "x.nii.gz")
    _segmented(tmp_path / "data", "x", scan)
    listed = tmp_path / "list.csv"
    listed.write_text("case,image,labels\nfirst,data/x.nii.gz,data/x_seg.nii.gz\n,data/x.nii.gz,\n")
    queue = ReviewQueue(listed)
    assert [case.id for case in queue] == ["first", "x"]
    assert queue["first"].labels == tmp_path / "data" / "x_seg.nii.gz"
    queue.set_status("x", "accepted")
    assert (tmp_path / "list.review.json").is_file()
    listed.write_text("name,path\na,b\n")
    with pytest.raises(InputRefused, match="expected a column 'image'"):
        ReviewQueue(listed)
    listed.write_text("image\ndata/none.nii.gz\n")
    with pytest.raises(NotFound, match=r"line 2: .*none\.nii\.gz"):
        ReviewQueue(listed)


def test_a_dicom_series_becomes_a_nifti_file_of_the_dataset(real_data, tmp_path):
    from medseg.datasets import read_dataset

    folder = tmp_path / "out"
    series = shutil.copytree(real_data / "dicom" / "ct_clean_j2k", folder / "ct")
    scan = medseg.read(series)
    labels = real_data / "ct" / "example_seg_dicom.nii.gz"
    shutil.copy(labels, folder / "ct_seg.nii.gz")
    (folder / "ct_seg.json").write_text(json.dumps({"input": str(series), "verdict": "ok"}))
    queue = ReviewQueue(folder)
    session = open_session(medseg.read_labels(queue["ct"].labels), case="ct", root=tmp_path / "sessions")
    queue.save_corrected("ct", session, scan=scan)
    session.close()
    (case,) = read_dataset(queue.dataset_path).cases
    stored = medseg.read(case.images[0])
    assert isinstance(stored, Volume)
    np.testing.assert_array_equal(stored.data, scan.data)
    assert stored.geometry.same_grid(scan.geometry)


def test_a_folder_without_cases_and_a_broken_status_file_are_refused_at_once(cohort, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputRefused, match="no case"):
        ReviewQueue(tmp_path / "empty")
    (cohort / "review.json").write_text("{")
    with pytest.raises(InputRefused, match=r"review\.json: not JSON"):
        ReviewQueue(cohort)
