"""read_manifest of BIDS datasets: which images, which covariates, which references."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pandas as pd
import pytest

import medseg
from medseg.cohort import Manifest, read_manifest, write_manifest
from medseg.errors import UsageError
from tests.cohort.studies import InProcess, save_scan

PARTICIPANTS = (
    "participant_id\tage\tsex\tgroup\tlast_name\tscan_date\n"
    "sub-01\t40\tF\tcontrol\tCanary\t2020-01-02\n"
    "02\tn/a\tM\tpatient\tCanary\t2020-01-03\n"
)


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """Two subjects, the second with two sessions; T1w everywhere, FLAIR not in the second session."""
    folder = tmp_path / "bids"
    _add(
        folder,
        "sub-01/anat/sub-01_T1w.nii.gz",
        "sub-01/anat/sub-01_FLAIR.nii.gz",
        "sub-01/anat/sub-01_T1w.json",
        "sub-01/func/sub-01_task-rest_bold.nii.gz",
        "sub-02/ses-a/anat/sub-02_ses-a_T1w.nii",
        "sub-02/ses-a/anat/sub-02_ses-a_FLAIR.nii.gz",
        "sub-02/ses-b/anat/sub-02_ses-b_T1w.nii.gz",
    )
    (folder / "dataset_description.json").write_text('{"BIDSVersion": "1.10.0"}')
    (folder / "participants.tsv").write_text(PARTICIPANTS)
    return folder


def _add(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"not read")


def _ids(found: Manifest) -> list[str]:
    return [case.case_id for case in found.cases]


def _names(found: Manifest) -> list[dict[str, str]]:
    return [{channel: path.name for channel, path in case.images} for case in found.cases]


def test_the_commonest_t1w_is_taken_and_the_choice_told(dataset: Path, tmp_path: Path) -> None:
    found = read_manifest(dataset)
    assert _ids(found) == ["sub-01", "sub-02_ses-a", "sub-02_ses-b"]
    assert _names(found)[1] == {"": "sub-02_ses-a_T1w.nii"}
    assert set(found.verdict.codes) == {"images-chosen", "columns-left-out"}
    assert read_manifest(write_manifest(found, tmp_path / "cases.csv")).cases == found.cases


def test_participants_are_covariates_without_names_and_dates(dataset: Path) -> None:
    found = read_manifest(dataset)
    assert found.columns == ("age", "sex", "group")
    assert [dict(case.columns) for case in found.cases] == [
        {"age": 40.0, "sex": "F", "group": "control"},
        {"age": None, "sex": "M", "group": "patient"},
        {"age": None, "sex": "M", "group": "patient"},
    ]
    _add(dataset, "sub-03/anat/sub-03_T1w.nii.gz")
    assert dict(read_manifest(dataset).cases[-1].columns) == {"age": None, "sex": None, "group": None}


def test_several_suffixes_are_channels_and_incomplete_cases_are_named(dataset: Path) -> None:
    found = read_manifest(dataset, bids=["flair=FLAIR", "T1w"])
    assert _ids(found) == ["sub-01", "sub-02_ses-a"]
    assert _names(found)[0] == {"flair": "sub-01_FLAIR.nii.gz", "T1w": "sub-01_T1w.nii.gz"}
    told = {reason.code: reason.message for reason in found.verdict.reasons}
    assert told["incomplete-cases"].endswith(": sub-02_ses-b")


def test_doubtful_participants_are_told_of_by_their_cases(dataset: Path) -> None:
    names = [f"sub-{n:02}" for n in range(3, 8)]
    _add(dataset, *(f"{name}/anat/{name}_T1w.nii.gz" for name in names))
    ages = ["61", "6O", "58", "70", "66"]
    rows = "".join(f"{name}\t{age}\tM\tPatient\n" for name, age in zip(names, ages, strict=True))
    (dataset / "participants.tsv").write_text(
        f"participant_id\tage\tsex\tgroup\nsub-01\t40\tF\tpatient\n{rows}"
    )
    told = {reason.code: reason.message for reason in read_manifest(dataset).verdict.reasons}
    assert told["not-all-numbers"].startswith("age: 5 of 6 values are numbers; sub-04 has '6O'")
    assert told["values-alike"].startswith("group: 'patient' and 'Patient' differ")


def test_a_column_called_like_one_of_a_channel_is_refused(dataset: Path) -> None:
    (dataset / "participants.tsv").write_text("participant_id\tintensity_mean_flair\nsub-01\t3\n")
    assert read_manifest(dataset).columns == ("intensity_mean_flair",)
    with pytest.raises(UsageError, match="column 'intensity_mean_flair' has the name"):
        read_manifest(dataset, bids=["t1=T1w", "flair=FLAIR"])


def test_one_suffix_may_be_chosen_and_subjects_without_it_are_named(dataset: Path) -> None:
    _add(dataset, "sub-03/anat/sub-03_T1w.nii.gz")
    found = read_manifest(dataset, bids="FLAIR")
    assert _names(found) == [{"": "sub-01_FLAIR.nii.gz"}, {"": "sub-02_ses-a_FLAIR.nii.gz"}]
    told = {reason.code: reason.message for reason in found.verdict.reasons}
    assert told["subjects-without-image"].endswith(": sub-03")
    with pytest.raises(UsageError, match=r"T1w \(4\), FLAIR \(2\), bold \(1\)"):
        read_manifest(dataset, bids="T2w")


def test_what_is_meant_is_not_guessed(dataset: Path) -> None:
    _add(dataset, *(f"sub-0{n}/anat/sub-0{n}_T2w.nii.gz" for n in range(1, 6)))
    with pytest.raises(UsageError, match=r"T2w \(5\), T1w \(3\), FLAIR \(2\).*choose with bids=T2w"):
        read_manifest(dataset)


def test_several_images_of_one_case_are_refused_with_what_chooses(dataset: Path) -> None:
    _add(dataset, "sub-01/anat/sub-01_acq-high_T1w.nii.gz", "sub-01/anat/sub-01_acq-low_T1w.nii.gz")
    with pytest.raises(UsageError, match="sub-01: 3 images are T1w, acq-high_T1w, acq-low_T1w") as refused:
        read_manifest(dataset)
    assert str(dataset) not in str(refused.value)
    assert _names(read_manifest(dataset, bids="T1w"))[0] == {"": "sub-01_T1w.nii.gz"}
    assert _names(read_manifest(dataset, bids="acq-low_T1w")) == [{"": "sub-01_acq-low_T1w.nii.gz"}]


def test_runs_are_cases_of_their_own(dataset: Path) -> None:
    names = (f"sub-03/anat/sub-03_run-{n}_T1w.nii.gz" for n in (1, 2))
    _add(dataset, *names)
    assert _ids(read_manifest(dataset))[-2:] == ["sub-03_run-1", "sub-03_run-2"]


def _references(dataset: Path, *names: str) -> tuple[list[str | None], Manifest]:
    _add(dataset / "derivatives", *names)
    found = read_manifest(dataset)
    return [case.reference and case.reference.name for case in found.cases], found


def test_label_maps_of_one_kind_are_references(dataset: Path) -> None:
    names: Iterable[str] = (
        "manual/sub-01/anat/sub-01_desc-hand_dseg.nii.gz",
        "manual/sub-02/ses-b/anat/sub-02_ses-b_space-orig_desc-hand_dseg.nii.gz",
        "manual/sub-02/ses-a/anat/sub-02_ses-a_space-MNI152_desc-hand_dseg.nii.gz",  # on another grid
        "manual/sub-01/anat/sub-01_desc-hand_probseg.nii.gz",
    )
    references, _ = _references(dataset, *names)
    assert references == [
        "sub-01_desc-hand_dseg.nii.gz",
        None,
        "sub-02_ses-b_space-orig_desc-hand_dseg.nii.gz",
    ]


def test_label_maps_of_several_kinds_are_none(dataset: Path) -> None:
    names = ("a/sub-01/anat/sub-01_dseg.nii.gz", "b/sub-01/anat/sub-01_dseg.nii.gz")
    references, found = _references(dataset, *names)
    assert references == [None] * 3
    assert "several-references" in found.verdict.codes


def test_a_study_runs_over_a_dataset(
    model: Path, dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("medseg.cohort.run.open_executor", InProcess)
    for n, image in enumerate(sorted(dataset.rglob("*_FLAIR.nii.gz"))):
        save_scan(image, n)
    study = medseg.run_cohort(dataset, model, tmp_path / "study", bids="FLAIR")
    assert study.counts["done"] == 2
    table = pd.read_csv(tmp_path / "study" / "table.csv").set_index("case_id")
    assert table.age["sub-01"].tolist() == [40, 40]
    assert set(table.group["sub-02_ses-a"]) == {"patient"}


@pytest.mark.parametrize("bids", ["T1w,", "acq_T1w", "=T1w", ["T1w", "acq-a_T1w"]])
def test_a_choice_that_cannot_be_read_is_refused(dataset: Path, bids: str | list[str]) -> None:
    with pytest.raises(UsageError, match="bids="):
        read_manifest(dataset, bids=bids)


def test_a_real_dataset_without_names_and_dates(real_data: Path) -> None:
    found = read_manifest(real_data / "nifti" / "bids_spine", bids=["T1w", "T2w", "T2star"])
    assert _ids(found) == ["sub-unf01", "sub-unf02", "sub-unf03"]
    assert all(path.is_file() for case in found.cases for _, path in case.images)
    assert found.columns == ("sex", "age", "pathology")
