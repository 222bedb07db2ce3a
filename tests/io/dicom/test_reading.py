"""DICOM series: made ones against SimpleITK and plain arithmetic, real ones against dcm2niix."""

from __future__ import annotations

import random
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

import medseg
from medseg import Volume
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


@pytest.fixture(scope="module")
def clean_ct(real_data: Path) -> Volume:
    return medseg.read(real_data / "dicom" / "ct_clean_j2k")


def test_the_ordinary_ct_is_plainly_right(clean_ct: Volume) -> None:
    assert clean_ct.verdict.status == "ok"
    assert clean_ct.data.shape == (1, 512, 512, 20)
    assert clean_ct.source.modality == "CT"
    assert clean_ct.geometry.spacing == pytest.approx((0.9765625, 0.9765625, 2.0))


REAL = {
    "generic_anatomical/001": "ok", "generic_anatomical/001_implicit": "ok",
    "generic_anatomical/002_non_isotropic": "ok", "generic_compressed_j2k/001": "ok",
    "generic_compressed_jpeg/001": "ok", "generic_compressed_jpegls/001": "ok",
    "generic_compressed_rle/001": "ok", "two_slices/001": "ok", "seg_dcmqi/ct-3slice": "ok",
    "rtstruct_rt_utils/tests/oriented_data": "ok",
    "ct_gantry_tilt_variable_spacing": "uneven-spacing", "missing_slice": "missing-slices",
    "four_slices_one_position/001": "repeated-positions", "repeated_positions_4d": "four-dimensional",
    "nine_transfer_syntaxes/In": "several-series", "twelve_bit/In": "several-series",
    "generic_rgb/001": "colour", "enhanced_mr/001": "ok", "seg_dcmqi/23x38x3/seg": "no-scan",
    "enhanced_mr/001_implicit": "ok", "enhanced_mr_qa/In/Philips": "several-series",
    "enhanced_mr_qa/In/Siemens/XA10": "four-dimensional", "files_named_img/Agfa": "four-dimensional",
    "seg_dcmqi/23x38x3/multiframe": "ok", "rtstruct_rt_utils": "several-series",
    "seg_highdicom": "several-series",
}  # fmt: skip


@pytest.mark.parametrize(("folder", "expected"), REAL.items())
def test_real_folders_are_read_or_refused_by_name(real_data: Path, folder: str, expected: str) -> None:
    inspection = medseg.inspect(real_data / "dicom" / folder)
    if expected == "ok":
        assert inspection.verdict.status == "ok"
    else:
        assert inspection.verdict.codes[0] == expected


def test_a_tilted_series_with_uneven_gaps_names_both(real_data: Path) -> None:
    verdict = medseg.inspect(real_data / "dicom" / "ct_gantry_tilt_variable_spacing").verdict
    assert verdict.codes == ("uneven-spacing", "tilt")


TRUE = ("generic_anatomical/001", "generic_anatomical/001_implicit", "generic_anatomical/002_non_isotropic",
        "generic_compressed_j2k/001", "generic_compressed_jpeg/001", "generic_compressed_jpegls/001",
        "generic_compressed_rle/001", "two_slices/001")  # fmt: skip


@pytest.mark.parametrize("folder", TRUE)
def test_every_transfer_syntax_gives_the_published_voxels(real_data: Path, folder: str) -> None:
    source = real_data / "dicom" / folder
    found, truth = medseg.read(source), nibabel.load(source.with_name(f"{source.name}_ground_truth.nii.gz"))
    indices = _sample(found.geometry.shape)
    points = np.c_[found.geometry.index_to_world(indices), np.ones(len(indices))]
    there = np.linalg.solve(truth.affine, points.T)[:3]
    assert np.abs(there - np.rint(there)).max() < 1e-4
    values = np.asanyarray(truth.dataobj)[tuple(np.rint(there).astype(int))]
    assert np.allclose(values, found.data[0][tuple(indices.T)], rtol=1e-5)


def test_nine_transfer_syntaxes_hold_one_image(real_data: Path) -> None:
    folder = real_data / "dicom" / "nine_transfer_syntaxes" / "In"
    first = medseg.read(folder, series=1)
    for n in range(2, 10):
        assert np.array_equal(medseg.read(folder, series=n).data, first.data)


def test_the_published_segmentation_lies_on_the_grid_of_its_series(real_data: Path, clean_ct: Volume) -> None:
    scan = clean_ct
    labels = medseg.read_labels(real_data / "ct" / "example_seg_dicom.nii.gz")
    points = labels.geometry.index_to_world(np.argwhere(labels.data[::7, ::7] > 0) * (7, 7, 1))
    inside = scan.geometry.world_to_index(points)
    assert (np.abs(inside - np.rint(inside)) < 1e-3).all()
    assert (inside >= -0.5).all()
    assert (inside <= np.array(scan.geometry.shape) - 0.5).all()


@pytest.mark.skipif(shutil.which("dcm2niix") is None, reason="dcm2niix is not installed")
@pytest.mark.parametrize(
    "folder",
    ["generic_anatomical/001", "generic_anatomical/002_non_isotropic", "generic_compressed_jpeg/001",
     "two_slices/001", "seg_dcmqi/ct-3slice", "rtstruct_rt_utils/tests/oriented_data", "ct_clean_j2k"],
)  # fmt: skip
def test_dcm2niix_finds_the_same_values_at_the_same_points(
    real_data: Path, clean_ct: Volume, folder: str, tmp_path: Path
) -> None:
    source = real_data / "dicom" / folder
    command = ["dcm2niix", "-p", "n", "-b", "n", "-z", "n", "-f", "scan", "-o", str(tmp_path), str(source)]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    written = sorted(tmp_path.glob("*.nii"))
    if len(written) != 1:
        pytest.skip(f"dcm2niix wrote {len(written)} files here (it lacks a decoder): {run.stdout[-200:]}")
    oracle = nibabel.load(written[0])
    found = clean_ct if folder == "ct_clean_j2k" else medseg.read(source)
    values = np.asanyarray(oracle.dataobj)
    corners = found.geometry.corners
    there = np.linalg.solve(oracle.affine, np.c_[corners, np.ones(8)].T)[:3].T
    assert np.abs(there - np.rint(there)).max() * max(found.geometry.spacing) < 1e-3
    indices = _sample(found.geometry.shape)
    points = np.c_[found.geometry.index_to_world(indices), np.ones(len(indices))]
    where = np.rint(np.linalg.solve(oracle.affine, points.T)[:3]).astype(int)
    assert np.allclose(values[tuple(where)], found.data[0][tuple(indices.T)], rtol=1e-5, atol=1e-3)
