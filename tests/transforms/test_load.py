"""medseg's readers inside MONAI, against MONAI's own readers on the same files."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import torch
from monai.data import CacheDataset, MetaTensor, PersistentDataset
from monai.data.image_reader import NibabelReader
from monai.transforms import (
    Compose,
    EnsureChannelFirstd,
    LoadImage,
    LoadImaged,
    Orientationd,
    SaveImaged,
    Spacingd,
)
from numpy.typing import NDArray
from PIL import Image

import medseg
from medseg import InputRefused, UsageError
from medseg.transforms import LoadVolumed, VolumeReader
from tests.transforms.conftest import AFFINE, CANARY, SHAPE

Write = Callable[..., Path]
# MONAI 1.6 says so whenever a LoadImage is made.
pytestmark = pytest.mark.filterwarnings("ignore:NvImgCodecPydicomReader:UserWarning")


def _cause(error: BaseException) -> InputRefused:
    """The refusal under what MONAI wraps round it."""
    while error.__cause__ is not None and not isinstance(error, InputRefused):
        error = error.__cause__
    assert isinstance(error, InputRefused)
    return error


def _written(nifti: Write, dicom_folder: Write, voxels: NDArray[np.int16], kind: str) -> Path:
    if kind == "dicom":
        return dicom_folder(voxels)
    scan = nifti("scan.nii", voxels)
    return scan if kind == "nii" else medseg.write(medseg.read(scan), scan.with_name(f"scan.{kind}"))


@pytest.mark.parametrize("kind", ["nii", "nii.gz", "nrrd", "mha", "dicom"])
def test_reader_gives_what_monais_nibabel_reader_gives(
    nifti: Write, dicom_folder: Write, voxels: NDArray[np.int16], kind: str
) -> None:
    theirs = LoadImage(reader=NibabelReader(), ensure_channel_first=True)(nifti("oracle.nii", voxels))
    path = _written(nifti, dicom_folder, voxels, kind)
    ours = LoadImage(reader=VolumeReader(), ensure_channel_first=True)(path)
    assert torch.equal(ours, theirs)
    assert ours.dtype == theirs.dtype
    for key in ("affine", "original_affine"):
        np.testing.assert_allclose(ours.meta[key], theirs.meta[key], atol=2e-5)
    np.testing.assert_array_equal(ours.meta["spatial_shape"], SHAPE)
    assert ours.meta["space"] == theirs.meta["space"] == "RAS"
    assert ours.meta["filename_or_obj"] == str(path)


def test_the_dictionary_loader_gives_the_same_as_the_reader(nifti: Write, voxels: NDArray[np.int16]) -> None:
    path = nifti("scan.nii.gz", voxels)
    by_reader = LoadImage(reader=VolumeReader(), ensure_channel_first=True)(path)
    loaded = LoadVolumed("image")({"image": path, "age": 61})
    assert loaded["age"] == 61
    assert isinstance(loaded["image"], MetaTensor)
    assert torch.equal(loaded["image"], by_reader)
    assert loaded["image"].dtype == torch.float32
    assert set(loaded["image"].meta) == set(by_reader.meta)
    again = EnsureChannelFirstd("image")(loaded)["image"]
    assert again.shape == (1, *SHAPE)


def test_what_follows_in_a_pipeline_lands_on_the_same_world_points(
    nifti: Write, voxels: NDArray[np.int16], tmp_path: Path
) -> None:
    path = nifti("scan.nii.gz", voxels)
    results = []
    for name, load in (
        ("ours", LoadVolumed("image")),
        ("theirs", LoadImaged("image", reader=NibabelReader(), ensure_channel_first=True)),
    ):
        save = SaveImaged(
            "image", output_dir=tmp_path / name, separate_folder=False, resample=False, print_log=False
        )
        # Only steps along the grid's own axes, so that any shift would show.
        steps = [
            Orientationd("image", "RAS", labels=(("L", "R"), ("P", "A"), ("I", "S"))),
            Spacingd("image", pixdim=(1.4, 0.55, 2.3)),
        ]
        results.append(Compose([load, *steps, save])({"image": path})["image"])
    ours, theirs = results
    np.testing.assert_allclose(ours.affine, theirs.affine, atol=2e-5)
    np.testing.assert_allclose(ours, theirs, atol=0.02)
    saved = nibabel.load(tmp_path / "ours" / "scan_trans.nii.gz")
    oracle = nibabel.load(tmp_path / "theirs" / "scan_trans.nii.gz")
    np.testing.assert_allclose(saved.affine, oracle.affine, atol=2e-5)
    np.testing.assert_allclose(saved.get_fdata(), oracle.get_fdata(), atol=0.02)


def test_saving_what_was_loaded_gives_the_file_back(
    nifti: Write, voxels: NDArray[np.int16], tmp_path: Path
) -> None:
    path = nifti("scan.nii.gz", voxels)
    save = SaveImaged("image", output_dir=tmp_path / "out", separate_folder=False, print_log=False)
    Compose([LoadVolumed("image"), save])({"image": path})
    saved = nibabel.load(tmp_path / "out" / "scan_trans.nii.gz")
    np.testing.assert_array_equal(saved.get_fdata(), voxels)
    np.testing.assert_allclose(saved.affine, AFFINE, atol=2e-5)


def test_a_refused_folder_stops_a_pipeline_by_its_code(
    dicom_folder: Write, voxels: NDArray[np.int16]
) -> None:
    folder = dicom_folder(voxels, without=(3,))
    for load in (LoadVolumed("image"), LoadImaged("image", reader=VolumeReader())):
        with pytest.raises(RuntimeError) as raised:
            Compose([load])({"image": folder})
        refusal = _cause(raised.value)
        assert refusal.code == "missing-slices"
        assert CANARY not in str(refusal)


def test_no_other_reader_loads_what_medseg_refuses(nifti: Write, voxels: NDArray[np.int16]) -> None:
    """MONAI tries its own readers where a reader's ``read`` fails; they would take this."""
    path = nifti("scan.nii", np.where(voxels == voxels.max(), np.nan, voxels).astype(np.float32))
    assert LoadImage(reader=NibabelReader())(path).isnan().any()
    with pytest.raises(InputRefused) as refusal:
        LoadImage(reader=VolumeReader())(path)
    assert refusal.value.code == "non-finite"
    repaired = LoadImage(reader=VolumeReader(allow=["non-finite"]))(path)
    assert repaired.isfinite().all()
    assert (repaired.meta["verdict"], repaired.meta["verdict_codes"]) == ("repaired", "non-finite")


