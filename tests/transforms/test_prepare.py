"""To the plan's grid and back inside a MONAI pipeline, against linear fields in world space."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
from monai.data import DataLoader, Dataset, MetaTensor, decollate_batch
from monai.transforms import CenterSpatialCropd, Compose, SaveImaged
from numpy.typing import NDArray
from PIL import Image

from medseg import InputRefused, Plan, UsageError
from medseg.plans import ChannelPlan
from medseg.transforms import LoadVolumed, PrepareVolumed, RestoreLabelsd
from tests.threshold_model import threshold_plan
from tests.transforms.conftest import AFFINE, SHAPE

Write = Callable[..., Path]
SLOPE = np.array([1.0, -2.0, 0.5])


def _plan(spacing_mm: tuple[float, float, float] | None = (1.0, 0.9, 1.7), dimensions: int = 3) -> Plan:
    """Labels 7 and 255; intensities pass as they are."""
    patch = (16, 12, 8)[:dimensions]
    plan = threshold_plan(spacing_mm=spacing_mm, dimensions=dimensions, patch=patch)
    channel = ChannelPlan(name="t1", normalisation="window", low=-1e4, high=1e4)
    return plan.model_copy(update={"channels": (channel,)})


def _field(affine: NDArray[np.float64], shape: tuple[int, ...]) -> NDArray[np.float64]:
    """A value that says where in the world a voxel lies."""
    index = np.indices(shape).reshape(3, -1)
    world = affine[:3, :3] @ index + affine[:3, 3:]
    return (SLOPE @ world).reshape(shape)


def _bands(field: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Ids 0, 7, 255 in bands across the field."""
    low, high = np.percentile(field, (35, 70))
    return np.where(field > high, 255, np.where(field > low, 7, 0)).astype(np.uint8)


@pytest.fixture
def case(nifti: Write) -> dict[str, Path]:
    field = _field(AFFINE, SHAPE)
    return {
        "image": nifti("scan.nii.gz", field.astype(np.float32)),
        "label": nifti("label.nii.gz", _bands(field)),
    }


def _steps(plan: Plan) -> Compose:
    return Compose(
        [LoadVolumed("image", label_keys="label"), PrepareVolumed("image", plan, label_keys="label")]
    )


def test_prepared_voxels_hold_the_values_of_their_world_points(case: dict[str, Path]) -> None:
    prepared = _steps(_plan())(case)
    image = prepared["image"]
    assert image.dtype == torch.float32
    np.testing.assert_allclose(image.pixdim, (1.0, 0.9, 1.7), rtol=1e-6)
    affine = image.affine.numpy()
    assert (np.diag(affine)[:3] > 0).all()  # closest to RAS
    inside = tuple(slice(1, -1) for _ in range(3))  # the outermost repeat the border
    expected = _field(affine, tuple(image.shape[1:]))
    np.testing.assert_allclose(image[0].numpy()[inside], expected[inside], atol=1e-3)
    np.testing.assert_allclose(image.meta["original_affine"], AFFINE, atol=2e-5)
    np.testing.assert_array_equal(image.meta["spatial_shape"], SHAPE)


def test_prepared_labels_are_class_indices_on_the_scans_grid(case: dict[str, Path]) -> None:
    prepared = _steps(_plan())(case)
    image, label = prepared["image"], prepared["label"]
    assert label.dtype == torch.int32
    assert label.shape == image.shape
    assert torch.equal(label.affine, image.affine)
    low, high = np.percentile(_field(AFFINE, SHAPE), (35, 70))
    field = image[0].numpy()
    sure = np.minimum(abs(field - low), abs(field - high)) > 2.5  # a step of the field is below that
    np.testing.assert_array_equal(label[0].numpy()[sure], ((field > low) * 1 + (field > high))[sure])
    assert set(np.unique(label)) == {0, 1, 2}


def test_logits_come_back_as_ids_on_the_grid_of_the_file(case: dict[str, Path], tmp_path: Path) -> None:
    """Logits that are linear in space decide by planes; the planes hold on the scan's own grid."""
    plan = _plan()
    prepared = _steps(plan)(case)
    low, high = np.percentile(_field(AFFINE, SHAPE), (35, 70))
    field = _field(prepared["image"].affine.numpy(), tuple(prepared["image"].shape[1:]))
    logits = np.stack([np.zeros_like(field), field - low, 2 * field - low - high])
    prepared["pred"] = torch.as_tensor(logits, dtype=torch.float32)
    back = Compose(
        [
            RestoreLabelsd("pred", plan, ref_key="image"),
            SaveImaged("pred", output_dir=tmp_path, separate_folder=False, print_log=False),
        ]
    )
    restored = back(prepared)["pred"]
    assert restored.dtype == torch.int32
    native = _field(AFFINE, SHAPE)
    inside = np.minimum(abs(native - low), abs(native - high)) > 0.01
    inside[[0, -1]] = inside[:, [0, -1]] = inside[:, :, [0, -1]] = False
    np.testing.assert_array_equal(restored[0].numpy()[inside], _bands(native)[inside])
    saved = nibabel.load(tmp_path / "scan_trans.nii.gz")
    np.testing.assert_allclose(saved.affine, AFFINE, atol=2e-5)
    np.testing.assert_array_equal(saved.get_fdata(), restored[0])


