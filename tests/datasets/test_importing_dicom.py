"""DICOM series with their SEG or RTSTRUCT; matplotlib, highdicom's arrays and SimpleITK are the oracles."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import highdicom as hd
import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from matplotlib.path import Path as Outline
from pydicom.sr.codedict import codes

from medseg.datasets import import_dataset, read_dataset
from medseg.errors import InputRefused
from tests.io.dicom.made_series import CANARY, COLUMNS, RAS, ROWS, SHAPE, SLICES, write_series
from tests.io.dicom.test_rtstruct import INNER, SQUARE, TRIANGLE, contour, roi, write


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """A folder with a series in it."""
    folder = tmp_path / "study"
    folder.mkdir()
    write_series(folder / "ct")
    return folder


def filled(corners: list[tuple[float, float]]) -> np.ndarray:
    grid = np.indices((COLUMNS, ROWS)).reshape(2, -1).T
    return Outline([*corners, corners[0]], closed=True).contains_points(grid).reshape(COLUMNS, ROWS)


def test_structures_are_filled_on_the_oblique_series_by_even_odd(study, tmp_path):
    keyhole = [*SQUARE, SQUARE[0], INNER[0], *INNER[:0:-1], INNER[0], SQUARE[0]]
    rois = [roi(4, "ring", [contour(keyhole, 2)]), roi(9, "edge", [contour(TRIANGLE, 4)])]
    write(study / "rt.dcm", rois)
    report = import_dataset(tmp_path / "study", tmp_path / "out")
    assert (report.layout, len(report.cases)) == ("rtstruct", 1)
    dataset = read_dataset(tmp_path / "out")
    assert dict(zip(dataset.labels.ids, dataset.labels.names, strict=True)) == {4: "ring", 9: "edge"}
    found = nib.load(dataset.cases[0].label)
    expected = np.zeros(SHAPE)
    expected[..., 2] = 4 * (filled(SQUARE) & ~filled(INNER))
    expected[..., 4] = 9 * filled(TRIANGLE)
    assert np.array_equal(np.asarray(found.dataobj), expected)
    assert np.allclose(found.affine, RAS, atol=1e-4)
    for path in (tmp_path / "out").rglob("*"):
        assert path.is_dir() or CANARY.encode() not in path.read_bytes()


def test_overlapping_structures_are_refused_chosen_or_written_one_by_one(study, tmp_path):
    write(
        study / "rt.dcm",
        [roi(1, "organ", [contour(SQUARE, 2)]), roi(2, "core", [contour(INNER, 2)])],
    )
    refused = import_dataset(tmp_path / "study", tmp_path / "a")
    assert [problem.code for problem in refused.refused] == ["overlapping-labels"]
    import_dataset(tmp_path / "study", tmp_path / "b", target=["Core"])
    assert read_dataset(tmp_path / "b").labels.ids == (2,)
    report = import_dataset(tmp_path / "study", tmp_path / "c", separate=True)
    assert [path.name for path in report.datasets] == ["organ.json", "core.json"]
    for path, label_id, corners in zip(report.datasets, (1, 2), (SQUARE, INNER), strict=True):
        dataset = read_dataset(path)
        data = np.asarray(nib.load(dataset.cases[0].label).dataobj)
        assert (dataset.labels.ids, set(np.unique(data))) == ((label_id,), {0, label_id})
        assert np.array_equal(data[..., 2] > 0, filled(corners))


def test_a_dangling_reference_and_a_second_object_are_named(study, tmp_path):
    write(study / "elsewhere.dcm", [roi(1, "organ", [contour(SQUARE, 2)])], series="1.2.3.4")
    with pytest.raises(InputRefused) as refusal:
        import_dataset(tmp_path / "study", tmp_path / "out")
    assert refusal.value.code == "no-reference-scan"
    assert "elsewhere.dcm" in str(refusal.value)
    (study / "elsewhere.dcm").unlink()
    for name in ("first", "second"):
        write(study / f"{name}.dcm", [roi(1, "organ", [contour(SQUARE, 2)])])
    with pytest.raises(InputRefused, match=r"first\.dcm, second\.dcm") as refusal:
        import_dataset(tmp_path / "study", tmp_path / "out")
    assert refusal.value.code == "several-labels"


def test_segments_keep_one_id_per_name_where_files_number_them_differently(tmp_path):
    for n, names in enumerate((("liver", "spleen"), ("spleen", "liver"))):
        folder = tmp_path / f"study/{n}"
        folder.parent.mkdir(exist_ok=True)
        ct = write_series(folder)
        for item in ct:  # another series of another patient
            item.SeriesInstanceUID, item.PatientID = f"1.2.3.{n}", f"p{n}"
            item.SOPInstanceUID = f"1.2.3.{n}.{item.InstanceNumber}"
            item.file_meta.MediaStorageSOPInstanceUID = item.SOPInstanceUID
            item.save_as(item.filename)
        masks = np.zeros((SLICES, ROWS, COLUMNS, 2), np.uint8)
        masks[1, 2:7, 3:9, names.index("liver")] = 1
        masks[3, 2:4, 3:9, names.index("spleen")] = 1
        segments = [
            hd.seg.SegmentDescription(k, name, codes.cid7150.Tissue, codes.SCT.Liver, "MANUAL")
            for k, name in enumerate(names, start=1)
        ]
        hd.seg.Segmentation(
            ct, masks, "BINARY", segments, f"1.2.9.{n}", 9, f"1.2.9.{n}.1", 1, "maker", "model", "1", "serial"
        ).save_as(tmp_path / f"study/seg{n}.dcm")
    report = import_dataset(tmp_path / "study", tmp_path / "out")
    assert [note.code for note in report.notes] == ["labels-renumbered"]
    dataset = read_dataset(tmp_path / "out")
    assert dataset.labels.names == ("liver", "spleen")
    assert {case.patient for case in dataset.cases} == {"patient-1", "patient-2"}
    for case in dataset.cases:
        data = np.asarray(nib.load(case.label).dataobj)
        assert (np.unique(data[..., 1])[-1], np.unique(data[..., 3])[-1]) == (1, 2)
        assert (data == 1).sum() == 30


def test_a_real_segmentation_equals_its_makers_conversion(real_data, tmp_path):
    source = real_data / "dicom/seg_dcmqi/24x38x3"
    for part in ("image", "seg"):
        shutil.copytree(source / part, tmp_path / "study" / part)
    import_dataset(tmp_path / "study", tmp_path / "out", layout="dicom-seg")
    (case,) = read_dataset(tmp_path / "out").cases
    truth = sitk.ReadImage(str(source / "nrrd/label.nrrd"))
    ours = sitk.ReadImage(str(case.label))
    onto = sitk.Resample(ours, truth, sitk.Transform(), sitk.sitkNearestNeighbor)
    assert np.array_equal(sitk.GetArrayFromImage(onto), sitk.GetArrayFromImage(truth))
    assert "24x38x3" not in json.dumps(json.loads((tmp_path / "out/dataset.json").read_text())["cases"])


def test_real_dangling_structure_sets_are_all_named(real_data):
    with pytest.raises(InputRefused) as refusal:
        import_dataset(real_data / "dicom/rtstruct_rt_utils", dry_run=True)
    named = " ".join(text for _, text in refusal.value.reasons)
    assert all(name in named for name in ("dummy_rt", "invalid_reference_rt", "non_existent_reference_rt"))
    report = import_dataset(real_data / "dicom/rtstruct_rt_utils", dry_run=True, skip_faulty=True)
    assert (len(report.cases), len(report.refused)) == (1, 3)