def test_the_reader_is_found_by_its_name_and_takes_options(nifti: Write, voxels: NDArray[np.int16]) -> None:
    path = nifti("scan.nii", np.where(voxels == voxels.max(), np.inf, voxels).astype(np.float32))
    load = LoadImaged("image", reader="medseg.transforms.VolumeReader", allow="non-finite")
    assert load({"image": path})["image"].meta["verdict"] == "repaired"


def test_automatic_choice_of_a_reader_leaves_other_files_to_others(tmp_path: Path, nifti: Write) -> None:
    load = LoadImage()
    load.register(VolumeReader())
    np.save(tmp_path / "array.npy", np.arange(24.0).reshape(2, 3, 4))
    assert load(tmp_path / "array.npy").shape == (2, 3, 4)
    path = nifti("scan.nii", np.full(SHAPE, np.nan, np.float32))
    with pytest.raises(InputRefused):
        load(path)


def test_several_files_become_channels_in_their_order(nifti: Write, voxels: NDArray[np.int16]) -> None:
    paths = [nifti("t1.nii", voxels), nifti("t2.nii", (voxels + 7).astype(np.float32))]
    stacked = LoadImage(reader=VolumeReader(), ensure_channel_first=True)(paths)
    loaded = LoadVolumed("image")({"image": paths})["image"]
    for channels in (stacked, loaded):
        np.testing.assert_array_equal(channels, np.stack([voxels, voxels + 7]))
    theirs = LoadImage(reader=NibabelReader(), ensure_channel_first=True)(paths)
    assert torch.equal(stacked, theirs)


