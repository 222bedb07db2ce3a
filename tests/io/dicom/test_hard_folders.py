"""Hard folders: wherever medseg reads, each plane is one frame of the folder, where its header puts it.

The oracle is plain arithmetic on what pydicom says of every file: a plane of the volume has to have the four
corners of a frame, within 0.01 mm, and its values. What cannot be had so is refused by name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import EnhancedMRImageStorage, ExplicitVRLittleEndian, MRImageStorage, generate_uid
from pydicom.valuerep import format_number_as_ds

import medseg
from medseg import Volume

ROWS, COLUMNS = 6, 9
SPACING = (1.7, 0.6)  # between rows, between columns
OBLIQUE = (np.array([0.96, 0.28, 0.0]), np.array([-0.224, 0.768, 0.6]))
AXIAL = (np.array([1.0, 0.0, 0.0]), np.array([0.0, 1.0, 0.0]))
SAGITTAL = (np.array([0.0, 1.0, 0.0]), np.array([0.0, 0.0, -1.0]))
CORONAL = (np.array([1.0, 0.0, 0.0]), np.array([0.0, 0.0, -1.0]))
PRONE = (np.array([-1.0, 0.0, 0.0]), np.array([0.0, -1.0, 0.0]))
FEET_FIRST = (np.array([-1.0, 0.0, 0.0]), np.array([0.0, 1.0, 0.0]))
START = np.array([-80.25, 33.5, 1204.125])
Plane = tuple[NDArray[np.float64], NDArray[np.float64]]
Corners = NDArray[np.float64]


def _base(sop_class: str) -> FileDataset:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = sop_class, generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    item = FileDataset("", {}, file_meta=meta, preamble=bytes(128))
    item.SOPClassUID, item.SOPInstanceUID = sop_class, meta.MediaStorageSOPInstanceUID
    item.Modality, item.FrameOfReferenceUID, item.StudyInstanceUID = "MR", "1.2.3.4", "1.2.3"
    item.ImageType = ["ORIGINAL", "PRIMARY", "M", "ND"]
    item.Rows, item.Columns, item.SamplesPerPixel = ROWS, COLUMNS, 1
    item.PhotometricInterpretation = "MONOCHROME2"
    item.BitsAllocated, item.BitsStored, item.HighBit, item.PixelRepresentation = 16, 16, 15, 0
    return item


def _decimal(numbers: Iterable[float]) -> list[str]:
    return [format_number_as_ds(float(x)) for x in numbers]


def _pixels(seed: int) -> NDArray[np.uint16]:
    return np.random.default_rng(seed).integers(0, 60000, (ROWS, COLUMNS), dtype=np.uint16)


class Folder:
    """Writes slices into a folder under names that say nothing of their order."""

    def __init__(self, path: Path) -> None:
        self.path, self.count = path, 0
        self.uid = generate_uid()
        path.mkdir()

    def slice(self, position: NDArray[np.float64], plane: Plane = OBLIQUE, **tags: Any) -> Path:
        item = _base(MRImageStorage)
        item.SeriesInstanceUID, item.InstanceNumber = self.uid, (self.count * 7) % 5
        item.PixelSpacing = list(SPACING)
        item.ImageOrientationPatient = _decimal([*plane[0], *plane[1]])
        item.ImagePositionPatient = _decimal(position)
        item.SliceThickness = 40.0
        item.RescaleSlope, item.RescaleIntercept = 1, 0
        item.PixelData = _pixels(self.count).tobytes()
        for name, value in tags.items():
            if value is None:
                delattr(item, name)
            else:
                setattr(item, name, value)
        name = f"{(self.count * 37) % 101:03d}_{self.uid[-6:]}.dcm"
        self.count += 1
        item.save_as(self.path / name, enforce_file_format=True)
        return self.path / name

    def stack(
        self,
        depths: Iterable[float],
        plane: Plane = OBLIQUE,
        *,
        shift: NDArray[np.float64] | None = None,
        each: Callable[[int], dict[str, Any]] = lambda n: {},
        **tags: Any,
    ) -> None:
        step = np.cross(*plane) if shift is None else np.cross(*plane) + shift
        for n, depth in enumerate(depths):
            self.slice(START + depth * step, plane, **{**tags, **each(n)})

    def enhanced(
        self,
        frames: list[tuple[NDArray[np.float64], Plane, float, float]],
        **tags: Any,
    ) -> Path:
        item = _base(EnhancedMRImageStorage)
        item.SeriesInstanceUID, item.InstanceNumber = self.uid, 1
        item.NumberOfFrames = len(frames)
        pixels = np.stack([_pixels(100 * self.count + n) for n in range(len(frames))])
        item.PixelData = pixels.tobytes()
        groups = []
        for position, plane, slope, intercept in frames:
            place, turn, scale, group = Dataset(), Dataset(), Dataset(), Dataset()
            place.ImagePositionPatient = _decimal(position)
            turn.ImageOrientationPatient = _decimal([*plane[0], *plane[1]])
            scale.RescaleSlope, scale.RescaleIntercept, scale.RescaleType = slope, intercept, "US"
            group.PlanePositionSequence = Sequence([place])
            group.PlaneOrientationSequence = Sequence([turn])
            group.PixelValueTransformationSequence = Sequence([scale])
            groups.append(group)
        measures, shared = Dataset(), Dataset()
        measures.PixelSpacing, measures.SliceThickness = list(SPACING), 40.0
        shared.PixelMeasuresSequence = Sequence([measures])
        item.SharedFunctionalGroupsSequence = Sequence([shared])
        item.PerFrameFunctionalGroupsSequence = Sequence(groups)
        for name, value in tags.items():
            setattr(item, name, value)
        self.count += 1
        path = self.path / f"enhanced{self.count}.dcm"
        item.save_as(path, enforce_file_format=True)
        return path


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path / "scan")


def _frames_on_disk(folder: Path) -> list[tuple[Corners, NDArray[np.float64]]]:
    """(LPS corners, values (row, column)) of every frame under a folder, by pydicom and arithmetic."""
    found = []
    for path in sorted(folder.rglob("*.dcm")):
        item = pydicom.dcmread(path)
        pixels = item.pixel_array.reshape((-1, item.Rows, item.Columns)).astype(np.float64)
        if "PerFrameFunctionalGroupsSequence" in item:
            measures = item.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0].PixelSpacing
            for values, group in zip(pixels, item.PerFrameFunctionalGroupsSequence, strict=True):
                scale = group.PixelValueTransformationSequence[0]
                place = group.PlanePositionSequence[0].ImagePositionPatient
                turn = group.PlaneOrientationSequence[0].ImageOrientationPatient
                values = values * float(scale.RescaleSlope) + float(scale.RescaleIntercept)
                found.append((_corners(place, turn, measures, values.shape), values))
        elif "ImagePositionPatient" in item:
            values = pixels[0] * float(item.RescaleSlope) + float(item.RescaleIntercept)
            corners = _corners(
                item.ImagePositionPatient, item.ImageOrientationPatient, item.PixelSpacing, values.shape
            )
            found.append((corners, values))
    return found


def _corners(place: Any, turn: Any, spacing: Any, shape: tuple[int, ...]) -> Corners:
    origin, row, column = (np.array(v, dtype=float) for v in (place, turn[:3], turn[3:]))
    (rows, columns), (down, along) = shape, (float(spacing[0]), float(spacing[1]))
    return np.array([
        origin + c * along * row + r * down * column for r in (0, rows - 1) for c in (0, columns - 1)
    ])  # fmt: skip


def _assert_true_to_headers(volume: Volume, folder: Path, planes: int) -> None:
    assert volume.geometry.shape[2] == planes
    frames = _frames_on_disk(folder)
    columns, rows, _ = volume.geometry.shape
    for k in range(planes):
        index = [(c, r, k) for r in (0, rows - 1) for c in (0, columns - 1)]
        here = volume.geometry.index_to_world(index) * (-1, -1, 1)
        there = [v for corners, v in frames if np.linalg.norm(corners - here, axis=1).max() <= 0.01]
        assert there, f"plane {k} lies where no header puts a slice"
        values = volume.data[0, :, :, k].T
        assert any(np.allclose(values, v, rtol=1e-6, atol=1e-3) for v in there), f"plane {k}: other values"


def _code(path: Path, **options: Any) -> str:
    with pytest.raises(medseg.InputRefused) as refusal:
        medseg.read(path, **options)
    return refusal.value.code


@pytest.mark.parametrize("plane", [OBLIQUE, AXIAL, SAGITTAL, CORONAL, PRONE, FEET_FIRST])
@pytest.mark.parametrize("sign", [1, -1])
def test_any_patient_position_is_read_where_it_is(folder: Folder, plane: Plane, sign: int) -> None:
    folder.stack([sign * 2.2 * n for n in (3, 0, 4, 1, 2)], plane, PatientPosition="FFP")
    volume = medseg.read(folder.path)
    assert volume.verdict.status == "ok"
    _assert_true_to_headers(volume, folder.path, 5)


def test_each_slice_has_its_own_rescale(folder: Folder) -> None:
    folder.stack([0, 3, 6, 9], each=lambda n: {"RescaleSlope": 0.25 + n / 8, "RescaleIntercept": -7.5 * n})
    _assert_true_to_headers(medseg.read(folder.path), folder.path, 4)


def test_a_tilted_stack_is_exact_when_allowed(folder: Folder) -> None:
    folder.stack([0, 3, 6, 9], AXIAL, shift=np.array([0.0, 0.33, 0.0]))
    assert _code(folder.path) == "tilt"
    _assert_true_to_headers(medseg.read(folder.path, allow=["tilt"]), folder.path, 4)


@pytest.mark.parametrize(
    ("depths", "code"),
    [
        ((0, 2, 4, 8, 10), "missing-slices"),
        ((0, 2, 8, 10, 14, 16), "missing-slices"),
        ((0, 2, 4, 6.03), "uneven-spacing"),
        ((0, 2, 4.5, 8), "uneven-spacing"),
    ],
)
def test_gaps_are_refused(folder: Folder, depths: tuple[float, ...], code: str) -> None:
    folder.stack(depths)
    assert _code(folder.path) == code


def test_missing_slices_are_filled_between_their_neighbours_when_allowed(folder: Folder) -> None:
    folder.stack((0, 2, 4, 8, 10))
    volume = medseg.read(folder.path, allow=["missing-slices"])
    assert volume.verdict.status == "repaired"
    assert volume.geometry.shape[2] == 6
    assert volume.geometry.spacing[2] == pytest.approx(2.0)
    kept = Volume(
        np.delete(volume.data, 3, axis=3)[..., :3], medseg.Geometry((9, 6, 3), volume.geometry.affine)
    )
    _assert_true_to_headers(kept, folder.path, 3)
    middle = (volume.data[..., 2].astype(float) + volume.data[..., 4]) / 2
    assert np.abs(volume.data[..., 3] - middle).max() <= 0.5


def test_uneven_slices_are_resampled_along_the_stack_when_allowed(folder: Folder) -> None:
    folder.stack((0, 2, 4.5, 8), AXIAL, shift=np.array([0.0, 0.33, 0.0]))
    assert _code(folder.path, allow=["tilt"]) == "uneven-spacing"
    volume = medseg.read(folder.path, allow=["tilt", "uneven-spacing"])
    assert set(volume.verdict.codes) >= {"tilt", "uneven-spacing"}
    assert volume.geometry.spacing[2] <= 2.0 * np.linalg.norm([0.33, 1.0]) + 1e-6
    first = medseg.Geometry((9, 6, 1), volume.geometry.affine)
    _assert_true_to_headers(Volume(volume.data[..., :1], first), folder.path, 1)
    frames = sorted(_frames_on_disk(folder.path), key=lambda f: f[0][0][2])
    for k in range(volume.geometry.shape[2]):
        depth = k * volume.geometry.spacing[2] / np.linalg.norm([0.33, 1.0])
        if depth > 8:
            continue
        depths = (0, 2, 4.5, 8)
        upper = min(int(np.searchsorted(depths, depth, side="right")), 3)
        share = (depth - depths[upper - 1]) / (depths[upper] - depths[upper - 1])
        expected = frames[upper - 1][1] * (1 - share) + frames[upper][1] * share
        assert np.abs(volume.data[0, ..., k].T - expected).max() <= 0.51


@pytest.mark.parametrize(
    ("wrong", "codes"),
    [
        ({"ImagePositionPatient": ["nan", "0", "0"]}, ("bad-header",)),
        ({"ImagePositionPatient": ["1e30", "0", "0"]}, ("bad-header", "uneven-spacing", "uneven-positions")),
        ({"PixelSpacing": [0, 0]}, ("bad-header", "several-series")),
        ({"ImageOrientationPatient": ["1", "0", "0", "1", "0", "0"]}, ("bad-header", "several-series")),
        ({"ImageOrientationPatient": ["1", "0", "0", "0", "1"]}, ("bad-header",)),
        ({"PixelData": b"\0" * 20}, ("truncated", "undecodable", "size-mismatch")),
        ({"BitsAllocated": 12}, ("undecodable", "bad-header", "several-series")),
    ],
)
@pytest.mark.filterwarnings("ignore:Invalid value for VR DS:UserWarning:pydicom")
def test_one_senseless_slice_refuses_the_series(
    folder: Folder, wrong: dict[str, Any], codes: tuple[str, ...]
) -> None:
    folder.stack([0, 3, 6, 9], each=lambda n: wrong if n == 2 else {})
    assert _code(folder.path) in codes


def test_directions_that_drift_are_refused_once_a_corner_is_off(folder: Folder) -> None:
    def drift(n: int) -> dict[str, Any]:
        angle = 9e-5 * n
        row = np.array([np.cos(angle), np.sin(angle), 0.0])
        column = np.array([-np.sin(angle), np.cos(angle), 0.0])
        return {
            "ImageOrientationPatient": _decimal([*row, *column]),
            "PixelSpacing": [40.0, 40.0],
        }

    folder.stack([0, 3, 6, 9], AXIAL, each=drift)  # corners up to 0.1 mm off at the far end
    assert _code(folder.path) in ("several-orientations", "uneven-positions", "several-series")


def test_two_interleaved_stacks_of_two_orientations_are_two_series(folder: Folder) -> None:
    folder.stack([0, 3, 6, 9], AXIAL)
    folder.stack([0, 2, 4], CORONAL)
    assert _code(folder.path) == "several-series"
    shapes = [s.geometry.shape[2] for s in medseg.inspect(folder.path).series if s.geometry is not None]
    assert sorted(shapes) == [3, 4]
    for number, planes in enumerate(shapes, 1):
        _assert_true_to_headers(medseg.read(folder.path, series=number), folder.path, planes)


@pytest.mark.parametrize(
    "tags",
    [
        ({"EchoTime": 4.9}, {"EchoTime": 9.8}),
        (
            {"ImageType": ["ORIGINAL", "PRIMARY", "M", "ND"]},
            {"ImageType": ["ORIGINAL", "PRIMARY", "P", "ND"]},
        ),
        ({"DiffusionBValue": 0.0}, {"DiffusionBValue": 1000.0}),
        ({"ImageType": ["ORIGINAL", "PRIMARY"]}, {"ImageType": ["DERIVED", "SECONDARY", "MPR"]}),
        ({"FrameOfReferenceUID": "1.2.3.4"}, {"FrameOfReferenceUID": "1.2.3.5"}),
    ],
)
def test_what_tells_images_apart_splits_a_series(
    folder: Folder, tags: tuple[dict[str, Any], dict[str, Any]]
) -> None:
    folder.stack([0, 3, 6, 9], **tags[0])
    folder.stack([0, 3, 6, 9], **tags[1])
    assert _code(folder.path) in ("several-series", "several-frames-of-reference")
    if _code(folder.path) == "several-series":
        volumes = [medseg.read(folder.path, series=n) for n in (1, 2)]
        for volume in volumes:
            _assert_true_to_headers(volume, folder.path, 4)
        assert not np.array_equal(volumes[0].data, volumes[1].data)


@pytest.mark.parametrize("tag", ["TemporalPositionIdentifier", "AcquisitionNumber", "TriggerTime"])
def test_repeats_in_time_are_refused_as_such_and_read_one_by_one(folder: Folder, tag: str) -> None:
    for time in (1, 2, 3):
        folder.stack([0, 3, 6, 9], **{tag: time})
    assert _code(folder.path) == "four-dimensional"
    for number, first in ((1, 0), (2, 4), (3, 8)):
        volume = medseg.read(folder.path, series=number)
        _assert_true_to_headers(volume, folder.path, 4)
        assert volume.data[0, :, :, 0].T.tolist() == _pixels(first).tolist()


def test_an_enhanced_object_has_its_own_rescale_and_position_per_frame(folder: Folder) -> None:
    normal = np.cross(*OBLIQUE)
    order = (2, 0, 3, 1, 4)
    folder.enhanced([(START + 2.5 * n * normal, OBLIQUE, 0.5 + n / 4, -3.0 * n) for n in order])
    _assert_true_to_headers(medseg.read(folder.path), folder.path, 5)


def test_an_enhanced_object_with_a_gap_is_refused(folder: Folder) -> None:
    normal = np.cross(*OBLIQUE)
    folder.enhanced([(START + d * normal, OBLIQUE, 1.0, 0.0) for d in (0, 2, 4, 8)])
    assert _code(folder.path) == "missing-slices"


def test_an_enhanced_object_with_two_orientations_is_two_series(folder: Folder) -> None:
    frames = [(START + 2.5 * n * np.cross(*AXIAL), AXIAL, 1.0, 0.0) for n in range(4)]
    frames += [(START + 2.5 * n * np.cross(*SAGITTAL), SAGITTAL, 1.0, 0.0) for n in range(3)]
    folder.enhanced(frames)
    assert _code(folder.path) == "several-series"
    for number in (1, 2):
        volume = medseg.read(folder.path, series=number)
        _assert_true_to_headers(volume, folder.path, volume.geometry.shape[2])


def test_enhanced_objects_of_one_series_at_one_place_are_times(folder: Folder) -> None:
    for _ in range(3):
        folder.enhanced([(START + 2.5 * n * np.cross(*AXIAL), AXIAL, 1.0, 0.0) for n in range(4)])
    assert _code(folder.path) == "four-dimensional"
    for number in (1, 2, 3):
        _assert_true_to_headers(medseg.read(folder.path, series=number), folder.path, 4)


def test_a_stray_slice_of_another_size_is_named_and_can_be_left_out(folder: Folder) -> None:
    folder.stack([0, 3, 6, 9])
    folder.slice(START, Rows=9, Columns=6)
    assert _code(folder.path) == "several-series"
    sizes = [s.geometry.shape for s in medseg.inspect(folder.path).series if s.geometry is not None]
    assert sorted(sizes) == [(6, 9, 1), (9, 6, 4)]
    _assert_true_to_headers(medseg.read(folder.path, series=1 + sizes.index((9, 6, 4))), folder.path, 4)


def test_the_same_slice_twice_under_another_uid_is_refused(folder: Folder) -> None:
    folder.stack([0, 3, 6, 9])
    folder.slice(START + 3 * np.cross(*OBLIQUE))
    assert _code(folder.path) == "repeated-positions"


def test_far_from_the_origin_positions_still_hold(folder: Folder) -> None:
    folder.stack([0, 3, 6, 9], AXIAL, each=lambda n: {"ImagePositionPatient": ["1e6", "-1e6", str(3 * n)]})
    _assert_true_to_headers(medseg.read(folder.path), folder.path, 4)


def test_a_hidden_file_means_its_own_series_not_its_neighbours(folder: Folder) -> None:
    folder.stack([0, 3, 6, 9])
    folder.uid = generate_uid()
    path = folder.slice(START)
    volume = medseg.read(path.rename(path.with_name(".hidden.dcm")))
    assert volume.data.shape == (1, COLUMNS, ROWS, 1)
    assert volume.data[0, :, :, 0].T.tolist() == _pixels(4).tolist()


@pytest.mark.parametrize(("name", "content"), [("z.dcm", b""), ("IM0009", b""), ("IM0009", bytes(4000))])
def test_empty_files_beside_slices_are_told(folder: Folder, name: str, content: bytes) -> None:
    folder.stack([0, 3, 6, 9])
    (folder.path / name).write_bytes(content)
    volume = medseg.read(folder.path)
    assert volume.verdict.status == "warning"
    assert volume.verdict.codes == ("empty-files",)


def test_links_to_folders_are_followed_once(folder: Folder, tmp_path: Path) -> None:
    folder.stack([0, 3, 6, 9])
    (tmp_path / "cohort").mkdir()
    try:
        (tmp_path / "cohort" / "case").symlink_to(folder.path, target_is_directory=True)
        (folder.path / "ring").symlink_to(tmp_path / "cohort", target_is_directory=True)
    except OSError:
        pytest.skip("this system does not let links be made")
    assert medseg.read(tmp_path / "cohort").data.shape == (1, COLUMNS, ROWS, 4)


def test_a_gap_wider_than_the_scan_is_never_filled(folder: Folder) -> None:
    folder.stack([0, 2, 4, 20, 22, 24])
    assert _code(folder.path, allow=["missing-slices"]) == "missing-slices"