def test_a_plan_that_keeps_the_spacing_gives_every_label_back(case: dict[str, Path]) -> None:
    plan = _plan(spacing_mm=None)
    prepared = _steps(plan)(case)
    one_hot = torch.nn.functional.one_hot(prepared["label"].as_tensor()[0].long(), 3).movedim(-1, 0)
    prepared["pred"] = MetaTensor(one_hot.float(), meta=prepared["label"].meta)
    restored = RestoreLabelsd("pred", plan)(prepared)["pred"]
    np.testing.assert_array_equal(restored[0], nibabel.load(case["label"]).get_fdata())


def test_what_moves_the_grid_in_between_is_followed(case: dict[str, Path]) -> None:
    plan = _plan(spacing_mm=None)
    prepared = CenterSpatialCropd(["image", "label"], (5, 6, 5))(_steps(plan)(case))
    one_hot = torch.nn.functional.one_hot(prepared["label"].as_tensor()[0].long(), 3).movedim(-1, 0)
    prepared["pred"] = one_hot.float()
    restored = RestoreLabelsd("pred", plan, ref_key="image")(prepared)["pred"][0].numpy()
    truth = nibabel.load(case["label"]).get_fdata()
    assert restored.shape == truth.shape
    # The middle of the scan, whatever its axes: 5 x 6 x 5 voxels lie inside 3 of every side here.
    middle = tuple(slice(n // 2 - 1, n // 2 + 2) for n in SHAPE)
    np.testing.assert_array_equal(restored[middle], truth[middle])


def test_batches_that_went_through_a_network_come_back_case_by_case(case: dict[str, Path]) -> None:
    plan = _plan(spacing_mm=None)
    (batch,) = list(DataLoader(Dataset([case], _steps(plan)), batch_size=1))
    network = torch.nn.Conv3d(1, 3, 1)
    with torch.no_grad():
        network.weight[:], network.bias[:] = (
            torch.tensor([0.0, 1.0, -1.0]).reshape(3, 1, 1, 1, 1),
            torch.tensor([0.0, 0.0, 0.0]),
        )
        batch["pred"] = network(batch["image"])
    (one,) = decollate_batch(batch)
    restored = RestoreLabelsd("pred", plan)(one)["pred"][0].numpy()
    native = nibabel.load(case["image"]).get_fdata()
    np.testing.assert_array_equal(restored, np.where(native > 0, 7, 255))


def test_pictures_stay_planes(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (6, 9), np.uint8)  # rows, columns
    Image.fromarray(pixels).save(tmp_path / "slide.png")
    plan = _plan(spacing_mm=None, dimensions=2)
    loaded = Compose([LoadVolumed("image"), PrepareVolumed("image", plan)])({"image": tmp_path / "slide.png"})
    np.testing.assert_array_equal(loaded["image"], pixels.T[None])
    loaded["pred"] = torch.cat([100 - loaded["image"], loaded["image"] - 100, 0 * loaded["image"] - 200])
    restored = RestoreLabelsd("pred", plan, ref_key="image")(loaded)["pred"]
    np.testing.assert_array_equal(restored[0], np.where(pixels.T > 100, 7, 0))
    with pytest.raises(InputRefused) as refusal:
        PrepareVolumed("image", _plan(spacing_mm=None))(loaded)
    assert refusal.value.code == "dimensions"
    with pytest.raises(InputRefused) as refusal:
        PrepareVolumed("image", _plan(dimensions=2))(loaded)
    assert refusal.value.code == "spacing-unknown"


def test_labels_that_the_plan_does_not_know_are_refused(case: dict[str, Path], nifti: Write) -> None:
    case["label"] = nifti("other.nii", np.full(SHAPE, 9, np.uint8))
    with pytest.raises(RuntimeError) as raised:
        _steps(_plan())(case)
    assert isinstance(raised.value.__cause__, InputRefused)
    assert raised.value.__cause__.code == "unknown-label"
    fraction = {"label": MetaTensor(torch.full((1, 3, 4, 5), 0.5))}
    with pytest.raises(InputRefused, match="one channel of label ids") as refusal:
        PrepareVolumed((), _plan(), label_keys="label")(fraction)
    assert refusal.value.code == "not-labels"


def test_tensors_that_do_not_say_where_they_lie_are_no_use(case: dict[str, Path]) -> None:
    plan = _plan()
    prepare, restore = PrepareVolumed("image", plan), RestoreLabelsd("image", plan)
    loaded = LoadVolumed("image")({"image": case["image"]})["image"]
    with pytest.raises(UsageError, match="a Tensor, expected a MetaTensor"):
        prepare({"image": loaded.as_tensor()})
    with pytest.raises(UsageError, match="expected one case"):
        prepare({"image": loaded[None]})
    with pytest.raises(UsageError, match="no metadata original_affine, spatial_shape"):
        restore({"image": MetaTensor(torch.zeros(3, 4, 5, 6))})
    with pytest.raises(UsageError, match="1 channels, plan 'threshold' has 3 classes"):
        restore({"image": loaded})
    loaded.meta["space"] = "LPS"
    with pytest.raises(UsageError, match="leads to LPS, expected RAS"):
        prepare({"image": loaded})


def test_transforms_travel_to_worker_processes(case: dict[str, Path]) -> None:
    plan = _plan()
    steps = [
        LoadVolumed("image", label_keys="label", allow="tilt"),
        PrepareVolumed("image", plan, label_keys="label"),
        RestoreLabelsd("pred", plan, ref_key="image", allow_missing_keys=True),
    ]
    here, there = Compose(steps)(case), Compose(pickle.loads(pickle.dumps(steps)))(case)
    for key in case:
        assert torch.equal(here[key], there[key])
        assert torch.equal(here[key].affine, there[key].affine)