@pytest.mark.parametrize("shift_mm", [0.05, 30.0])
def test_channels_on_different_grids_are_refused(
    nifti: Write, voxels: NDArray[np.int16], shift_mm: float
) -> None:
    moved = AFFINE.copy()
    moved[0, 3] += shift_mm
    paths = [nifti("t1.nii", voxels), nifti("t2.nii", voxels, moved)]
    for load in (LoadImage(reader=VolumeReader()), lambda p: LoadVolumed("image")({"image": p})):
        with pytest.raises(InputRefused, match=r"t2\.nii and t1\.nii") as refusal:
            load(paths)
        assert refusal.value.code == "grid-differs"


def _labels(voxels: NDArray[np.int16]) -> NDArray[np.uint16]:
    return np.where(voxels > 200, 40000, np.where(voxels > 0, 255, 0)).astype(np.uint16)


def test_labels_keep_their_ids(nifti: Write, voxels: NDArray[np.int16]) -> None:
    ids = _labels(voxels)
    case = {"image": nifti("scan.nii", voxels), "label": nifti("label.nii.gz", ids)}
    loaded = LoadVolumed(["image", "label"], label_keys="label")(case)
    assert loaded["label"].dtype == torch.int32
    np.testing.assert_array_equal(loaded["label"][0], ids)
    by_reader = LoadImage(reader=VolumeReader(labels=True), dtype=np.int32)(case["label"])
    np.testing.assert_array_equal(by_reader, ids)


def test_fractions_are_no_labels(nifti: Write, voxels: NDArray[np.int16]) -> None:
    path = nifti("label.nii", np.abs(voxels).astype(np.float32) / 2)
    for load in (
        LoadImage(reader=VolumeReader(labels=True)),
        lambda p: LoadVolumed((), label_keys="label")({"label": p}),
    ):
        with pytest.raises(InputRefused) as refusal:
            load(path)
        assert refusal.value.code == "not-labels"


def test_a_label_map_on_another_grid_is_refused(nifti: Write, voxels: NDArray[np.int16]) -> None:
    """The same voxels stored in the other direction: equal shape, other place."""
    flip = np.eye(4)
    flip[1, 1], flip[1, 3] = -1, SHAPE[1] - 1
    ids = _labels(voxels)
    case = {
        "image": nifti("scan.nii", voxels),
        "label": nifti("label.nii", np.flip(ids, 1).copy(), AFFINE @ flip),
    }
    with pytest.raises(InputRefused, match=r"'label': label\.nii and scan\.nii.*mm apart.*\(grid-differs\)"):
        LoadVolumed("image", label_keys="label")(case)
    loose = LoadVolumed("image", label_keys="label", one_grid=False)(case)
    turned = Orientationd(["image", "label"], "RAS", labels=(("L", "R"), ("P", "A"), ("I", "S")))(loose)
    np.testing.assert_allclose(turned["image"].affine, turned["label"].affine, atol=2e-5)


def test_the_verdict_travels_in_the_metadata(tmp_path: Path, voxels: NDArray[np.int16]) -> None:
    image = nibabel.Nifti1Image(voxels, AFFINE)
    image.set_qform(np.diag([1.0, 1.1, 2.3, 1.0]), 1)
    nibabel.save(image, tmp_path / "scan.nii")
    meta = LoadVolumed("image")({"image": tmp_path / "scan.nii"})["image"].meta
    assert (meta["verdict"], meta["verdict_codes"]) == ("warning", "sform-qform-disagree")
    assert meta["spacing_known"] is True


