"""DICOM series written by pydicom and read whole, against SimpleITK and plain arithmetic."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

import medseg
from medseg.io.files import stem

CANARY = "Canary^Patient"
ROW = np.array([0.96, 0.28, 0.0])
COLUMN = np.array([-0.28 * 0.8, 0.96 * 0.8, 0.6])
NORMAL = np.cross(ROW, COLUMN)
FIRST = np.array([-101.5, 42.25, 310.125])
SHAPE = (5, 7)  # rows, columns

Series = Callable[..., list[Path]]


def _slice(path: Path, uid: str, number: int, position: np.ndarray, **tags: Any) -> Path:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = CTImageStorage, generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    item = FileDataset(path, {}, file_meta=meta, preamble=bytes(128))
    item.SOPClassUID, item.SOPInstanceUID = CTImageStorage, meta.MediaStorageSOPInstanceUID
    item.PatientName, item.PatientID, item.SeriesDescription = CANARY, CANARY, CANARY
    item.Modality, item.SeriesInstanceUID, item.InstanceNumber = "CT", uid, number
    item.FrameOfReferenceUID = "1.2.3"
    item.Rows, item.Columns = SHAPE
    item.PixelSpacing = [0.75, 1.25]  # between rows, between columns
    item.ImageOrientationPatient = [f"{x:.10g}" for x in (*ROW, *COLUMN)]
    item.ImagePositionPatient = [f"{x:.10g}" for x in position]
    item.SliceThickness = 99.0  # has to be ignored
    item.SamplesPerPixel, item.PhotometricInterpretation = 1, "MONOCHROME2"
    item.BitsAllocated, item.BitsStored, item.HighBit, item.PixelRepresentation = 16, 12, 11, 0
    item.RescaleSlope, item.RescaleIntercept = 1, -1024
    pixels = np.arange(35, dtype=np.uint16).reshape(SHAPE) + 100 * number
    item.PixelData = pixels.tobytes()
    for name, value in tags.items():
        setattr(item, name, value)
    item.save_as(path, enforce_file_format=True)
    return path


@pytest.fixture
def series(tmp_path: Path) -> Series:
    """Write a series; file names and instance numbers say nothing about the order of the slices."""

    def make(
        count: int = 6,
        folder: str = "scan",
        depths: tuple[float, ...] | None = None,
        step: np.ndarray = NORMAL,
        changes: dict[int, dict[str, Any]] | None = None,
        **tags: Any,
    ) -> list[Path]:
        depths = depths or tuple(2.5 * n for n in range(count))
        (tmp_path / folder).mkdir(exist_ok=True)
        uid, names = generate_uid(), random.Random(3).sample(range(1000), len(depths))
        return [
            _slice(
                tmp_path / folder / f"IM{names[n]:04d}{uid[-4:]}",
                uid, n, FIRST + depth * step, **tags, **(changes or {}).get(n, {}),
            )
            for n, depth in enumerate(depths)
        ]  # fmt: skip

    return make


def _code(path: Path, **options: Any) -> str:
    with pytest.raises(medseg.InputRefused) as refusal:
        medseg.read(path, **options)
    assert "Canary" not in str(refusal.value)
    return refusal.value.code


def _sample(shape: tuple[int, ...]) -> np.ndarray:
    """Ten thousand voxel indices, drawn once and for all."""
    return np.random.default_rng(5).integers(0, shape, (10_000, 3))


def test_every_voxel_is_where_its_own_header_puts_it(series: Series) -> None:
    paths = series()
    found = medseg.read(paths[0].parent)
    assert found.verdict.status == "ok"
    assert found.source.modality == "CT"
    assert found.data.shape == (1, 7, 5, 6)
    assert found.data.dtype == np.int16
    for n in range(6):
        for row, column in ((0, 0), (4, 6), (2, 5)):
            lps = FIRST + 2.5 * n * NORMAL + column * 1.25 * ROW + row * 0.75 * COLUMN
            index = np.rint(found.geometry.world_to_index(lps * (-1, -1, 1))).astype(int)
            assert np.allclose(found.geometry.index_to_world(index), lps * (-1, -1, 1), atol=1e-6)
            assert found.data[0][tuple(index)] == 7 * row + column + 100 * n - 1024


def test_simpleitk_finds_the_same_values_at_the_same_points(series: Series) -> None:
    folder = series()[0].parent
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder)))
    image, found = reader.Execute(), medseg.read(folder)
    for index in np.ndindex(found.geometry.shape):
        point = found.geometry.index_to_world(index) * (-1, -1, 1)
        there = image.TransformPhysicalPointToIndex(point.tolist())
        assert image[there] == found.data[0][index]


def test_one_file_means_its_series_among_its_siblings(series: Series) -> None:
    paths = series()
    series(count=3)
    assert medseg.read(paths[4]).data.shape == (1, 7, 5, 6)
    assert stem(paths[4]) == "scan"


def test_several_series_are_listed_and_chosen_by_number_or_uid(series: Series) -> None:
    folder = series(count=4, SeriesNumber=7)[0].parent
    other = series(count=3, SeriesNumber=9)
    uid = pydicom.dcmread(other[0]).SeriesInstanceUID
    with pytest.raises(
        medseg.InputRefused, match=rf"2 series.*1: CT, 4 x 7x5, .*2: CT, 3 x 7x5, .*{uid}"
    ) as refusal:
        medseg.read(folder)
    assert refusal.value.code == "several-series"
    for choice in (2, "2", uid):
        assert medseg.read(folder, series=choice).data.shape[3] == 3
    with pytest.raises(medseg.UsageError, match="series=3 is not there"):
        medseg.read(folder, series=3)


def test_inspect_lists_every_series_with_its_verdict(series: Series) -> None:
    folder = series(count=4, SeriesNumber=7)[0].parent
    series(depths=(0, 2, 4, 8), SeriesNumber=9)
    document = medseg.inspect(folder).to_json()
    assert document["verdict"] == "refused"
    assert document["reasons"][0]["code"] == "several-series"
    assert [s["verdict"] for s in document["series"]] == ["ok", "refused"]
    assert document["series"][0]["shape"] == [7, 5, 4]
    assert document["series"][0]["spacing_mm"] == pytest.approx([1.25, 0.75, 2.5])
    assert document["series"][1]["reasons"][0]["code"] == "missing-slices"
    assert document["series"][1]["modality"] == "CT"
    assert "Canary" not in str(document)


@pytest.mark.parametrize(
    ("depths", "code"),
    [
        ((0, 5, 10, 20), "missing-slices"),
        ((0, 5, 20, 25, 30), "missing-slices"),
        ((0, 5, 10, 16.5), "uneven-spacing"),
        ((0, 1, 2, 3.05), "uneven-spacing"),
        ((0, 0, 0, 0), "repeated-positions"),
        ((0, 5, 5, 10), "repeated-positions"),
        ((0, 5, 10, 0, 5, 10), "four-dimensional"),
    ],
)
def test_slices_that_do_not_make_one_even_stack_are_refused_by_name(
    series: Series, depths: tuple[float, ...], code: str
) -> None:
    folder = series(depths=depths)[0].parent
    assert _code(folder) == code


@pytest.mark.parametrize(("allow", "planes"), [("missing-slices", 7), ("uneven-spacing", None)])
def test_gaps_are_filled_where_that_is_allowed(series: Series, allow: str, planes: int | None) -> None:
    folder = series(depths=(0, 5, 20, 25, 30))[0].parent
    if planes is None:
        assert _code(folder, allow=[allow]) == "missing-slices"
        return
    found = medseg.read(folder, allow=[allow])
    assert found.verdict.status == "repaired"
    assert found.verdict.codes == (allow,)
    assert found.data.shape == (1, 7, 5, planes)
    ramp = found.data[0, 3, 2].astype(float)  # each slice is 100 more than the one before
    assert ramp - ramp[0] == pytest.approx([0, 100, 133, 167, 200, 300, 400], abs=0.5)
    assert found.geometry.spacing[2] == pytest.approx(5)


def test_labels_are_never_interpolated(series: Series) -> None:
    folder = series(depths=(0, 5, 20, 25, 30), RescaleIntercept=0)[0].parent
    with pytest.raises(medseg.InputRefused) as refusal:
        medseg.read_labels(folder, allow=["missing-slices"])
    assert refusal.value.code == "missing-slices"


def test_uneven_slices_are_resampled_where_that_is_allowed(series: Series) -> None:
    folder = series(depths=(0, 2, 4.5, 8))[0].parent
    found = medseg.read(folder, allow=["uneven-spacing"])
    assert found.verdict.codes == ("uneven-spacing",)
    assert found.geometry.spacing[2] == pytest.approx(2)
    ramp = found.data[0, 3, 2].astype(float)
    assert ramp - ramp[0] == pytest.approx([0, 100, 180, 243, 300], abs=0.5)


def test_rounded_positions_within_a_hundredth_of_a_millimetre_are_even(series: Series) -> None:
    folder = series(depths=(0, 2.504, 4.997, 7.5, 10.003))[0].parent
    assert medseg.read(folder).geometry.spacing[2] == pytest.approx(2.50075, abs=1e-6)


def test_a_tilted_stack_is_refused_or_kept_exactly_when_allowed(series: Series) -> None:
    step = NORMAL + 0.3 * COLUMN
    folder = series(step=step)[0].parent
    assert _code(folder) == "tilt"
    found = medseg.read(folder, allow=["tilt"])
    assert found.verdict.codes == ("tilt",)
    last = (FIRST + 12.5 * step) * (-1, -1, 1)
    assert np.allclose(found.geometry.index_to_world((0, 0, 5)), last, atol=1e-6)


def test_a_copied_slice_is_refused(series: Series) -> None:
    paths = series()
    shutil.copy(paths[2], paths[2].with_name("copy"))
    assert _code(paths[0].parent) == "duplicate-slices"


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"ImageOrientationPatient": [1, 0, 0, 0, 1, 0]}, "several-series"),
        ({"PixelSpacing": [0.75, 1.3]}, "several-series"),
        ({"FrameOfReferenceUID": "9.9"}, "several-series"),
        ({"Rows": 7, "Columns": 5}, "several-series"),
        ({"ImagePositionPatient": None}, "no-position"),
        ({"RescaleSlope": 0}, "bad-header"),
        ({"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}, "missing-slices"),
        ({"NumberOfFrames": 4}, "several-series"),
        ({"SamplesPerPixel": 3, "PhotometricInterpretation": "RGB"}, "several-series"),
        ({"PixelData": bytes(20)}, "truncated"),
        ({"HighBit": 16}, "bad-header"),
    ],
)
def test_one_odd_slice_refuses_the_series(series: Series, changes: dict[str, Any], code: str) -> None:
    assert _code(series(changes={3: changes})[0].parent) == code


def test_a_damaged_file_named_dicom_refuses_the_series(
    series: Series, truncate: Callable[[Path, int], Path]
) -> None:
    paths = series()
    broken = paths[0].rename(paths[0].with_name("broken.dcm"))
    broken.write_bytes(broken.read_bytes()[:100])
    assert _code(broken.parent) == "bad-header"


def test_rescaling_that_differs_between_slices_is_applied_slice_by_slice(series: Series) -> None:
    changes = {n: {"RescaleSlope": 0.5 + n, "RescaleIntercept": n} for n in range(6)}
    found = medseg.read(series(changes=changes)[0].parent)
    assert found.data.dtype == np.float32
    for n in range(6):
        assert found.data[0, 6, 4, n] == pytest.approx((34 + 100 * n) * (0.5 + n) + n)


def test_unused_high_bits_are_no_part_of_a_value(series: Series) -> None:
    stray = (np.arange(35, dtype=np.uint16) | 0xF000).tobytes()
    folder = series(PixelData=stray)[0].parent
    assert np.array_equal(np.unique(medseg.read(folder).data), np.arange(35) - 1024)
    signed = series(folder="signed", PixelData=stray, PixelRepresentation=1, RescaleIntercept=0)[0].parent
    assert np.array_equal(np.unique(medseg.read(signed).data), np.arange(35))


def test_reports_and_other_files_beside_a_series_are_set_aside(series: Series) -> None:
    folder = series()[0].parent
    (folder / "README.txt").write_text("not DICOM")
    report = {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.88.22", "Modality": "SR"}
    _slice(folder / "report", generate_uid(), 0, FIRST, **report)
    page = {"SamplesPerPixel": 3, "PhotometricInterpretation": "RGB", "ImagePositionPatient": None}
    _slice(folder / "page", generate_uid(), 0, FIRST, **page)
    _slice(folder / "scout", generate_uid(), 0, FIRST, ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])
    assert medseg.read(folder).data.shape[3] == 6
    aside = {a.code: a.count for a in medseg.inspect(folder).set_aside}
    assert aside == {"localizer": 1, "colour-page": 1, "report": 1, "not-dicom": 1}
    assert _code(folder / "report") == "not-an-image"
    assert _code(folder / "scout") == "localizer"
    assert _code(folder / "page") == "colour"


def test_a_folder_without_a_scan_is_refused(tmp_path: Path) -> None:
    assert _code(tmp_path) == "no-scan"


def test_one_slice_is_read_with_a_warning(series: Series) -> None:
    found = medseg.read(series(count=1, SliceThickness=3.5)[0])
    assert found.verdict.codes == ("one-slice",)
    assert found.geometry.spacing == pytest.approx((1.25, 0.75, 3.5))


def test_a_radiograph_is_a_plane_of_unknown_orientation(series: Series) -> None:
    path = series(count=1, Modality="DX", ImagePositionPatient=None, ImageOrientationPatient=None)[0]
    found = medseg.read(path)
    assert found.geometry.is_2d
    assert found.geometry.spacing_known
    assert found.verdict.codes == ("orientation-unknown",)
    detector = series(folder="d", count=1, ImagePositionPatient=None, ImageOrientationPatient=None,
                      ImagerPixelSpacing=[0.75, 1.25])[0]  # fmt: skip
    assert not medseg.read(detector).geometry.spacing_known


def test_no_patient_data_reach_the_source_facts(series: Series) -> None:
    found = medseg.read(series()[0].parent)
    assert "Canary" not in str(dict(found.source.header))
