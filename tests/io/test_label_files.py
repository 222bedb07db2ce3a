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


def test_codes_stand_where_slicer_looks_for_them(tmp_path: Path, labelmap: LabelMap) -> None:
    image = sitk.ReadImage(str(medseg.write(labelmap, tmp_path / "seg.seg.nrrd")))
    tags = dict(pair.split(":", 1) for pair in image.GetMetaData("Segment0_Tags").split("|") if pair)
    context, category, kind, *rest = tags["TerminologyEntry"].split("~")
    assert kind.split("^") == ["SCT", "18639004", "Left kidney"]
    assert category.split("^")[:2] == ["SCT", "123037004"]
    assert context
    assert len(rest) == 4


def _slicer_file(path: Path, layers: np.ndarray, pairs: dict[str, str]) -> Path:
    """A file as 3D Slicer writes it: (layer, i, j, k), or (i, j, k) where nothing overlaps."""
    flat = layers.ndim == 3
    header = [
        "NRRD0004",
        "# Complete NRRD file format specification at:",
        f"type: {'short' if layers.dtype == np.int16 else 'unsigned char'}",
        f"dimension: {layers.ndim}",
        "space: left-posterior-superior",
        f"sizes: {' '.join(map(str, layers.shape))}",
        f"space directions: {'' if flat else 'none '}(0,1,0) (0,0,-1.5) (-1.25,0,0)",
        f"kinds: {'' if flat else 'list '}domain domain domain",
        *(["endian: little"] if layers.dtype == np.int16 else []),
        "encoding: raw",
        "space origin: (86.5,-133.75,116)",
        *(f"{key}:={value}" for key, value in pairs.items()),
    ]
    path.write_bytes("\n".join([*header, "", ""]).encode() + layers.tobytes(order="F"))
    return path


FRACTIONAL = {"Segmentation_SourceRepresentation": "Fractional labelmap"}
COMMON = {
    "Segmentation_MasterRepresentation": "Binary labelmap",
    "Segmentation_ReferenceImageExtentOffset": "35 86 -1",
}
ENTRY = "TerminologyEntry:Some list~SCT^123037004^Anatomical Structure~{}~^^~Anatomic codes~^^~^^|"
OVERLAPPING = {
    "Segment0_Color": "0.5 0 1",
    "Segment0_Extent": "0 4 0 3 0 2",
    "Segment0_ID": "Segment_1",
    "Segment0_LabelValue": "1",
    "Segment0_Layer": "0",
    "Segment0_Name": "liver: 50 % of it",
    "Segment0_Tags": "Segmentation.Status:inprogress|" + ENTRY.format("SCT^10200004^Liver"),
    "Segment1_ID": "Segment_2",
    "Segment1_LabelValue": "7",
    "Segment1_Layer": "0",
    "Segment1_Name": "kidney",
    "Segment1_Tags": ENTRY.format("SRT^T-71000^Kidney"),
    "Segment10_ID": "Segment_3",
    "Segment10_LabelValue": "1",
    "Segment10_Layer": "1",
    "Segment10_Name": "lesion",
    "Segment10_Tags": ENTRY.format("99OWN^12^Lesion"),
    **COMMON,
}


@pytest.fixture
def overlapping(tmp_path: Path) -> tuple[Path, np.ndarray]:
    layers = np.zeros((2, 5, 4, 3), np.uint8, order="F")
    layers[0, 0:3, 1:3] = 1
    layers[0, 3, 2, 1] = 7
    layers[1, 2:4, 2, 1:] = 1
    return _slicer_file(tmp_path / "two.seg.nrrd", layers, OVERLAPPING), layers


def test_overlapping_segments_of_slicer_are_layers(overlapping: tuple[Path, np.ndarray]) -> None:
    path, layers = overlapping
    first, second = medseg.read_label_layers(path)
    assert np.array_equal(first.data, layers[0])
    assert np.array_equal(second.data, layers[1])
    assert [(x.id, x.name, x.snomed) for x in first.labels] == [
        (1, "liver: 50 % of it", "10200004"),
        (7, "kidney", "64033007"),
    ]
    assert first.labels[1].colour == (128, 0, 255)
    assert [(x.id, x.name, x.snomed) for x in second.labels] == [(1, "lesion", None)]
    image = sitk.ReadImage(str(path))
    oracle = np.diag([-1, -1, 1]) @ image.TransformContinuousIndexToPhysicalPoint((3.0, 2.0, 1.0))
    assert first.geometry.index_to_world((3, 2, 1)) == pytest.approx(oracle)
    assert np.array_equal(sitk.GetArrayFromImage(image).T, layers)


def test_a_layer_has_to_be_chosen_where_one_label_map_is_asked_for(
    overlapping: tuple[Path, np.ndarray],
) -> None:
    path, layers = overlapping
    with pytest.raises(medseg.InputRefused, match="layer=1 to 2") as refusal:
        medseg.read_labels(path)
    assert refusal.value.code == "overlapping-labels"
    assert np.array_equal(medseg.read_labels(path, layer=2).data, layers[1])
    with pytest.raises(medseg.UsageError, match="layer=3"):
        medseg.read_labels(path, layer=3)
    with pytest.raises(medseg.InputRefused, match="read_labels") as refusal:
        medseg.read(path)
    assert refusal.value.code == "segmentation"


