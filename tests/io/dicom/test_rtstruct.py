"""Structure sets: contours made in index space on an oblique series, filled by matplotlib as the oracle."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pydicom
import pytest
from matplotlib.path import Path as Outline
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset
from pydicom.uid import ImplicitVRLittleEndian, RTStructureSetStorage

import medseg
from tests.io.dicom.made_series import (
    CANARY,
    COLUMNS,
    RAS,
    ROWS,
    SERIES_UID,
    SHAPE,
    SPACE_UID,
    image_uid,
    points,
    texts,
    write_series,
)

# Corners in (column, row); none lies on a voxel's centre or in line with several.
TRIANGLE = [(0.6, 0.7), (9.3, 1.2), (4.1, 7.6)]
SQUARE = [(2.4, 1.4), (6.6, 1.4), (6.6, 5.6), (2.4, 5.6)]
INNER = [(3.4, 2.4), (5.6, 2.4), (5.6, 4.6), (3.4, 4.6)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_series(tmp_path)
    return tmp_path


def _item(**values: Any) -> Dataset:
    item = Dataset()
    for name, value in values.items():
        setattr(item, name, value)
    return item


def contour(
    corners: list[tuple[float, float]], k: float, kind: str = "CLOSED_PLANAR", **more: Any
) -> Dataset:
    """A contour with corners (column, row) on a slice, which may lie between slices."""
    index = np.array([(i, j, k) for i, j in corners])
    reference = _item(
        ReferencedSOPClassUID="1.2.840.10008.5.1.4.1.1.2", ReferencedSOPInstanceUID=image_uid(round(k))
    )
    known = {
        "ContourGeometricType": kind, "NumberOfContourPoints": len(corners),
        "ContourData": texts(points(index)), "ContourImageSequence": [reference],
    }  # fmt: skip
    return _item(**{**known, **more})


def roi(
    number: int, name: str, contours: list[Dataset], colour: list[int] | None = None
) -> tuple[Dataset, Dataset]:
    """The two places where a structure is described."""
    drawn = _item(ReferencedROINumber=number, ContourSequence=contours)
    if colour is not None:
        drawn.ROIDisplayColor = colour
    return _item(ROINumber=number, ROIName=name, ReferencedFrameOfReferenceUID=SPACE_UID), drawn


def write(path: Path, rois: list[tuple[Dataset, Dataset]], *, series: str | None = SERIES_UID) -> Path:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = RTStructureSetStorage, "1.2.9.1"
    meta.TransferSyntaxUID = ImplicitVRLittleEndian
    made = FileDataset(path, {}, file_meta=meta, preamble=bytes(128))
    made.SOPClassUID, made.SOPInstanceUID, made.Modality = RTStructureSetStorage, "1.2.9.1", "RTSTRUCT"
    made.SeriesInstanceUID, made.PatientName, made.StructureSetLabel = "1.2.9.2", CANARY, CANARY
    made.SpecificCharacterSet = "ISO_IR 192"
    if series is not None:
        study = _item(RTReferencedSeriesSequence=[_item(SeriesInstanceUID=series)])
        made.ReferencedFrameOfReferenceSequence = [
            _item(FrameOfReferenceUID=SPACE_UID, RTReferencedStudySequence=[study])
        ]
    made.StructureSetROISequence = [listed for listed, _ in rois]
    made.ROIContourSequence = [drawn for _, drawn in rois]
    code = _item(CodeValue="T-62000", CodingSchemeDesignator="SRT", CodeMeaning="Liver")
    made.RTROIObservationsSequence = [
        _item(ReferencedROINumber=rois[0][0].ROINumber, RTROIIdentificationCodeSequence=[code])
    ]
    made.save_as(path, enforce_file_format=True)
    return path


def filled(corners: list[tuple[float, float]]) -> np.ndarray:
    """What matplotlib says lies inside, (column, row)."""
    inside = Outline([*corners, corners[0]], closed=True).contains_points(
        np.indices((COLUMNS, ROWS)).reshape(2, -1).T
    )
    return np.asarray(inside.reshape(COLUMNS, ROWS))


def on_slices(**slices: np.ndarray) -> np.ndarray:
    volume = np.zeros(SHAPE, bool)
    for name, mask in slices.items():
        volume[..., int(name[1:])] = mask
    return volume


def test_contours_are_filled_on_the_grid_of_their_scan(folder: Path) -> None:
    rois = [
        roi(5, "Leber, größte", [contour(TRIANGLE, 1), contour(TRIANGLE[::-1], 4)], [200, 10, 30]),
        roi(300, "node", [contour([(8.4, 6.4), (10.6, 6.4), (10.6, 8.6), (8.4, 8.6)], 4)]),
    ]
    found = medseg.read_labels(write(folder / "rt.dcm", rois))
    assert np.array_equal(found.data == 5, on_slices(k1=filled(TRIANGLE), k4=filled(TRIANGLE)))
    assert (found.data == 300).sum() == 4
    assert np.allclose(found.geometry.affine, RAS, atol=1e-5)
    assert found.geometry.same_grid(medseg.read(folder / "0.dcm").geometry)
    liver, node = found.labels
    assert (liver.name, liver.colour, liver.snomed) == ("Leber, größte", (200, 10, 30), "10200004")
    assert (node.id, node.name, node.snomed) == (300, "node", None)
    assert found.verdict.status == "ok"


def test_holes_are_holes_and_overlaps_take_layers(folder: Path) -> None:
    keyhole = [*SQUARE, SQUARE[0], INNER[0], *INNER[:0:-1], INNER[0], SQUARE[0]]
    rois = [
        roi(1, "ring", [contour(SQUARE, 2), contour(INNER, 2)]),
        roi(2, "keyhole", [contour(keyhole, 2)]),
        roi(3, "core", [contour(INNER, 2)]),
        roi(4, "exclusive", [contour(kind="CLOSEDPLANAR_XOR", corners=SQUARE, k=3), contour(INNER, 3)]),
    ]
    first, second = medseg.read_label_layers(write(folder / "rt.dcm", rois))
    ring = filled(SQUARE) & ~filled(INNER)
    assert ring.sum() == 12
    assert (first.labels.ids, second.labels.ids) == ((1, 3, 4), (2,))
    assert np.array_equal(first.data == 1, on_slices(k2=ring))
    assert np.array_equal(second.data == 2, on_slices(k2=ring))
    assert np.array_equal(first.data == 3, on_slices(k2=filled(INNER)))
    assert np.array_equal(first.data == 4, on_slices(k3=ring))
    with pytest.raises(medseg.InputRefused) as refusal:
        medseg.read_labels(folder / "rt.dcm")
    assert refusal.value.code == "overlapping-labels"


def test_contours_of_one_structure_that_cross_are_a_warning(folder: Path) -> None:
    beside = [(i + 4.2, j) for i, j in SQUARE]  # shares a side with the square
    across = [(i + 2.0, j + 1.0) for i, j in SQUARE]
    touching = write(folder / "rt.dcm", [roi(1, "organ", [contour(SQUARE, 2), contour(beside, 2)])])
    assert medseg.read_labels(touching).verdict.status == "ok"
    crossing = write(folder / "rt.dcm", [roi(1, "organ", [contour(SQUARE, 2), contour(across, 2)])])
    found = medseg.read_labels(crossing)
    assert found.verdict.codes == ("contours-cross",)
    assert np.array_equal(found.data[..., 2] == 1, filled(SQUARE) ^ filled(across))


def test_a_contour_may_reach_beyond_the_scan(folder: Path) -> None:
    wide = [(-50.5, 3.4), (90.5, 3.4), (90.5, 40.6), (-50.5, 40.6)]
    found = medseg.read_labels(write(folder / "rt.dcm", [roi(1, "wide", [contour(wide, 5)])]))
    assert np.array_equal(found.data[..., 5], filled(wide))
    assert found.data.sum() == COLUMNS * (ROWS - 4)


def test_what_is_no_closed_contour_is_left_out_and_counted(folder: Path) -> None:
    rois = [
        roi(1, "organ", [contour(SQUARE, 2), contour([(3.0, 3.0)], 2, "POINT")]),
        roi(2, "isocentre", [contour([(3.0, 3.0)], 2, "POINT")]),
        roi(3, "line", [contour(SQUARE, 2, "OPEN_PLANAR")]),
        roi(4, "nothing", []),
    ]
    found = medseg.read_labels(write(folder / "rt.dcm", rois))
    assert found.labels.ids == (1,)
    assert found.verdict.codes == ("structures-left-out",)
    assert "3 structures have no closed" in found.verdict.reasons[0].message
    with pytest.raises(medseg.InputRefused, match="none with closed contours") as refusal:
        medseg.read_labels(write(folder / "points.dcm", rois[1:]))
    assert refusal.value.code == "no-segments"


def test_contours_above_and_below_the_scan_are_a_warning_unless_all_are(folder: Path) -> None:
    far = contour(SQUARE, 9, ContourImageSequence=[])
    path = write(folder / "rt.dcm", [roi(1, "organ", [contour(SQUARE, 2), far])])
    found = medseg.read_labels(path)
    assert found.verdict.codes == ("contours-outside",)
    assert np.array_equal(found.data == 1, on_slices(k2=filled(SQUARE)))
    with pytest.raises(medseg.InputRefused, match="none of its 1 contours") as refusal:
        medseg.read_labels(write(folder / "far.dcm", [roi(1, "organ", [far])]))
    assert refusal.value.code == "grid-differs"


@pytest.mark.parametrize(("depth", "taken"), [(2.05, True), (1.95, True), (2.15, False), (2.5, False)])
def test_contours_have_to_lie_on_slices(folder: Path, depth: float, taken: bool) -> None:
    path = write(folder / "rt.dcm", [roi(7, "organ", [contour(SQUARE, depth)])])
    if taken:
        assert np.array_equal(medseg.read_labels(path).data == 7, on_slices(k2=filled(SQUARE)))
    else:
        with pytest.raises(medseg.InputRefused, match="structure 7") as refusal:
            medseg.read_labels(path)
        assert refusal.value.code == "contours-off-slices"


def test_contours_that_cross_slices_are_refused(folder: Path) -> None:
    index = np.array([(i, j, 2 + n) for n, (i, j) in enumerate(SQUARE)])
    slanted = contour(SQUARE, 2, ContourData=texts(points(index)))
    with pytest.raises(medseg.InputRefused) as refusal:
        medseg.read_labels(write(folder / "rt.dcm", [roi(1, "organ", [slanted])]))
    assert refusal.value.code == "contours-off-slices"


def test_the_scan_is_found_by_its_images_where_no_series_is_named(folder: Path) -> None:
    path = write(folder / "rt.dcm", [roi(1, "organ", [contour(SQUARE, 2)])], series=None)
    assert medseg.read_labels(path).data.sum() == filled(SQUARE).sum()


def test_a_structure_set_without_its_scan_is_refused_until_it_is_given(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "alone").mkdir()
    path = write(tmp_path / "alone" / "rt.dcm", [roi(1, "organ", [contour(SQUARE, 2)])])
    with pytest.raises(medseg.InputRefused, match="scan=PATH") as refusal:
        medseg.read_labels(path)
    assert refusal.value.code == "no-reference-scan"
    expected = on_slices(k2=filled(SQUARE))
    assert np.array_equal(medseg.read_labels(path, scan=folder).data == 1, expected)
    nifti = medseg.write(medseg.read(folder / "0.dcm"), tmp_path / "ct.nii.gz")
    assert np.array_equal(medseg.read_labels(path, scan=nifti).data == 1, expected)


def test_images_that_are_referred_to_have_to_be_there(folder: Path) -> None:
    path = write(folder / "rt.dcm", [roi(1, "organ", [contour(SQUARE, 2), contour(SQUARE, 5)])])
    next(p for p in folder.glob("*.dcm") if pydicom.dcmread(p).SOPInstanceUID == image_uid(5)).unlink()
    with pytest.raises(medseg.InputRefused, match="1 of 2 images") as refusal:
        medseg.read_labels(path)
    assert refusal.value.code == "no-reference-scan"
    found = medseg.read_labels(path, scan=folder)
    assert set(found.verdict.codes) == {"references-differ", "contours-outside"}


def test_a_scan_of_another_series_is_taken_at_the_callers_word(folder: Path) -> None:
    path = write(folder / "rt.dcm", [roi(1, "organ", [contour(SQUARE, 2)])])
    for image in folder.glob("*.dcm"):
        if image != path:
            dataset = pydicom.dcmread(image)
            dataset.SeriesInstanceUID, dataset.FrameOfReferenceUID = "1.2.7", "1.2.8"
            dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = (
                dataset.SOPInstanceUID + ".9"
            )
            dataset.save_as(image)
    with pytest.raises(medseg.InputRefused):
        medseg.read_labels(path)
    found = medseg.read_labels(path, scan=folder)
    assert found.verdict.codes == ("references-differ", "references-differ")
    assert found.data.any()


def test_numbers_that_cannot_be_ids_are_counted_anew(folder: Path) -> None:
    for numbers in ((0, 70_000), (-1, 3)):
        rois = [roi(n, "organ", [contour(SQUARE, k)]) for k, n in enumerate(numbers)]
        found = medseg.read_labels(write(folder / "rt.dcm", rois))
        assert found.labels.ids == (1, 2)
        assert found.labels.names == ("organ 1", "organ 2")
        assert set(found.verdict.codes) == {"structures-renumbered", "labels-renamed"}


@pytest.mark.parametrize(
    "broken",
    [
        {"NumberOfContourPoints": 5},
        {"ContourData": ["1", "2", "3", "4"]},
        {"ContourData": None},
        {"ContourGeometricType": "CLOSED_PLANAS"},
        {"ContourData": ["1e30", "2", "3"], "NumberOfContourPoints": 1},
    ],
)
def test_malformed_contours_are_refused(folder: Path, broken: dict[str, Any]) -> None:
    path = write(folder / "rt.dcm", [roi(1, "organ", [contour(SQUARE, 2, **broken)])])
    with pytest.raises(medseg.InputRefused) as refusal:
        medseg.read_labels(path)
    assert refusal.value.code == "bad-header"


def test_contours_without_points_are_left_out_and_counted(folder: Path) -> None:
    nothing = {"ContourData": None, "NumberOfContourPoints": 0}
    path = write(folder / "rt.dcm", [roi(1, "organ", [contour(SQUARE, 2), contour(SQUARE, 3, **nothing)])])
    found = medseg.read_labels(path)
    assert np.array_equal(found.data == 1, on_slices(k2=filled(SQUARE)))
    assert found.verdict.codes == ("structures-left-out",)
    assert found.verdict.reasons[0].message == "1 contour has no points; these are left out"


@pytest.mark.parametrize(
    ("listed", "drawn", "message"),
    [
        ((1, 2), (1, 3), "structure 3, which is listed 0 times"),
        ((1, 2), (1, None), "do not say"),
        ((1, None), (1, 2), "structure 2"),
        ((1, 1), (1, 2), "structure 1, which is listed 2 times"),
        ((1, 2), (1, 1), "structure 1 has contours at two places"),
    ],
)
def test_contours_that_are_not_of_one_listed_structure_are_refused(
    folder: Path, listed: tuple[int, ...], drawn: tuple[int, ...], message: str
) -> None:
    rois = [roi(n + 1, "organ", [contour(SQUARE, n)]) for n in range(2)]
    for (item, contours), number, reference in zip(rois, listed, drawn, strict=True):
        item.ROINumber, contours.ReferencedROINumber = number, reference
    with pytest.raises(medseg.InputRefused, match=message) as refusal:
        medseg.read_labels(write(folder / "rt.dcm", rois))
    assert refusal.value.code == "bad-header"


def test_no_contours_may_be_those_of_no_structure(folder: Path) -> None:
    rois = [roi(1, "organ", [contour(SQUARE, 2)]), roi(2, "nothing", [])]
    rois[1][1].ReferencedROINumber = 9
    found = medseg.read_labels(write(folder / "rt.dcm", rois))
    assert np.array_equal(found.data == 1, on_slices(k2=filled(SQUARE)))


@pytest.mark.parametrize(
    "keyword", ["SOPClassUID", "Modality", "StructureSetROISequence", "ROIContourSequence"]
)
def test_an_element_that_stands_twice_is_refused(folder: Path, keyword: str) -> None:
    path = write(folder / "rt.dcm", [roi(1, "organ", [contour(SQUARE, 2)])])
    twice = pydicom.dcmread(path)
    again = Dataset()
    again[keyword] = twice[keyword]
    # Behind the others, where pydicom would not put it.
    path.write_bytes(path.read_bytes() + encoded(again))
    with pytest.raises(medseg.InputRefused, match="twice") as refusal:
        medseg.read_labels(path)
    assert refusal.value.code == "bad-header"


def encoded(dataset: Dataset) -> bytes:
    file = DicomBytesIO()
    file.is_implicit_VR, file.is_little_endian = True, True
    write_dataset(file, dataset)
    return file.getvalue()


def test_no_text_of_the_header_is_told(folder: Path) -> None:
    path = write(folder / "rt.dcm", [roi(1, "organ", [contour(SQUARE, 2.5)])])
    content = path.read_bytes()
    first = contour(SQUARE, 2.5).ContourData[0]
    first = str(first.original_string if hasattr(first, "original_string") else first).encode()
    assert first in content
    path.write_bytes(content.replace(first, b"DOE^JANE"[: len(first)].ljust(len(first))))
    for attempt in (medseg.read_labels, medseg.read, medseg.inspect):
        try:
            told = repr(attempt(path))
        except medseg.InputRefused as refusal:
            told = repr(refusal) + repr(refusal.__context__ if not refusal.__suppress_context__ else "")
        assert "DOE" not in told
        assert CANARY not in told
        assert "organ" not in told


def test_a_structure_set_is_no_scan(folder: Path) -> None:
    path = write(folder / "rt.dcm", [roi(1, "organ", [contour(SQUARE, 2)])])
    with pytest.raises(medseg.InputRefused, match=r"1 structure, no scan.*convert --labels") as refusal:
        medseg.read(path)
    assert refusal.value.code == "structure-set"
    (found,) = medseg.inspect(path).series
    assert (found.modality, found.summary) == ("RTSTRUCT", "RTSTRUCT, 1 structure in 1 label map")
    assert found.geometry is not None
    assert found.geometry.shape == SHAPE


def test_structures_of_rt_utils_come_out_as_they_were_drawn(real_data: Path) -> None:
    folder = real_data / "dicom" / "rtstruct_rt_utils" / "tests"
    found = medseg.read_labels(folder / "mock_data" / "rt.dcm")
    dataset = pydicom.dcmread(folder / "mock_data" / "rt.dcm")
    # A square with a square hole, both on the first slice; centres near a line are left to other tests.
    centres = np.indices((512, 512)).reshape(2, -1).T
    expected, near = np.zeros(len(centres), bool), np.zeros(len(centres), bool)
    for item in dataset.ROIContourSequence[0].ContourSequence:
        drawn = np.array(item.ContourData, float).reshape(-1, 3) * (-1, -1, 1)
        corners = found.geometry.world_to_index([*drawn, drawn[0]])[:, :2]
        inside, wider = (Outline(corners).contains_points(centres, radius=r) for r in (-0.05, 0.05))
        expected ^= inside
        near |= inside != wider
    assert expected.sum() > 1000
    assert near.sum() < 100
    assert np.array_equal(found.data[..., 0].reshape(-1)[~near] == 1, expected[~near])
    assert not found.data[..., 1].any()
    for broken in ("mock_data/invalid_reference_rt", "mock_data/non_existent_reference_rt", "empty/dummy_rt"):
        with pytest.raises(medseg.InputRefused) as refusal:
            medseg.read_labels(folder / f"{broken}.dcm")
        assert refusal.value.code == "no-reference-scan"


def test_contours_on_a_real_oblique_series(real_data: Path, tmp_path: Path) -> None:
    folder = tmp_path / "scan"
    folder.mkdir()
    for path in (real_data / "dicom" / "rtstruct_rt_utils" / "tests" / "oriented_data").glob("*.dcm"):
        dataset = pydicom.dcmread(path)
        dataset.StudyInstanceUID = "1.2.3"  # whoever took the names out gave every slice a study of its own
        dataset.save_as(folder / path.name)
    scan = medseg.read(folder)
    mask = np.zeros(scan.geometry.shape, bool)
    mask[20:31, 40:52, 1] = True
    corners = np.array([(20, 40, 1), (30, 40, 1), (30, 51, 1), (20, 51, 1)])
    drawn = texts(scan.geometry.index_to_world(corners) * (-1, -1, 1))
    item = contour([(0, 0)] * 4, 0, ContourData=drawn, ContourImageSequence=[])
    found = medseg.read_labels(write(tmp_path / "rt.dcm", [roi(1, "box", [item])]), scan=folder)
    assert np.array_equal(found.data == 1, mask)


def test_a_whole_plan_has_the_volumes_of_its_contours(real_data: Path, tmp_path: Path) -> None:
    """Ten structures on 98 slices: volumes by voxels against those by the surveyor's formula."""
    folder = real_data / "dicom" / "rtstruct_dicompyler" / "tests" / "testdata" / "example_data"
    with pytest.raises(medseg.InputRefused) as refusal:
        medseg.read_labels(folder / "rtss.dcm")  # 97 of its 98 images are not there
    assert refusal.value.code == "no-reference-scan"
    affine = np.diag([-1.074219, -1.074219, 3.0, 1.0])
    affine[:3, 3] = (275, 524, -122.44)
    nibabel.save(nibabel.Nifti1Image(np.zeros((512, 512, 98), np.uint8), affine), tmp_path / "ct.nii")
    layers = medseg.read_label_layers(folder / "rtss.dcm", scan=tmp_path / "ct.nii")
    assert sum(len(layer.labels) for layer in layers) == 9
    counts = [np.bincount(layer.data.ravel(order="K"), minlength=11) for layer in layers]
    dataset = pydicom.dcmread(folder / "rtss.dcm")
    for drawn in dataset.ROIContourSequence:
        contours = [np.array(c.ContourData, float).reshape(-1, 3) for c in drawn.get("ContourSequence", [])]
        if drawn.ReferencedROINumber in (6, 7, 8, 9, 10):  # one contour on a slice, or several apart
            expected = 3.0 * sum(_area(c[:, :2]) for c in contours)
            voxels = max(count[int(drawn.ReferencedROINumber)] for count in counts)
            found = voxels * layers[0].geometry.voxel_volume_mm3
            assert found == pytest.approx(expected, rel=0.03)


def _area(corners: np.ndarray) -> float:
    x, y = corners.T
    return abs(float(x @ np.roll(y, -1) - y @ np.roll(x, -1))) / 2
