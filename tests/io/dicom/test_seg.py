"""DICOM segmentations: dcmqi's and highdicom's files, with NRRDs and highdicom itself as oracles."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import highdicom as hd
import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from pydicom.dataset import FileDataset
from pydicom.sr.codedict import codes
from pydicom.uid import DeflatedExplicitVRLittleEndian, JPEGLSLossless, RLELossless

import medseg
from medseg import LabelMap
from medseg.cli.app import main
from tests.io.dicom.made_series import CANARY, COLUMNS, RAS, ROWS, SHAPE, SLICES, SPACE_UID, write_series

Masks = np.ndarray


@pytest.fixture
def ct(tmp_path: Path) -> list[FileDataset]:
    return write_series(tmp_path / "ct")


@pytest.fixture
def masks() -> Masks:
    """Three structures (slice, row, column, structure); the first two overlap, two slices have none."""
    random = np.random.default_rng(5)
    found = np.zeros((SLICES, ROWS, COLUMNS, 3), np.uint8)
    found[1, 2:7, 3:9, 0] = 1
    found[3, 1:4, 0:12, 0] = random.integers(0, 2, (3, 12))
    found[3, 2:8, 5:7, 1] = 1
    found[1, 8, 0:5, 2] = 1
    return found


def _describe(number: int, name: str, kind: Any, **more: Any) -> hd.seg.SegmentDescription:
    category = codes.cid7150.Tissue
    return hd.seg.SegmentDescription(number, name, category, kind, "MANUAL", **more)


SEGMENTS = [
    _describe(1, "Leber, größte", codes.SCT.Liver, display_color=hd.color.CIELabColor.from_rgb(230, 20, 90)),
    _describe(2, "lesion", codes.SCT.Tumor),
    _describe(3, "lesion", codes.SCT.Kidney),
]


def _write(path: Path, ct: list[FileDataset], pixels: np.ndarray, kind: str = "BINARY", **more: Any) -> Path:
    segments = more.pop("segments", SEGMENTS)
    made = hd.seg.Segmentation(
        ct, pixels, kind, segments, "1.2.826.0.1.3680043.8.498.90", 9, "1.2.826.0.1.3680043.8.498.91", 1,
        "maker", "model", "1", "serial", **more,
    )  # fmt: skip
    made.SpecificCharacterSet = "ISO_IR 192"
    made.PatientComments = CANARY
    made.save_as(path)
    return path


def _voxels(found: LabelMap, number: int) -> set[tuple[int, ...]]:
    """The voxels of a structure as indices of the CT, found by their places in the world."""
    world = found.geometry.index_to_world(np.argwhere(found.data == number))
    index = (world - RAS[:3, 3]) @ np.linalg.inv(RAS[:3, :3]).T
    assert np.abs(index - np.rint(index)).max(initial=0) < 1e-3
    return set(map(tuple, np.rint(index).astype(int).tolist()))


def _truth(masks: Masks, structure: int) -> set[tuple[int, ...]]:
    return set(map(tuple, np.argwhere(masks[..., structure].transpose(2, 1, 0)).tolist()))


def test_overlapping_segments_lie_in_layers_where_their_frames_say(
    tmp_path: Path, ct: list[FileDataset], masks: Masks
) -> None:
    first, second = medseg.read_label_layers(_write(tmp_path / "seg.dcm", ct, masks))
    assert (first.labels.ids, second.labels.ids) == ((1, 3), (2,))
    assert [_voxels(first, 1), _voxels(second, 2), _voxels(first, 3)] == [_truth(masks, n) for n in range(3)]
    # Slices 1 to 3 hold everything; the empty one between them was not stored, the others are not needed.
    assert first.geometry.shape == (COLUMNS, ROWS, 3)
    assert [label.name for label in first.labels] == ["Leber, größte", "lesion 3"]
    assert first.labels[1].snomed == "10200004"
    assert np.abs(np.subtract(first.labels[1].colour, (230, 20, 90))).max() <= 2
    assert "labels-renamed" in first.verdict.codes
    assert CANARY not in str(first.verdict)


def test_on_the_grid_of_its_scan_every_slice_is_there(
    tmp_path: Path, ct: list[FileDataset], masks: Masks
) -> None:
    path = _write(tmp_path / "seg.dcm", ct, masks)
    for scan in (tmp_path / "ct", tmp_path / "ct" / "0.dcm"):
        layers = medseg.read_label_layers(path, scan=scan)
        assert layers[0].geometry.same_grid(medseg.read(scan).geometry)
        assert _voxels(layers[0], 1) == _truth(masks, 0)
        assert np.array_equal(layers[1].data == 2, masks[..., 1].transpose(2, 1, 0) != 0)
    nifti = medseg.write(medseg.read(tmp_path / "ct"), tmp_path / "ct.nii.gz")
    assert medseg.read_labels(path, scan=nifti, layer=1).geometry.shape == SHAPE


def test_a_scan_on_another_grid_is_refused(tmp_path: Path, ct: list[FileDataset], masks: Masks) -> None:
    path = _write(tmp_path / "seg.dcm", ct, masks)
    scan = medseg.read(tmp_path / "ct")
    for start, shape in (((0, 0, 2), (12, 9, 4)), ((1, 0, 0), (12, 9, 6)), ((0.1, 0, 0), SHAPE)):
        moved = medseg.Volume(np.zeros((1, *shape), np.uint8), scan.geometry.cropped(start, shape))
        other = medseg.write(moved, tmp_path / "other.nii.gz", overwrite=True)
        with pytest.raises(medseg.InputRefused) as refusal:
            medseg.read_label_layers(path, scan=other)
        assert refusal.value.code == "grid-differs"


def test_shares_of_voxels_become_labels_from_one_half_on(
    tmp_path: Path, ct: list[FileDataset], masks: Masks
) -> None:
    shares = np.random.default_rng(2).uniform(0, 1, masks.shape[:3]).astype(np.float32)
    path = _write(
        tmp_path / "seg.dcm", ct, shares, "FRACTIONAL", segments=SEGMENTS[:1], max_fractional_value=100
    )
    found = medseg.read_labels(path)
    # As highdicom rounds them to whole hundredths.
    expected = np.argwhere((np.around(shares * 100) >= 50).transpose(2, 1, 0))
    assert _voxels(found, 1) == set(map(tuple, expected.tolist()))
    assert 300 < found.data.sum() < 350
    assert found.verdict.codes == ("fractional",)
    whole = _write(tmp_path / "whole.dcm", ct, masks[..., :1] * 1.0, "FRACTIONAL", segments=SEGMENTS[:1])
    assert medseg.read_labels(whole).verdict.status == "ok"
    assert _voxels(medseg.read_labels(whole), 1) == _truth(masks, 0)


@pytest.mark.parametrize("deep", [False, True])
def test_label_maps_keep_their_numbers(
    tmp_path: Path, ct: list[FileDataset], masks: Masks, deep: bool
) -> None:
    numbers = [1, 7, 300 if deep else 200]
    segments = [_describe(n, f"structure {n}", codes.SCT.Liver) for n in numbers]
    masks[..., 0] *= 1 - masks[..., 1]
    pixels = (masks * np.array(numbers)).sum(axis=-1).astype(np.uint16 if deep else np.uint8)
    found = medseg.read_labels(_write(tmp_path / "seg.dcm", ct, pixels, "LABELMAP", segments=segments))
    assert found.labels.ids == tuple(numbers)
    assert [_voxels(found, n) for n in numbers] == [_truth(masks, n) for n in range(3)]


@pytest.mark.parametrize(
    ("kind", "syntax"),
    [
        ("FRACTIONAL", RLELossless),
        ("LABELMAP", JPEGLSLossless),
        ("LABELMAP", RLELossless),
        ("BINARY", DeflatedExplicitVRLittleEndian),
    ],
)
def test_compressed_segmentations_are_the_same(
    tmp_path: Path, ct: list[FileDataset], masks: Masks, kind: str, syntax: str
) -> None:
    pixels = masks[..., :1].copy() if kind != "LABELMAP" else masks[..., 0].copy()
    path = tmp_path / "seg.dcm"
    if syntax == DeflatedExplicitVRLittleEndian:
        dataset = pydicom.dcmread(_write(path, ct, pixels, kind, segments=SEGMENTS[:1]))
        dataset.file_meta.TransferSyntaxUID = syntax
        dataset.save_as(path)
    else:
        _write(path, ct, pixels, kind, segments=SEGMENTS[:1], transfer_syntax_uid=syntax)
    assert _voxels(medseg.read_labels(path), 1) == _truth(masks, 0)


def test_frames_in_any_order_go_where_they_say(tmp_path: Path, ct: list[FileDataset], masks: Masks) -> None:
    path = _write(tmp_path / "seg.dcm", ct, masks[..., :1], segments=SEGMENTS[:1], omit_empty_frames=False)
    dataset = pydicom.dcmread(path)
    order = np.random.default_rng(3).permutation(SLICES)
    groups = dataset.PerFrameFunctionalGroupsSequence
    pixels = dataset.pixel_array[order]
    dataset.PerFrameFunctionalGroupsSequence = [groups[n] for n in order]
    dataset.PixelData = np.packbits(pixels.ravel(), bitorder="little").tobytes() + bytes(1)
    dataset.save_as(path)
    found = medseg.read_labels(path)
    assert found.geometry.shape == SHAPE
    assert _voxels(found, 1) == _truth(masks, 0)


def _broken(path: Path, change: str) -> str:
    """Break a segmentation; the code of the refusal that it calls for."""
    dataset = pydicom.dcmread(path)
    frames = dataset.PerFrameFunctionalGroupsSequence
    if change == "a frame twice":
        frames[1].PlanePositionSequence = frames[0].PlanePositionSequence
        frames[1].SegmentIdentificationSequence = frames[0].SegmentIdentificationSequence
        code = "repeated-positions"
    elif change == "a frame beside the others":
        position = frames[0].PlanePositionSequence[0]
        position.ImagePositionPatient = [float(x) + 0.3 for x in position.ImagePositionPatient]
        code = "uneven-positions"
    elif change == "an unknown segment":
        frames[0].SegmentIdentificationSequence[0].ReferencedSegmentNumber = 9
        code = "bad-header"
    elif change == "no type":
        dataset.SegmentationType = "CANARY"
        code = "bad-header"
    elif change == "another type":
        dataset.SegmentationType = "FRACTIONAL"
        code = "bad-header"
    elif change == "a number twice":
        dataset.SegmentSequence[1].SegmentNumber = 1
        code = "bad-header"
    elif change == "pixels missing":
        dataset.PixelData = dataset.PixelData[:-20]
        code = "truncated"
    elif change == "far apart":
        for n, frame in enumerate(frames):
            frame.PlanePositionSequence[0].ImagePositionPatient = [0, 0, 900 * n]
        dataset.SharedFunctionalGroupsSequence[0].PlaneOrientationSequence[0].ImageOrientationPatient = [
            1, 0, 0, 0, 1, 0,
        ]  # fmt: skip
        code = "uneven-spacing"
    else:
        dataset.DimensionOrganizationType = "TILED_SPARSE"
        code = "whole-slide"
    dataset.save_as(path)
    return code


@pytest.mark.parametrize(
    "change",
    [
        "a frame twice", "a frame beside the others", "an unknown segment", "no type", "another type",
        "a number twice", "pixels missing", "far apart", "a slide",
    ],
)  # fmt: skip
def test_what_is_not_plainly_right_is_refused(
    tmp_path: Path, ct: list[FileDataset], masks: Masks, change: str
) -> None:
    path = _write(tmp_path / "seg.dcm", ct, masks)
    code = _broken(path, change)
    with pytest.raises(medseg.InputRefused) as refusal:
        medseg.read_label_layers(path)
    assert refusal.value.code == code
    assert "CANARY" not in str(refusal.value).upper()


@pytest.mark.parametrize("frames", [SLICES, 1])
def test_a_label_map_that_describes_no_frames_is_refused(
    tmp_path: Path, ct: list[FileDataset], masks: Masks, frames: int
) -> None:
    path = tmp_path / "seg.dcm"
    dataset = pydicom.dcmread(_write(path, ct, masks[..., 0], "LABELMAP", segments=SEGMENTS[:1]))
    del dataset.PerFrameFunctionalGroupsSequence
    dataset.NumberOfFrames = frames
    dataset.PixelData = dataset.PixelData[: frames * dataset.Rows * dataset.Columns]
    dataset.save_as(path)
    with pytest.raises(medseg.InputRefused, match="none is described") as refusal:
        medseg.read_labels(path)
    assert refusal.value.code == "bad-header"


def test_a_segmentation_is_no_scan(tmp_path: Path, ct: list[FileDataset], masks: Masks) -> None:
    path = _write(tmp_path / "seg.dcm", ct, masks)
    with pytest.raises(medseg.InputRefused, match=r"3 structures.*read_labels") as refusal:
        medseg.read(path)
    assert refusal.value.code == "segmentation"
    found = medseg.inspect(path)
    assert found.verdict.codes == ("segmentation",)
    assert [(series.modality, series.verdict.status) for series in found.series] == [("SEG", "refused")]
    assert "3 structures" in found.series[0].summary


def test_a_study_folder_means_its_only_segmentation(
    tmp_path: Path, ct: list[FileDataset], masks: Masks
) -> None:
    _write(tmp_path / "seg.dcm", ct, masks)
    assert len(medseg.read_label_layers(tmp_path)) == 2
    _write(tmp_path / "again.dcm", ct, masks)
    with pytest.raises(medseg.InputRefused, match=r"2 segmentations.*again\.dcm, seg\.dcm"):
        medseg.read_labels(tmp_path)
    assert ct[0].FrameOfReferenceUID == SPACE_UID


def test_convert_writes_every_layer(
    tmp_path: Path, ct: list[FileDataset], masks: Masks, capsys: pytest.CaptureFixture[str]
) -> None:
    path = _write(tmp_path / "seg.dcm", ct, masks)
    assert main(["convert", str(path), str(tmp_path / "out.nii.gz")]) == 0
    assert "out_2.nii.gz" in capsys.readouterr().out
    assert [medseg.read_labels(tmp_path / f"out_{n}.nii.gz").labels.ids for n in (1, 2)] == [(1, 3), (2,)]
    assert main(["convert", str(path), str(tmp_path / "out.nii.gz")]) == 2
    assert main(["convert", str(path), str(tmp_path / "one.nii.gz"), "--layer", "2"]) == 0
    assert medseg.read_labels(tmp_path / "one.nii.gz").labels.names == ("lesion 2",)
    everything = tmp_path / "all.seg.nrrd"
    assert main(["convert", str(path), str(everything), "--scan", str(tmp_path / "ct")]) == 0
    assert [layer.geometry.shape for layer in medseg.read_label_layers(everything)] == [SHAPE, SHAPE]


DCMQI = [
    ("liver.dcm", ["liver_seg.nrrd"], "ct-3slice"),
    ("partial_overlaps.dcm", [f"partial_overlaps-{n}.nrrd" for n in (1, 2, 3)], "ct-3slice"),
    ("sparse-labelmap-noppv.dcm", ["sparse_labelmap_noppv_seg.nrrd"], "24x38x3/image"),
    ("sparse-labelmap-ppv5.dcm", ["sparse_labelmap_ppv5_seg.nrrd"], "24x38x3/image"),
    ("24x38x3/seg/label.seg", ["24x38x3/nrrd/label.nrrd"], "24x38x3/image"),
    ("23x38x3/seg/label.seg", ["23x38x3/nrrd/label.nrrd"], "23x38x3/image"),
]


@pytest.mark.parametrize(("name", "truths", "scan"), DCMQI, ids=[name for name, _, _ in DCMQI])
def test_segmentations_of_dcmqi_equal_its_own_conversions(
    real_data: Path, name: str, truths: list[str], scan: str
) -> None:
    folder = real_data / "dicom" / "seg_dcmqi"
    for layers in (
        medseg.read_label_layers(folder / name),
        medseg.read_label_layers(folder / name, scan=folder / scan),
    ):
        assert len(layers) == len(truths)
        for layer, truth in zip(layers, truths, strict=True):
            image = sitk.ReadImage(str(folder / truth))
            expected = sitk.GetArrayFromImage(image).T
            # The padding of sparse frames, not described as a segment, is background.
            expected = np.where(expected == 5, 0, expected) if "ppv5" in truth else expected
            assert np.array_equal(layer.data, expected)
            corner = image.TransformIndexToPhysicalPoint([n - 1 for n in image.GetSize()])
            assert np.allclose(layer.geometry.corners[-1] * (-1, -1, 1), corner, atol=1e-3)


@pytest.mark.parametrize(
    "name", ["ct_binary", "ct_binary_overlap", "ct_binary_fractional", "ct_binary_single_frame"]
)
def test_segmentations_of_highdicom_equal_what_it_reads_itself(real_data: Path, name: str) -> None:
    path = real_data / "dicom" / "seg_highdicom" / f"seg_image_{name}.dcm"
    layers = medseg.read_label_layers(path)
    oracle = hd.seg.segread(path)
    for number in oracle.segment_numbers:
        volume = oracle.get_volume(segment_numbers=[number], combine_segments=False, rescale_fractional=True)
        expected = np.argwhere(volume.array[..., 0] > 0.5)
        world = volume.map_indices_to_reference(expected) * (-1, -1, 1)
        (layer,) = [layer for layer in layers if number in layer.labels.ids]
        index = np.rint(layer.geometry.world_to_index(world)).astype(int)
        assert len(index) == (layer.data == number).sum() > 0
        assert (layer.data[tuple(index.T)] == number).all()
        assert np.allclose(layer.geometry.index_to_world(index), world, atol=1e-3)


def test_slides_are_refused_and_a_radiograph_is_a_plane(real_data: Path) -> None:
    folder = real_data / "dicom" / "seg_highdicom"
    for path in folder.glob("seg_image_sm_*.dcm"):
        with pytest.raises(medseg.InputRefused) as refusal:
            medseg.read_labels(path)
        assert refusal.value.code == "whole-slide"
    plane = medseg.read_labels(folder / "seg_image_cr_binary.dcm")
    stored = pydicom.dcmread(folder / "seg_image_cr_binary.dcm").pixel_array
    assert np.array_equal(plane.data[..., 0], stored.T)
    assert plane.geometry.is_2d
    assert plane.verdict.codes == ("orientation-unknown",)
