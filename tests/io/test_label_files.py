"""Segmentations: ids stay, names travel, and what is no label map is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk

import medseg
from medseg import Label, LabelMap, LabelSet, Volume

NAMED = LabelSet(
    (Label(2, "Left kidney", (10, 20, 30), "18639004"), Label(255, "Tumour; \\odd\nname", (250, 1, 0))),
    "rest",
)


@pytest.fixture
def labelmap(oblique: Callable[..., Volume]) -> LabelMap:
    base = oblique()
    data = np.zeros(base.geometry.shape, np.uint16)
    data[1:3, 2:5, 1:3] = 2
    data[4, 6, 3] = 255
    return LabelMap(data, base.geometry, NAMED)


@pytest.mark.parametrize("suffix", [".nii.gz", ".nii", ".nrrd", ".seg.nrrd", ".mha"])
def test_ids_and_the_smallest_type_survive_every_format(
    tmp_path: Path, labelmap: LabelMap, suffix: str
) -> None:
    found = medseg.read_labels(medseg.write(labelmap, tmp_path / f"seg{suffix}"))
    assert found.data.dtype == np.uint8
    assert np.array_equal(found.data, labelmap.data)
    assert found.geometry.grid_distance_mm(labelmap.geometry) < 1e-4
    assert found.labels.ids == (2, 255)


@pytest.mark.parametrize("suffix", [".nii.gz", ".seg.nrrd"])
def test_names_colours_and_codes_travel_in_the_file(tmp_path: Path, labelmap: LabelMap, suffix: str) -> None:
    path = medseg.write(labelmap, tmp_path / f"seg{suffix}")
    assert medseg.read_labels(path).labels.labels == NAMED.labels
    image = sitk.ReadImage(str(path))
    assert np.array_equal(sitk.GetArrayFromImage(image).T, labelmap.data)
    if suffix == ".nii.gz":
        assert np.array_equal(np.asanyarray(nibabel.load(path).dataobj), labelmap.data)
        assert medseg.read_labels(path).labels == NAMED
    else:
        assert image.GetMetaData("Segment0_Name") == "Left kidney"


def test_large_ids_take_sixteen_bits(tmp_path: Path, labelmap: LabelMap) -> None:
    data = np.where(labelmap.data == 2, 4321, 0).astype(np.uint32)
    big = LabelMap(data, labelmap.geometry, LabelSet.from_ids([4321]))
    assert nibabel.load(medseg.write(big, tmp_path / "seg.nii.gz")).get_data_dtype() == np.uint16


def test_the_scans_header_makes_the_segmentation_bit_equal_in_space(
    tmp_path: Path, labelmap: LabelMap, oblique: Callable[..., Volume]
) -> None:
    image = nibabel.Nifti1Image(oblique().data[0], labelmap.geometry.affine)
    image.set_sform(image.affine, 4)
    image.set_qform(image.affine, 3)
    nibabel.save(image, tmp_path / "scan.nii.gz")
    scan = medseg.read(tmp_path / "scan.nii.gz")
    result = LabelMap(labelmap.data, scan.geometry, NAMED, source=scan.source)
    written = nibabel.load(medseg.write(result, tmp_path / "scan_seg.nii.gz"))
    assert (int(written.header["sform_code"]), int(written.header["qform_code"])) == (4, 3)
    assert np.array_equal(written.affine, nibabel.load(tmp_path / "scan.nii.gz").affine)


def test_names_given_by_the_caller_win(tmp_path: Path, labelmap: LabelMap) -> None:
    path = medseg.write(labelmap, tmp_path / "seg.nii.gz")
    mine = LabelSet.from_names({2: "a", 255: "b", 7: "absent"})
    assert medseg.read_labels(path, labels=mine).labels == mine
    with pytest.raises(medseg.InputRefused, match=r"ids \[255\]") as refusal:
        medseg.read_labels(path, labels=LabelSet.from_names({2: "a"}))
    assert refusal.value.code == "unknown-labels"


def _plain(tmp_path: Path, data: np.ndarray) -> Path:
    nibabel.save(
        nibabel.Nifti1Image(data, np.diag([1, 2, 3, 1.0]), dtype=data.dtype), tmp_path / "seg.nii.gz"
    )
    return tmp_path / "seg.nii.gz"


@pytest.mark.parametrize(
    "sidecar",
    [
        {"labels": [{"id": 3, "name": "aorta", "volume_ml": 1.0}], "verdict": "ok"},
        {"labels": {"0": "air", "3": "aorta"}},
    ],
)
def test_names_come_from_the_sidecar(tmp_path: Path, sidecar: dict) -> None:
    path = _plain(tmp_path, np.full((2, 3, 4), 3, np.uint8))
    (tmp_path / "seg.json").write_text(json.dumps(sidecar))
    found = medseg.read_labels(path)
    assert found.labels.names == ("aorta",)
    assert found.verdict.status == "ok"


def test_a_sidecar_without_names_is_passed_over_and_a_broken_one_is_a_warning(tmp_path: Path) -> None:
    path = _plain(tmp_path, np.full((2, 3, 4), 3, np.uint8))
    (tmp_path / "seg.json").write_text('{"EchoTime": 0.003}')
    assert medseg.read_labels(path).labels.names == ("label 3",)
    assert medseg.read_labels(path).verdict.status == "ok"
    for broken in ("{", '{"labels": [{"name": "x"}]}', '{"labels": {"one": "x"}}'):
        (tmp_path / "seg.json").write_text(broken)
        assert medseg.read_labels(path).verdict.codes == ("sidecar-unreadable",)


def test_ids_without_a_name_are_a_warning(tmp_path: Path) -> None:
    path = _plain(tmp_path, np.arange(24, dtype=np.uint8).reshape(2, 3, 4) % 3)
    (tmp_path / "seg.json").write_text('{"labels": {"1": "aorta"}}')
    found = medseg.read_labels(path)
    assert found.labels.names == ("aorta", "label 2")
    assert found.verdict.codes == ("labels-unnamed",)


def test_whole_numbers_stored_as_floats_are_ids(tmp_path: Path) -> None:
    found = medseg.read_labels(_plain(tmp_path, np.full((2, 3, 4), 7.0, np.float32)))
    assert found.data.dtype == np.uint8
    assert found.labels.ids == (7,)


@pytest.mark.parametrize(
    ("value", "dtype", "found"),
    [
        (0.5, np.float32, "not whole"),
        (-1, np.int16, "from -1"),
        (70000, np.int32, "to 70000"),
        (np.nan, np.float32, "not whole"),
    ],
)
def test_what_cannot_be_an_id_is_refused(tmp_path: Path, value: float, dtype: type, found: str) -> None:
    data = np.zeros((2, 3, 4), dtype)
    data[1, 2, 3] = value
    with pytest.raises(medseg.InputRefused, match=found) as refusal:
        medseg.read_labels(_plain(tmp_path, data))
    assert refusal.value.code == "not-labels"


def test_segmentations_of_other_programs_are_read_with_their_extensions(real_data: Path) -> None:
    for path in sorted((real_data / "dicom" / "seg_dcmqi").glob("*.nrrd")):
        oracle = sitk.GetArrayFromImage(sitk.ReadImage(str(path))).T
        assert np.array_equal(medseg.read_labels(path).data, oracle)
