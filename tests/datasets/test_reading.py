"""Layouts are recognised, labels and cases listed, faults named."""

from __future__ import annotations

import csv
import json
import re
import shutil
from pathlib import Path

import pytest

from medseg.datasets import read_dataset
from medseg.errors import InputRefused, NotFound
from tests.datasets import made_layouts


def test_a_decathlon_folder(decathlon):
    dataset = read_dataset(decathlon)
    assert dataset.layout == "decathlon"
    assert dataset.modalities == ("MR",)
    assert [case.id for case in dataset.cases] == [f"ball_{n:02d}" for n in range(10)]
    assert dataset.labels is not None
    assert dict(zip(dataset.labels.ids, dataset.labels.names, strict=True)) == {1: "bright", 4: "dark"}


def nnunet(decathlon: Path, folder: Path) -> Path:
    shutil.copytree(decathlon / "labelsTr", folder / "labelsTr")
    (folder / "imagesTr").mkdir()
    for image in (decathlon / "imagesTr").iterdir():
        for channel in (0, 1):
            shutil.copy(image, folder / "imagesTr" / image.name.replace(".nii.gz", f"_{channel:04d}.nii.gz"))
    facts = {
        "channel_names": {"0": "T1", "1": "CT"},
        "labels": {"background": 0, "bright": 1, "dark": 4},
        "numTraining": 10,
        "file_ending": ".nii.gz",
    }
    (folder / "dataset.json").write_text(json.dumps(facts))
    return folder


def test_an_nnunet_folder_with_two_channels(decathlon, tmp_path):
    dataset = read_dataset(nnunet(decathlon, tmp_path / "Dataset001_Balls"))
    assert dataset.layout == "nnunet"
    assert dataset.channels == ("T1", "CT")
    assert dataset.modalities == ("MR", "CT")
    assert [image.name for image in dataset.cases[3].images] == ["ball_03_0000.nii.gz", "ball_03_0001.nii.gz"]


def test_images_beside_labels(decathlon, tmp_path):
    shutil.copytree(decathlon / "imagesTr", tmp_path / "images")
    shutil.copytree(decathlon / "labelsTr", tmp_path / "labels")
    dataset = read_dataset(tmp_path)
    assert (dataset.layout, len(dataset.cases), dataset.labels) == ("folders", 10, None)
    (tmp_path / "images" / "ball_04.nii.gz").unlink()
    with pytest.raises(InputRefused, match=r"ball_04\.nii\.gz"):
        read_dataset(tmp_path)


def test_a_misnamed_folder_is_one_fault_with_the_name_it_has(decathlon, tmp_path):
    folder = tmp_path / "Task99"
    shutil.copytree(decathlon, folder)
    (folder / "imagesTr").rename(folder / "imageTr")
    shutil.copytree(folder / "imageTr", folder / "imagesTs", ignore=shutil.ignore_patterns("ball_*"))
    with pytest.raises(InputRefused) as refusal:
        read_dataset(folder)
    text = (
        "imagesTr/ does not exist, and 10 files are needed from it: there is imageTr/: rename it, or correct "
        "the paths in dataset.json"
    )
    assert refusal.value.reasons == (("missing-folder", text),)
    assert str(refusal.value) == f"{folder}: 1 fault\n  {text}"
    shutil.rmtree(folder / "imageTr")
    with pytest.raises(InputRefused, match="from it: add it, or correct"):  # imagesTs holds other files
        read_dataset(folder)


def test_misnamed_folders_of_labels_are_named(decathlon, tmp_path):
    folder = nnunet(decathlon, tmp_path / "Dataset001_Balls")
    (folder / "labelsTr").rename(folder / "labelTr")
    with pytest.raises(InputRefused, match=r"labelsTr/ does not exist.*there is labelTr/: rename it"):
        read_dataset(folder)
    shutil.copytree(decathlon / "imagesTr", tmp_path / "images")
    shutil.copytree(decathlon / "labelsTr", tmp_path / "label")
    with pytest.raises(InputRefused, match="labels/ is not, but label/: rename it"):
        read_dataset(tmp_path)


def test_the_cure_of_a_missing_file_fits_how_cases_are_found(decathlon, tmp_path):
    folder = nnunet(decathlon, tmp_path / "Dataset001_Balls")
    (folder / "imagesTr/ball_02_0001.nii.gz").unlink()
    with pytest.raises(InputRefused) as refusal:
        read_dataset(folder)
    assert str(refusal.value).endswith(
        "case 'ball_02': imagesTr/ball_02_0001.nii.gz does not exist: add it, or take "
        "labelsTr/ball_02.nii.gz away"
    )
    rows = [f"{kind}Tr/ball_00.nii.gz" for kind in ("images", "labels")]
    (decathlon / "cases.csv").write_text("image,label\n" + ",".join(rows) + "\nimagesTr/no.nii," + rows[1])
    with pytest.raises(
        InputRefused, match=r"no\.nii does not exist: add it, or take the case out of cases\.csv"
    ):
        read_dataset(decathlon / "cases.csv")
    (decathlon / "cases.csv").unlink()


