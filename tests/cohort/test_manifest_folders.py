"""read_manifest of folders of images: ids, channels, references, and what is left out."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

import pytest

from medseg.cohort import Manifest, read_manifest, write_manifest
from medseg.errors import UsageError
from medseg.pipeline import infer_files
from tests.cohort.studies import save_scan


def _touch(folder: Path, names: Iterable[str]) -> Path:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"not read")
    return folder


def _images(found: Manifest) -> dict[str, dict[str, str]]:
    return {case.case_id: {channel: path.name for channel, path in case.images} for case in found.cases}


def test_names_without_their_endings_are_the_ids(tmp_path: Path) -> None:
    names = ("b.nii.gz", "a.nrrd", "A b.c.mha", ".hidden.nii", "notes.txt", "pair.hdr", "pair.img", "x.PNG")
    found = read_manifest(_touch(tmp_path, names))
    assert _images(found) == {
        "A b.c": {"": "A b.c.mha"},
        "a": {"": "a.nrrd"},
        "b": {"": "b.nii.gz"},
        "pair": {"": "pair.hdr"},
        "x": {"": "x.PNG"},
    }
    assert found.verdict.status == "ok"


def test_a_link_that_leads_nowhere_is_a_case(tmp_path: Path) -> None:
    (tmp_path / "a.nii.gz").symlink_to(tmp_path / "annex" / "object")
    assert _images(read_manifest(tmp_path)) == {"a": {"": "a.nii.gz"}}


def test_results_of_medseg_label_maps_and_folders_are_left_out_and_counted(
    model: Path, tmp_path: Path
) -> None:
    infer_files([save_scan(tmp_path / "a.nii.gz", 1)], model=model)
    assert (tmp_path / "a_seg.nii.gz").is_file()
    _touch(tmp_path, ("b_seg.nii.gz", "c.seg.nrrd", "deeper/d.nii.gz"))
    found = read_manifest(tmp_path)
    assert list(_images(found)) == ["a", "b_seg"]  # nothing says that medseg made b_seg
    assert set(found.verdict.codes) == {"own-results", "label-files", "folders-not-searched"}


def test_a_folder_of_nothing_but_results_is_refused_as_such(model: Path, tmp_path: Path) -> None:
    folder = tmp_path / "images"  # a name that means more of a layout
    folder.mkdir()
    scans = [save_scan(tmp_path / f"{name}.nii.gz", n) for n, name in enumerate("ab")]
    infer_files(scans, model=model, out=folder)
    for scan in scans:
        scan.unlink()
    for given in (folder, tmp_path):
        with pytest.raises(UsageError, match=r"the folder: 1 problem\n.*only segmentations.*medseg: 2\)"):
            read_manifest(given)


def test_names_that_clash_are_refused_together(tmp_path: Path) -> None:
    _touch(tmp_path, ("a.nii.gz", "a.mha", "B.nii", "b.png", "con.nii"))
    with pytest.raises(UsageError) as refused:
        read_manifest(tmp_path)
    text = str(refused.value)
    assert "3 problems" in text
    for part in ("'a' is there already", "'b' and 'B' differ only", "'con': Windows keeps"):
        assert part in text
    assert str(tmp_path) not in text


CHANNELS = ("p_0000.nii.gz", "p_0001.nii.gz", "q_0000.nii.gz", "q_0001.nii.gz")


def test_channels_of_nnunet_are_grouped_and_named_by_its_dataset_json(tmp_path: Path) -> None:
    _touch(tmp_path / "imagesTr", CHANNELS)
    _touch(tmp_path / "imagesTs", ("r_0000.nii.gz",))
    _touch(tmp_path / "labelsTr", ("p.nii.gz", "other.nii.gz"))
    grouped = {case: {"0000": f"{case}_0000.nii.gz", "0001": f"{case}_0001.nii.gz"} for case in "pq"}
    found = read_manifest(tmp_path)
    assert _images(found) == grouped
    assert [case.reference for case in found.cases] == [tmp_path / "labelsTr" / "p.nii.gz", None]
    assert set(found.verdict.codes) == {"labels-without-image", "images-not-taken"}
    (tmp_path / "dataset.json").write_text(json.dumps({"channel_names": {"0": "t1", "1": "flair"}}))
    named = read_manifest(tmp_path / "imagesTr")
    assert _images(named)["q"] == {"t1": "q_0000.nii.gz", "flair": "q_0001.nii.gz"}
    assert read_manifest(write_manifest(named, tmp_path / "cases.csv")).cases == named.cases


def test_a_single_channel_loses_its_number(tmp_path: Path) -> None:
    found = read_manifest(_touch(tmp_path, ("p_0000.nii.gz", "q_0000.nii.gz")))
    assert _images(found) == {"p": {"": "p_0000.nii.gz"}, "q": {"": "q_0000.nii.gz"}}


@pytest.mark.parametrize(
    "names",
    [
        ("scan_0000.nii.gz", "scan_0001.nii.gz", "scan_0002.nii.gz"),  # one case or three: nobody can tell
        ("p_0001.nii.gz", "q_0001.nii.gz"),
        ("p_2019.nii.gz", "p_2020.nii.gz", "q_2019.nii.gz", "q_2020.nii.gz"),
        ("p_0000.nii.gz", "p_0001.nii.gz", "q.nii.gz"),
    ],
)
def test_numbers_that_are_not_plainly_channels_stay_in_the_ids(
    tmp_path: Path, names: tuple[str, ...]
) -> None:
    found = read_manifest(_touch(tmp_path, names))
    assert [case.case_id for case in found.cases] == [name.removesuffix(".nii.gz") for name in names]


def test_a_case_that_lacks_a_channel_is_refused(tmp_path: Path) -> None:
    _touch(tmp_path, (*CHANNELS, "r_0000.nii.gz"))
    with pytest.raises(UsageError, match="case_id 'r': channels 0000, the others have 0000, 0001"):
        read_manifest(tmp_path)


def test_images_beside_dicom_are_refused_and_an_empty_folder_is_too(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no cases"):
        read_manifest(tmp_path)
    _touch(tmp_path, ("a.nii.gz", "1.dcm"))
    with pytest.raises(UsageError, match=r"images \(1\) and also DICOM"):
        read_manifest(tmp_path)


def test_bids_is_refused_where_there_is_no_bids_dataset(tmp_path: Path) -> None:
    _touch(tmp_path, ("a.nii.gz",))
    for path in (tmp_path, write_manifest(read_manifest(tmp_path), tmp_path / "cases.csv")):
        with pytest.raises(UsageError, match="bids chooses"):
            read_manifest(path, bids="T1w")


def test_the_decathlons_hippocampus_folder_has_its_references(real_data: Path, tmp_path: Path) -> None:
    folder = real_data / "hippocampus"
    listed = json.loads((folder / "dataset.json").read_text())["training"]
    expected = {(folder / entry["image"], folder / entry["label"]) for entry in listed}
    found = read_manifest(folder)
    pairs = {(case.images[0][1], case.reference) for case in found.cases}
    assert len(found.cases) == len(expected) == 200
    assert pairs == expected
    assert read_manifest(write_manifest(found, tmp_path / "cases.csv")).cases == found.cases