def test_no_text_of_a_header_reaches_the_metadata(
    nifti: Write, dicom_folder: Write, voxels: NDArray[np.int16]
) -> None:
    for path in (dicom_folder(voxels), nifti("scan.nii", voxels)):
        for tensor in (
            LoadVolumed("image")({"image": path})["image"],
            LoadImage(reader=VolumeReader())(path),
        ):
            assert CANARY.encode() not in pickle.dumps(tensor)


def test_pictures_are_planes_in_monais_order(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (6, 9), np.uint8)  # rows, columns
    Image.fromarray(pixels).save(tmp_path / "slide.png")
    theirs = LoadImage(ensure_channel_first=True)(tmp_path / "slide.png")
    ours = LoadVolumed("image")({"image": tmp_path / "slide.png"})["image"]
    assert torch.equal(ours, theirs)
    assert ours.shape == (1, 9, 6)
    assert ours.meta["spacing_known"] is False
    assert ours.spatial_ndim == theirs.spatial_ndim == 2
    by_reader = LoadImage(reader=VolumeReader(), ensure_channel_first=True)(tmp_path / "slide.png")
    assert torch.equal(by_reader, theirs)


def test_values_that_float32_cannot_hold_are_refused(nifti: Write, voxels: NDArray[np.int16]) -> None:
    path = nifti("scan.nii", voxels.astype(np.float64) * 1e300)
    with pytest.raises(InputRefused) as refusal:
        LoadVolumed("image")({"image": path})
    assert refusal.value.code == "non-finite"


def test_calls_that_cannot_be_right_are_told(nifti: Write, voxels: NDArray[np.int16]) -> None:
    path = nifti("label.nii", _labels(voxels))
    with pytest.raises(UsageError, match="there is only"):
        VolumeReader(allow=["anything"])
    with pytest.raises(UsageError, match="there is only"):
        LoadVolumed("image", allow="anything")
    with pytest.raises(UsageError, match="give options to VolumeReader"):
        VolumeReader().read(path, mmap=True)
    with pytest.raises(UsageError, match="expected a path or a list of paths, found int"):
        LoadVolumed("image")({"image": 5})
    with pytest.raises(UsageError, match="found nothing"):
        LoadVolumed("image")({"image": []})
    with pytest.raises(UsageError, match="2 label files, expected one"):
        LoadVolumed((), label_keys="label")({"label": [path, path]})
    with pytest.raises(KeyError):
        LoadVolumed("image")({"label": path})
    assert LoadVolumed("image", allow_missing_keys=True)({"label": path}) == {"label": path}


def _cases(nifti: Write, voxels: NDArray[np.int16]) -> list[dict[str, Any]]:
    return [
        {
            "image": nifti(f"scan{n}.nii.gz", (voxels + n).astype(np.int16)),
            "label": nifti(f"label{n}.nii.gz", _labels(voxels)),
        }
        for n in range(2)
    ]


def test_worker_processes_load_batches(nifti: Write, voxels: NDArray[np.int16], tmp_path: Path) -> None:
    cases = _cases(nifti, voxels)
    told = tmp_path / "cases.json"
    told.write_text(json.dumps([{key: str(path) for key, path in case.items()} for case in cases]), "utf-8")
    program = Path(__file__).with_name("load_in_workers.py")
    subprocess.run([sys.executable, "-W", "ignore", program, told, tmp_path / "batch.pt"], check=True)
    batch = torch.load(tmp_path / "batch.pt", weights_only=True)
    assert batch["image"].shape == (2, 1, *SHAPE)
    for n, case in enumerate(cases):
        oracle = nibabel.load(case["image"])
        np.testing.assert_array_equal(batch["image"][n, 0], oracle.get_fdata())
        np.testing.assert_allclose(batch["affine"][n], oracle.affine, atol=2e-5)
        np.testing.assert_array_equal(batch["label"][n, 0], _labels(voxels))
    assert batch["verdicts"] == ["ok", "ok"]