def test_a_part_of_a_dataset_is_refused_with_the_whole(decathlon, tmp_path):
    whole = re.escape(f"its folder {decathlon} is a dataset (dataset.json): give that")
    for part in (decathlon / "imagesTr", tmp_path / "link"):
        if not part.exists():
            part.symlink_to(decathlon / "labelsTr")
        with pytest.raises(InputRefused, match=whole):
            read_dataset(part)
    with pytest.raises(InputRefused, match="give the folder"):
        read_dataset(decathlon / "dataset.json")
    bids = made_layouts.bids(tmp_path / "bids")
    for place in (bids, bids / "derivatives" / "manual"):
        with pytest.raises(InputRefused, match=f"medseg data import {re.escape(str(bids))} -o OUT"):
            read_dataset(place)


def test_a_csv_and_a_json_list(decathlon, tmp_path):
    rows = [
        {
            "case_id": f"c{n}",
            "image": str(decathlon / f"imagesTr/ball_{n:02d}.nii.gz"),
            "label": str(decathlon / f"labelsTr/ball_{n:02d}.nii.gz"),
        }
        for n in range(3)
    ]
    with (tmp_path / "list.csv").open("w", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    (tmp_path / "list.json").write_text(json.dumps({"labels": {"1": "bright", "4": "dark"}, "cases": rows}))
    from_csv, from_json = read_dataset(tmp_path / "list.csv"), read_dataset(tmp_path / "list.json")
    assert from_csv.cases == from_json.cases
    assert [case.id for case in from_csv.cases] == ["c0", "c1", "c2"]
    assert from_json.labels is not None
    assert from_json.labels.names == ("bright", "dark")


def test_every_missing_file_is_listed(decathlon, tmp_path):
    folder = tmp_path / "Task99"
    shutil.copytree(decathlon, folder)
    (folder / "imagesTr/ball_02.nii.gz").unlink()
    (folder / "labelsTr/ball_07.nii.gz").unlink()
    with pytest.raises(InputRefused, match="2 fault") as refusal:
        read_dataset(folder)
    assert "ball_02" in str(refusal.value)
    assert "ball_07" in str(refusal.value)


@pytest.mark.parametrize(
    ("content", "code"),
    [
        ("{", "bad-dataset-json"),
        ('{"training": [{"image": "a"}]}', "bad-dataset-json"),
        ('{"training": []}', "no-cases"),
    ],
)
def test_a_broken_dataset_json_is_named(tmp_path, content, code):
    (tmp_path / "dataset.json").write_text(content)
    with pytest.raises(InputRefused) as refusal:
        read_dataset(tmp_path)
    assert refusal.value.code == code


def test_what_is_no_dataset_is_refused_with_what_would_be(tmp_path):
    with pytest.raises(InputRefused, match="images/ and labels/"):
        read_dataset(tmp_path)
    with pytest.raises(NotFound):
        read_dataset(tmp_path / "nowhere")


def test_a_second_channel_in_images_is_not_silently_left_out(decathlon, tmp_path):
    shutil.copytree(decathlon / "labelsTr", tmp_path / "labels")
    (tmp_path / "images").mkdir()
    for image in (decathlon / "imagesTr").iterdir():
        for channel in ("0000", "0001"):
            shutil.copy(image, tmp_path / "images" / image.name.replace(".nii.gz", f"_{channel}.nii.gz"))
    with pytest.raises(InputRefused, match=r"ball_00_0001\.nii\.gz.*image_<channel>") as refusal:
        read_dataset(tmp_path)
    assert refusal.value.code == "further-channels"


@pytest.mark.parametrize(
    ("facts", "code"),
    [
        ({"modality": ["MRI"], "training": []}, "bad-dataset-json"),
        ({"modality": {"first": "MRI"}, "training": []}, "bad-dataset-json"),
        ({"training": [{"image": 3, "label": "b"}]}, "bad-dataset-json"),
        ({"training": [], "labels": {"1": "a", "70000": "b"}}, "bad-labels"),
    ],
)
def test_what_dataset_json_may_not_hold(tmp_path, facts, code):
    (tmp_path / "dataset.json").write_text(json.dumps(facts))
    with pytest.raises(InputRefused) as refusal:
        read_dataset(tmp_path)
    assert refusal.value.code == code


def test_a_list_that_is_none_is_refused(decathlon, tmp_path):
    with pytest.raises(InputRefused, match="not a CSV list"):
        read_dataset(decathlon / "imagesTr/ball_00.nii.gz")
    (tmp_path / "list.json").write_text('{"cases": {"a": 1}}')
    with pytest.raises(InputRefused, match="list of objects"):
        read_dataset(tmp_path / "list.json")