def test_layers_are_written_and_read_back(tmp_path: Path, overlapping: tuple[Path, np.ndarray]) -> None:
    found = medseg.read_label_layers(overlapping[0])
    path = medseg.write(found, tmp_path / "again.seg.nrrd")
    again = medseg.read_label_layers(path)
    for one, other in zip(found, again, strict=True):
        assert np.array_equal(one.data, other.data)
        assert one.labels == other.labels
        assert one.geometry.grid_distance_mm(other.geometry) < 1e-4
    image = sitk.ReadImage(str(path))
    assert np.array_equal(sitk.GetArrayFromImage(image).T, overlapping[1])
    assert image.GetMetaData("Segment2_Layer") == "1"


def test_formats_that_hold_one_label_map_refuse_several(
    tmp_path: Path, overlapping: tuple[Path, np.ndarray]
) -> None:
    found = medseg.read_label_layers(overlapping[0])
    with pytest.raises(medseg.MedsegError, match=r"only \.seg\.nrrd") as refusal:
        medseg.write(found, tmp_path / "again.nii.gz")
    assert refusal.value.exit_code == 2
    assert not (tmp_path / "again.nii.gz").exists()
    assert medseg.write(found[:1], tmp_path / "one.nii.gz").exists()


def test_segments_of_old_files_lie_in_the_layer_of_their_number(tmp_path: Path) -> None:
    layers = np.zeros((2, 5, 4, 3), np.uint8)
    layers[0, 1], layers[1, 1:3] = 1, 1
    pairs = {"Segment0_ID": "a", "Segment0_Name": "one", "Segment1_ID": "b", "Segment1_Name": ""}
    first, second = medseg.read_label_layers(_slicer_file(tmp_path / "old.seg.nrrd", layers, pairs))
    assert (first.labels.names, second.labels.names) == (("one",), ("b",))
    assert np.array_equal(second.data, layers[1])


def test_structures_with_one_name_are_told_apart_by_their_ids(tmp_path: Path) -> None:
    pairs = {f"Segment{n}_{key}": value for n in range(3) for key, value in {
        "ID": f"s{n}", "Name": "lesion", "LabelValue": str(n + 1), "Layer": "0"}.items()}  # fmt: skip
    data = np.arange(60, dtype=np.uint8).reshape(5, 4, 3) % 4
    found = medseg.read_labels(_slicer_file(tmp_path / "same.seg.nrrd", data, pairs))
    assert found.labels.names == ("lesion 1", "lesion 2", "lesion 3")
    assert found.verdict.codes == ("labels-renamed",)
    assert "lesion" not in str(found.verdict)


@pytest.mark.parametrize(
    ("data", "pairs", "code"),
    [
        (np.zeros((1, 1, 1), np.uint8), COMMON, "no-segments"),
        (np.zeros((3, 2, 2), np.int16), FRACTIONAL, "fractional"),
        (np.zeros((3, 2, 2), np.uint8), {"Segment0_LabelValue": "DOE^JANE"}, "bad-header"),
        (np.zeros((3, 2, 2), np.uint8), {"Segment0_Layer": "-1"}, "bad-header"),
    ],
)  # fmt: skip
def test_slicer_files_without_a_label_map_are_refused(
    tmp_path: Path, data: np.ndarray, pairs: dict[str, str], code: str
) -> None:
    with pytest.raises(medseg.InputRefused) as refusal:
        medseg.read_labels(_slicer_file(tmp_path / "x.seg.nrrd", data, pairs))
    assert refusal.value.code == code
    assert "DOE" not in str(refusal.value)


def test_many_segments_are_read_in_no_time(tmp_path: Path) -> None:
    data = np.arange(40 * 40 * 40, dtype=np.int16).reshape(40, 40, 40) % 20_000
    pairs = {f"Segment{n}_LabelValue": str(n) for n in range(20_000)}
    found = medseg.read_labels(_slicer_file(tmp_path / "many.seg.nrrd", data, pairs))
    assert len(found.labels) == 19_999


def test_a_segmentation_has_to_lie_on_the_scan_it_is_read_with(
    tmp_path: Path, labelmap: LabelMap, oblique: Callable[..., Volume]
) -> None:
    path = medseg.write(labelmap, tmp_path / "seg.nii.gz")
    scan = medseg.write(oblique(), tmp_path / "scan.nrrd")
    assert medseg.read_labels(path, scan=scan).data.any()
    other = medseg.write(oblique(flipped=(False, True, False)), tmp_path / "other.nrrd")
    with pytest.raises(medseg.InputRefused, match="mm beside") as refusal:
        medseg.read_labels(path, scan=other)
    assert refusal.value.code == "grid-differs"
    assert medseg.write(oblique((1, 0, 2)), tmp_path / "turned.nrrd").exists()
    with pytest.raises(medseg.InputRefused, match="7 x 5 x 4"):
        medseg.read_labels(path, scan=tmp_path / "turned.nrrd")


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
        {"labels": {"air": 0, "aorta": 3}},
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
