"""Each layout is imported voxel by voxel where it lies; what is wrong is named; nothing is overwritten."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

import medseg
from medseg.datasets import import_dataset, read_dataset
from medseg.errors import InputRefused, UsageError
from tests.datasets import made_layouts as made


def voxels(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """An image by libraries that share no code with medseg: values (I, J, ...) and affine."""
    if path.name.endswith(".nii.gz"):
        found = nib.load(path)
        return np.asarray(found.dataobj), found.affine
    return np.array(Image.open(path)).swapaxes(0, 1), np.eye(4)


def test_the_decathlons_4d_files_become_a_file_per_channel(tmp_path):
    source = made.decathlon_4d(tmp_path / "Task01_BrainTumour")
    report = import_dataset(source, tmp_path / "out")
    assert (report.layout, report.cases, report.refused) == ("decathlon", ("BRATS_001", "BRATS_002"), ())
    dataset = read_dataset(tmp_path / "out")
    assert dataset.channels == ("FLAIR", "T1w")
    assert dataset.modalities == ("MR", "MR")
    assert (dataset.labels.ids, dataset.labels.names) == ((1, 3), ("edema", "enhancing tumor"))
    for n, case in enumerate(dataset.cases, start=1):
        whole, affine = voxels(source / f"imagesTr/{case.id}.nii.gz")
        for channel, path in enumerate(case.images):
            data, found = voxels(path)
            assert np.array_equal(data, whole[..., channel])
            assert np.allclose(found, affine, atol=1e-5)
        assert np.array_equal(voxels(case.label)[0], made.labels(n))


def test_nnunet_v1_is_read_as_it_is_and_imported(tmp_path):
    source = made.nnunet_v1(tmp_path / "Task005_Prostate")
    dataset = read_dataset(source)
    assert (dataset.layout, dataset.channels) == ("nnunet", ("T1", "T2"))
    assert [path.name for path in dataset.cases[0].images] == ["la_001_0000.nii.gz", "la_001_0001.nii.gz"]
    import_dataset(source, tmp_path / "out")
    case = read_dataset(tmp_path / "out").cases[1]
    assert np.array_equal(voxels(case.images[1])[0], made.image(21))


def test_bids_labels_meet_the_images_of_their_session(tmp_path):
    source = made.bids(tmp_path / "spine")
    with pytest.raises(
        InputRefused,
        match=r"images with desc-manual_dseg labels: T1w \(2\), T2w \(2\): choose with --channels",
    ):
        import_dataset(source, tmp_path / "out")
    report = import_dataset(source, tmp_path / "out", channels=["T2w", "T1w"])
    assert [note.where for note in report.notes] == ["sub-03"]
    dataset = read_dataset(tmp_path / "out")
    assert [case.id for case in dataset.cases] == ["sub-01", "sub-02_ses-b"]
    assert [case.patient for case in dataset.cases] == ["sub-01", "sub-02"]
    assert (dataset.channels, dataset.labels.names) == (("T2w", "T1w"), ("cord", "lesion"))
    original = source / "sub-02/ses-b/anat/sub-02_ses-b_T1w.nii.gz"
    assert np.array_equal(voxels(dataset.cases[1].images[1])[0], voxels(original)[0])


@pytest.mark.parametrize(
    ("choice", "words"),
    [
        ({"target": ["seg"]}, r"target seg: .* there are desc-manual_dseg \(2\): choose one with --target"),
        ({"channels": ["PDw"]}, r"PDw is the suffix of no image; images .*: T1w \(2\), T2w \(2\); other"),
        ({"channels": ["T1w", "PDw"]}, r"T1w,PDw: PDw is the suffix of no image.* --channels T1w,T2w$"),
        ({"channels": ["FLAIR"]}, r"FLAIR has no .* labels.* T2w \(2\); other images: FLAIR \(1\): choose"),
    ],
)
def test_a_choice_that_bids_does_not_have_is_answered_with_what_it_has(tmp_path, choice, words):
    source = made.bids(tmp_path / "spine")
    made.save(source / "sub-03/anat/sub-03_FLAIR.nii.gz", made.image(4))
    with pytest.raises(InputRefused, match=words):
        import_dataset(source, tmp_path / "out", **choice)


@pytest.mark.parametrize("layout", ["rtstruct", "nyu-depth", "voc", "cityscapes", "s3dis", "decathlon"])
def test_a_layout_that_does_not_fit_is_answered_with_the_one_that_it_looks_like(tmp_path, layout):
    source = made.bids(tmp_path / "spine")
    with pytest.raises(InputRefused, match="looks like bids: leave --layout out, or give --layout bids"):
        import_dataset(source, tmp_path / "out", layout=layout)
    with pytest.raises(InputRefused, match=r"training reads .*leave --layout out"):
        import_dataset(made.decathlon_4d(tmp_path / "Task01"), tmp_path / "out", layout="bids")


def test_a_part_of_a_dataset_is_refused_with_the_whole(tmp_path):
    wholes = {
        made.bids(tmp_path / "spine"): "derivatives/manual",
        made.voc(tmp_path / "VOCdevkit")[0] / "VOC2012": "JPEGImages",
        made.cityscapes(tmp_path / "cityscapes")[0]: "gtFine",
        made.s3dis(tmp_path / "s3dis")[0] / "Area_1": "office_1/Annotations",
        made.decathlon_4d(tmp_path / "Task01"): "imagesTr",
    }
    for whole, part in wholes.items():
        with pytest.raises(InputRefused) as refusal:
            import_dataset(whole / part, tmp_path / "out")
        assert f"its folder {whole} is a dataset" in str(refusal.value)


def test_a_real_bids_dataset(real_data, tmp_path):
    source = real_data / "nifti" / "bids_spine"
    with pytest.raises(InputRefused, match=r"disc-manual \(5\), lesion-manual \(3\), seg-manual"):
        import_dataset(source, dry_run=True)
    import_dataset(source, tmp_path / "out", target=["labels-disc-manual"], channels=["T2w"])
    case = read_dataset(tmp_path / "out").cases[0]
    label = "derivatives/labels/sub-unf01/anat/sub-unf01_T2w_labels-disc-manual.nii.gz"
    for ours, theirs in ((case.images[0], "sub-unf01/anat/sub-unf01_T2w.nii.gz"), (case.label, label)):
        data, affine = voxels(ours)
        assert np.array_equal(data, voxels(source / theirs)[0])
        assert np.allclose(affine, voxels(source / theirs)[1], atol=1e-4)


def test_vocs_void_is_the_ignore_label(tmp_path):
    source, truth = made.voc(tmp_path / "VOCdevkit")
    import_dataset(source, tmp_path / "out")
    dataset = read_dataset(tmp_path / "out")
    assert (dataset.ignore_label, len(dataset.labels), dataset.labels[15].name) == (255, 20, "person")
    assert [case.id for case in dataset.cases] == ["2007_000032", "2007_000033"]
    data, _ = voxels(dataset.cases[0].label)
    assert np.array_equal(data, truth.T)
    jpeg = np.array(Image.open(source / "VOC2012/JPEGImages/2007_000032.jpg"))
    assert np.array_equal(voxels(dataset.cases[0].images[0])[0], jpeg.swapaxes(0, 1))


@pytest.mark.parametrize(("target", "ignored", "car"), [((), 255, 13), (("labelIds",), None, 26)])
def test_cityscapes_has_two_kinds_of_ids(tmp_path, target, ignored, car):
    source, train_ids = made.cityscapes(tmp_path / "cityscapes")
    report = import_dataset(source, tmp_path / "out", target=target)
    assert [note.code for note in report.notes] == ["test-left-out"]
    dataset = read_dataset(tmp_path / "out")
    assert dataset.ignore_label == ignored
    assert dataset.labels[car].name == "car"
    data, _ = voxels(dataset.cases[0].label)
    assert np.array_equal(data == car, (train_ids == 13).T)


def test_nyu_depth_has_four_channels_and_its_own_grid(tmp_path):
    images, depths, ids = made.nyu_depth(tmp_path / "nyu.mat")
    import_dataset(tmp_path / "nyu.mat", tmp_path / "out")
    dataset = read_dataset(tmp_path / "out")
    assert dataset.channels == ("red", "green", "blue", "depth")
    assert (dataset.labels.names, dataset.labels.background) == (("book", "bottle"), "unlabelled")
    for n, case in enumerate(dataset.cases):
        rgb, depth = case.images
        assert np.array_equal(np.array(Image.open(rgb)), images[n])
        assert np.array_equal(medseg.read(depth).data[0, :, :, 0].T, depths[n])
        assert np.array_equal(np.array(Image.open(case.label)), ids[n])


def test_what_was_imported_can_be_imported_again(tmp_path):
    made.nyu_depth(tmp_path / "nyu.mat")
    import_dataset(tmp_path / "nyu.mat", tmp_path / "out")
    import_dataset(tmp_path / "out", tmp_path / "again")
    (first, *_), (second, *_) = read_dataset(tmp_path / "out").cases, read_dataset(tmp_path / "again").cases
    for before, after in zip((*first.images, first.label), (*second.images, second.label), strict=True):
        assert before.read_bytes() == after.read_bytes()


def test_nyu_depth_without_h5py_says_what_to_install(tmp_path, monkeypatch):
    made.nyu_depth(tmp_path / "nyu.mat")
    monkeypatch.setitem(__import__("sys").modules, "h5py", None)
    with pytest.raises(medseg.UsageError, match="pip install h5py"):
        import_dataset(tmp_path / "nyu.mat", tmp_path / "out")


def test_a_link_in_an_hdf5_file_is_not_followed(tmp_path):
    import h5py

    made.nyu_depth(tmp_path / "other.mat")
    with h5py.File(tmp_path / "nyu.mat", "w", userblock_size=512) as file:
        for name in ("images", "depths", "labels", "names"):
            file[name] = h5py.ExternalLink("other.mat", name)
    with pytest.raises(InputRefused, match="in the file itself"):
        import_dataset(tmp_path / "nyu.mat", tmp_path / "out")


def test_s3dis_voxels_hold_mean_colour_and_most_frequent_class(tmp_path):
    source, points = made.s3dis(tmp_path / "Stanford3dDataset")
    report = import_dataset(source, tmp_path / "out", voxel_mm=100)
    assert report.cases == ("Area_1_office_1",)
    dataset = read_dataset(tmp_path / "out")
    (case,) = dataset.cases
    channels = [medseg.read(path) for path in case.images]
    grid, classes = channels[0].geometry, medseg.read_labels(case.label).data
    assert np.allclose(grid.spacing, 100)
    inside: dict[tuple[int, ...], list[np.ndarray]] = {}
    for point in points:  # by the place of each voxel's centre in the world
        index = np.rint(grid.world_to_index(np.floor(point[:3] / 0.1) * 100 + 50)).astype(int)
        inside.setdefault(tuple(index.tolist()), []).append(point)
    assert set(inside) == set(map(tuple, np.argwhere(channels[0].data[0]).tolist()))
    assert classes.astype(bool).sum() == len(inside)
    for index, members in inside.items():
        ids = [int(point[6]) for point in members]
        assert classes[index] == min(set(ids), key=lambda i, ids=ids: (-ids.count(i), i))
        mean = np.mean(members, axis=0)[3:6]
        assert np.abs([c.data[0][index] for c in channels[1:]] - mean).max() <= 0.5


def test_a_damaged_line_of_points_is_named(tmp_path):
    source, _ = made.s3dis(tmp_path / "s3dis")
    file = source / "Area_1/office_1/Annotations/chair_2.txt"
    lines = file.read_text().splitlines()
    file.write_text("\n".join([*lines[:6], lines[6].replace(" ", " 1\x10", 1), *lines[7:]]))
    report = import_dataset(source, tmp_path / "out")
    assert [(problem.code, problem.where) for problem in report.refused] == [
        ("bad-points", "Area_1_office_1")
    ]
    assert "chair_2.txt, line 7" in report.refused[0].message
    assert not (tmp_path / "out/dataset.json").exists()


def test_every_problem_is_listed_before_anything_is_written(tmp_path):
    source = made.nnunet_v1(tmp_path / "source")
    (source / "imagesTr/la_001_0001.nii.gz").unlink()
    (source / "labelsTr/la_002.nii.gz").unlink()
    with pytest.raises(InputRefused) as refusal:
        import_dataset(source, tmp_path / "out")
    assert [code for code, _ in refusal.value.reasons] == ["missing-file", "missing-file"]
    assert "la_001_0001.nii.gz" in str(refusal.value)
    assert "la_002.nii.gz" in str(refusal.value)
    assert not (tmp_path / "out").exists()
    shutil.copy(source / "labelsTr/la_001.nii.gz", source / "labelsTr/la_002.nii.gz")
    with pytest.raises(InputRefused, match="1 problem "):
        import_dataset(source, tmp_path / "out")


def test_cases_without_their_files_are_left_out_where_asked(tmp_path):
    source = made.nnunet_v1(tmp_path / "source")
    (source / "imagesTr/la_001_0001.nii.gz").unlink()
    report = import_dataset(source, tmp_path / "out", skip_faulty=True)
    assert (report.cases, [problem.where for problem in report.refused]) == (("la_002",), ["la_001"])
    assert "take the case out of dataset.json" in report.refused[0].message


def test_a_case_on_another_grid_or_with_unknown_ids_leaves_the_import_unfinished(tmp_path):
    source = made.nnunet_v1(tmp_path / "source")
    made.save(source / "imagesTr/la_001_0001.nii.gz", made.image(3), made.affine(0.5))
    made.save(source / "labelsTr/la_002.nii.gz", made.labels(1, (1, 9)))
    out = tmp_path / "out"
    report = import_dataset(source, out)
    assert [(p.where, p.code) for p in report.refused] == [
        ("la_001", "grid-differs"),
        ("la_002", "unknown-labels"),
    ]
    assert report.datasets == ()
    assert not (out / "dataset.json").exists()
    made.save(source / "labelsTr/la_002.nii.gz", made.labels(1))  # corrected; the same call goes on
    report = import_dataset(source, out, skip_faulty=True)
    assert (report.cases, report.datasets) == (("la_002",), (out,))
    assert [case.id for case in read_dataset(out).cases] == ["la_002"]


def test_an_import_goes_on_and_never_overwrites(tmp_path):
    source, out = made.decathlon_4d(tmp_path / "source"), tmp_path / "out"
    calls = []

    def stop(stage, done, total):
        calls.append((stage, done, total))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        import_dataset(source, out, progress=stop)
    first = out / "labels/BRATS_001.nii.gz"
    before = first.stat().st_mtime_ns
    (out / "labels/BRATS_001.nii.gz").rename(tmp_path / "kept")  # as if killed before the label was written
    import_dataset(source, out)
    assert {path.name for path in out.iterdir()} == {"images", "labels", "dataset.json", "import.json"}
    shutil.move(tmp_path / "kept", first)
    again = import_dataset(source, out)
    assert (again.cases, first.stat().st_mtime_ns) == (("BRATS_001", "BRATS_002"), before)
    assert again.earlier == again.cases
    assert again.to_json()["earlier"] == ["BRATS_001", "BRATS_002"]

    with pytest.raises(UsageError, match="other settings"):
        import_dataset(source, out, separate=True)
    made.save(source / "labelsTr/BRATS_002.nii.gz", np.zeros(made.SHAPE, np.uint8))
    with pytest.raises(UsageError, match="source of BRATS_002 has changed"):
        import_dataset(source, out)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/thesis.txt").write_text("all of it")
    with pytest.raises(UsageError, match="is not empty"):
        import_dataset(source, tmp_path / "mine")
    with pytest.raises(UsageError, match="lies in the dataset"):
        import_dataset(source, source / "imported")


@pytest.mark.parametrize(
    "path", ["../secret.nii.gz", "/etc/passwd", "imagesTr/../../secret.nii.gz", "C:\\secret"]
)
def test_a_path_in_dataset_json_stays_in_the_folder(tmp_path, path):
    source = made.decathlon_4d(tmp_path / "source")
    made.save(tmp_path / "secret.nii.gz", made.image(1))
    facts = json.loads((source / "dataset.json").read_text())
    facts["training"][0]["image"] = path
    (source / "dataset.json").write_text(json.dumps(facts))
    for reading in (read_dataset, lambda source: import_dataset(source, tmp_path / "out")):
        with pytest.raises(InputRefused, match="leads out of") as refusal:
            reading(source)
        assert refusal.value.code == "path-escapes"


def test_a_file_ending_is_no_way_out_of_the_folder(tmp_path):
    facts = {"channel_names": {"0": "CT"}, "labels": {"a": 1}, "file_ending": "/../../secret.nii.gz"}
    (tmp_path / "dataset.json").write_text(json.dumps(facts))
    with pytest.raises(InputRefused, match="file_ending"):
        read_dataset(tmp_path)


def test_a_list_of_an_import_stays_in_its_folder_too(tmp_path):
    source = made.decathlon_4d(tmp_path / "source")
    import_dataset(source, tmp_path / "out")
    text = (tmp_path / "out/dataset.json").read_text()
    (tmp_path / "out/dataset.json").write_text(text.replace("labels/BRATS_001", "../labels/BRATS_001"))
    with pytest.raises(InputRefused, match="leads out of"):
        read_dataset(tmp_path / "out")


def test_nothing_known_is_refused_with_the_layouts(tmp_path):
    (tmp_path / "notes.txt").write_text("nothing")
    with pytest.raises(InputRefused, match="decathlon, nnunet, folders"):
        import_dataset(tmp_path, tmp_path.parent / "out")
    with pytest.raises(UsageError, match="expected auto or one of decathlon"):
        import_dataset(tmp_path, tmp_path.parent / "out", layout="imagenet")