def test_cached_datasets_hold_what_was_loaded(
    nifti: Write, voxels: NDArray[np.int16], tmp_path: Path
) -> None:
    cases = _cases(nifti, voxels)
    load = LoadVolumed("image", label_keys="label")
    in_memory = CacheDataset(cases, load, progress=False)
    on_disk = PersistentDataset(
        cases, load, cache_dir=tmp_path / "cache", track_meta=True, weights_only=False
    )
    for n in range(2):
        for found in (in_memory[n], on_disk[n], on_disk[n]):
            np.testing.assert_array_equal(found["image"][0], voxels + n)
            np.testing.assert_allclose(found["image"].affine, AFFINE, atol=2e-5)


def test_without_monai_the_cure_is_told() -> None:
    code = "import sys; sys.modules['monai'] = None; import medseg.transforms"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "MissingExtra: medseg.transforms needs monai: pip install 'medseg[train]'" in done.stderr


def test_real_cases_load_as_monai_loads_them(real_data: Path) -> None:
    folder = real_data / "hippocampus"
    case = {
        "image": folder / "imagesTr" / "hippocampus_001.nii.gz",
        "label": folder / "labelsTr" / "hippocampus_001.nii.gz",
    }
    ours = LoadVolumed("image", label_keys="label")(case)
    theirs = LoadImaged(["image", "label"], reader=NibabelReader(), ensure_channel_first=True)(case)
    for key in case:
        np.testing.assert_array_equal(ours[key], theirs[key])
        np.testing.assert_allclose(ours[key].affine, theirs[key].affine, atol=1e-4)


def test_a_real_series_that_monai_misplaces_is_refused(real_data: Path) -> None:
    with pytest.raises(InputRefused, match=r"\(missing-slices\)"):
        LoadVolumed("image")({"image": real_data / "dicom" / "missing_slice"})


def test_a_dicom_segmentation_comes_on_the_grid_of_its_scan(
    dicom_folder: Write, voxels: NDArray[np.int16], tmp_path: Path
) -> None:
    """It holds one frame for each of four slices; the label map has all seven of the scan."""
    folder = dicom_folder(voxels)
    ids = np.zeros(SHAPE, np.uint8)
    ids[2:5, 3:9, 1:5] = 1
    segmentation = _dicom_segmentation(folder, ids, tmp_path / "segmentation.dcm")
    loaded = LoadVolumed("image", label_keys="label")({"image": folder, "label": segmentation})
    np.testing.assert_array_equal(loaded["label"][0], ids)
    assert torch.equal(loaded["label"].affine, loaded["image"].affine)
    alone = LoadVolumed((), label_keys="label")({"label": segmentation})["label"]
    np.testing.assert_array_equal(alone[0], ids[:, :, 1:5])


def _dicom_segmentation(folder: Path, ids: NDArray[np.uint8], path: Path) -> Path:
    """A binary segmentation of one segment, (column, row, slice), by highdicom; empty slices left out."""
    import highdicom as hd
    from pydicom import dcmread
    from pydicom.sr.codedict import codes

    slices = [dcmread(file) for file in sorted(folder.iterdir(), key=lambda file: int(file.stem))]
    organ = hd.seg.SegmentDescription(
        segment_number=1,
        segment_label="spleen",
        segmented_property_category=codes.SCT.Organ,
        segmented_property_type=codes.SCT.Spleen,
        algorithm_type=hd.seg.SegmentAlgorithmTypeValues.MANUAL,
    )
    made = hd.seg.Segmentation(
        source_images=slices,
        pixel_array=np.ascontiguousarray(ids.transpose(2, 1, 0)),
        segmentation_type=hd.seg.SegmentationTypeValues.BINARY,
        segment_descriptions=[organ],
        series_instance_uid=hd.UID(),
        series_number=2,
        sop_instance_uid=hd.UID(),
        instance_number=1,
        manufacturer="none",
        manufacturer_model_name="none",
        software_versions="0",
        device_serial_number="0",
        omit_empty_frames=True,
    )
    made.save_as(path)
    return path
