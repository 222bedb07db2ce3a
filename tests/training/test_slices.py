"""2D models on volumes: which slices training and inference cut, and that they are the same."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import Orientation

import medseg
from medseg.errors import PlanInvalid, UsageError
from medseg.inference.flips import flips_that_keep_sides
from medseg.labels import LabelSet
from medseg.networks import build_network, load_tensors
from medseg.plans import Fingerprint, GridPlan, Plan
from medseg.preprocess import Patches
from medseg.training.cache import CachedCase
from medseg.training.monai_config import inference_config
from medseg.training.planner import propose, slicing
from medseg.training.sampling import draw_batch
from medseg.volume import Volume
from tests.ball_data import make_case

SPACING = (1.2, 1.5, 1.0)
# Stored as posterior, superior, right: what a slice is follows from the header, not from the array.
STORED = nib.orientations.axcodes2ornt(("P", "S", "R"))
RAS = nib.orientations.axcodes2ornt(("R", "A", "S"))
FAST = (
    "network.features=[8,16,16]",
    "network.strides=[[1,1],[2,2],[2,2]]",
    "network.kernel_sizes=[]",
    "network.deep_supervision=0",
    "optimiser.warmup_steps=2",
    "optimiser.learning_rate=0.005",
    "sampling.batch_size=4",
    "schedule.steps=40",
    "schedule.validate_every=40",
    "schedule.ema_decay=0.5",
)


def turned_affine() -> np.ndarray:
    turn = np.array([[0.96, -0.28, 0.0], [0.28, 0.96, 0.0], [0.0, 0.0, 1.0]])
    affine = np.eye(4)
    affine[:3, :3] = turn @ np.diag(SPACING)
    affine[:3, 3] = (-12.5, 31.0, 4.25)
    return affine


def write(path: Path, array: np.ndarray) -> None:
    """An oblique volume given in RAS order, stored in another."""
    path.parent.mkdir(parents=True, exist_ok=True)
    change = nib.orientations.ornt_transform(RAS, STORED)
    nib.save(nib.Nifti1Image(array, turned_affine()).as_reoriented(change), path)


@pytest.fixture(scope="module")
def volumes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("slices") / "volumes"
    for n in range(5):
        image, label = make_case(n)
        write(folder / f"images/case{n}.nii.gz", image)
        write(folder / f"labels/case{n}.nii.gz", label)
    return folder


def canonical(path: Path) -> np.ndarray:
    return np.asarray(nib.as_closest_canonical(nib.load(path)).dataobj)


def test_a_model_of_neighbouring_coronal_slices_trains_and_segments_on_the_scans_own_grid(volumes, tmp_path):
    run = medseg.train(
        volumes,
        tmp_path / "run",
        overrides=("dimensions=2", "grid.slice_axis=coronal", "grid.neighbours=1", "patch=[24,20]", *FAST),
        device="cpu",
    )
    assert run.plan.grid.spacing_mm == pytest.approx((1.2, 1.0, 1.5))  # across a slice, up it, between them
    (score,) = run.scores["validation"]
    assert score.mean > 0.2  # a few steps: it learns at all

    scan = volumes / "images/case3.nii.gz"
    results = {name: medseg.infer(scan, run.run / "bundle", backend=name) for name in ("torch", "openvino")}
    written = tmp_path / "out.nii.gz"
    for result in results.values():
        medseg.write(result.labels, written, overwrite=True)
        assert np.array_equal(nib.load(written).affine, nib.load(scan).affine)
        assert nib.load(written).shape == nib.load(scan).shape
        labels = canonical(written)
        # Slice by slice, with numpy: three coronal slices, the last one repeated at the ends.
        image = canonical(scan).astype(np.float64)
        image = (image - image.mean()) / image.std()
        network = build_network(run.plan).eval()
        load_tensors(network, {k: v.astype(np.float32) for k, v in run.bundle.weights().items()})
        expected = np.zeros(image.shape, np.uint8)
        for j in range(image.shape[1]):
            three = [image[:, min(max(n, 0), image.shape[1] - 1)] for n in (j - 1, j, j + 1)]
            padded = np.pad(np.stack(three), ((0, 0), (2, 2), (1, 1))).astype(np.float32)
            with torch.inference_mode():
                logits = network(torch.from_numpy(padded[None]))[0].numpy()
            expected[:, j] = np.array(run.plan.class_ids)[logits.argmax(0)][2:-2, 1:-1]
        assert len(np.unique(expected)) == 3
        assert (labels != expected).mean() < 1e-3  # float32 against float32: ties apart


def test_training_cuts_the_neighbours_that_inference_sees_ends_repeated():
    shape = (9, 8, 5)
    x, y, z = np.indices(shape)
    coded = np.stack([x * 10000 + y * 100 + z, -(x * 10000 + y * 100 + z) - 1]).astype(np.float32)
    case = CachedCase("coded", coded, np.ones(shape, np.uint8), {1: np.argwhere(np.ones(shape, bool))})
    plan = sliced_plan("axial", neighbours=2, channels=2)
    images = np.concatenate([draw_batch([case], plan, step)[0] for step in range(20)])
    ends = set()
    for image in images:
        assert image.shape == (10, 8, 8)
        middle = int(image[2, 0, 0]) % 100
        ends.add(middle)
        corner = [int(image[2, 0, 0]) // 10000, int(image[2, 0, 0]) // 100 % 100]
        within = np.s_[corner[0] : corner[0] + 8, corner[1] : corner[1] + 8]
        for channel in range(2):
            for n, offset in enumerate(range(-2, 3)):
                plane = coded[channel][..., min(max(middle + offset, 0), 4)]
                np.testing.assert_array_equal(image[5 * channel + n], plane[within])
    assert ends == set(range(5))


def sliced_plan(axis: str | None, *, neighbours: int = 0, channels: int = 1, sides: bool = False) -> Plan:
    names = {1: "left kidney", 2: "right kidney"} if sides else {1: "kidney", 2: "liver"}
    return Plan.checked(
        {
            "name": "slices",
            "dimensions": 2,
            "channels": [{"name": f"c{n}"} for n in range(channels)],
            "labels": [{"id": i, "name": name, "colour": (1, 2, 3)} for i, name in names.items()],
            "grid": {"slice_axis": axis, "neighbours": neighbours},
            "patch": (8, 8),
            "network": {"strides": ((1, 1),) * 3, "features": (1, 1, 1), "deep_supervision": 0},
            "augmentation": {"spatial_probability": 0.0, "flip_axes": (0, 1), "rotation_degrees": (0.0,)},
        }
    )


@pytest.mark.parametrize(("axis", "codes"), [("axial", "RAS"), ("coronal", "RSA"), ("sagittal", "ASR")])
def test_slices_lie_as_nibabel_and_an_exported_monai_bundle_turn_the_scan(axis, codes):
    image = np.random.default_rng(0).normal(size=(11, 9, 7)).astype(np.float32)
    stored = nib.Nifti1Image(image, turned_affine()).as_reoriented(
        nib.orientations.ornt_transform(RAS, STORED)
    )
    volume = Volume(np.asarray(stored.dataobj)[None], medseg.Geometry(stored.shape, stored.affine))
    spacing = dict(zip("RAS", SPACING, strict=True))
    plan = sliced_plan(axis).model_copy(
        update={"grid": GridPlan(slice_axis=axis, spacing_mm=(spacing[codes[0]], spacing[codes[1]], 0.3))}
    )
    seen = Patches(volume, plan)
    change = nib.orientations.ornt_transform(STORED, nib.orientations.axcodes2ornt(tuple(codes)))
    turned = stored.as_reoriented(change)
    np.testing.assert_array_equal(seen.data[0], np.asarray(turned.dataobj))  # slices are never resampled
    np.testing.assert_allclose(seen.geometry.affine, turned.affine, atol=1e-9)
    config = inference_config(plan)["preprocessing"]["transforms"]
    (step,) = [one for one in config if one["_target_"] == "Orientationd"]
    by_monai = Orientation(axcodes=step["axcodes"], labels=step["labels"])(
        MetaTensor(
            torch.from_numpy(np.array(stored.dataobj, order="C"))[None],
            affine=torch.from_numpy(stored.affine),
        )
    )
    np.testing.assert_array_equal(by_monai.numpy()[0], np.asarray(turned.dataobj))


def test_a_monai_bundle_of_neighbouring_slices_is_refused():
    with pytest.raises(UsageError, match="only 2D models of lone slices"):
        inference_config(sliced_plan("axial", neighbours=1))


@pytest.mark.parametrize(("axis", "lateral"), [("axial", 0), ("coronal", 0), ("sagittal", None)])
def test_left_stays_left_in_slices_of_every_direction(axis, lateral):
    plan = sliced_plan(axis, sides=True)
    assert plan.lateral_axis == lateral
    lonely = plan.model_copy(update={"labels": plan.labels[:1]})  # a left kidney without a right one
    assert flips_that_keep_sides(lonely, (0, 1)) == ((0, 1) if lateral is None else (1,))


def fingerprint(spacing: tuple[float, float, float]) -> Fingerprint:
    three = {f"spacing_{what}": spacing for what in ("median", "min", "max")}
    three |= {f"shape_{what}": (160, 200, 30) for what in ("median", "min", "max")}
    statistics = {"mean": 0.0, "std": 1.0, "percentile_00_5": -2.0, "percentile_99_5": 2.0}
    return Fingerprint(
        cases=20,
        dimensions=3,
        spacing_known=True,
        channels=({"name": "t2", "modality": "MR", **statistics},),
        voxel_fraction={0: 0.9, 1: 0.1},
        cases_with_label={1: 20},
        **three,
    )


@pytest.mark.parametrize(
    ("spacing", "axis", "in_order"),
    [
        ((0.7, 0.8, 5.0), "axial", (0.7, 0.8, 5.0)),
        ((0.7, 4.0, 0.9), "coronal", (0.7, 0.9, 4.0)),
        ((3.3, 0.8, 0.9), "sagittal", (0.8, 0.9, 3.3)),
        ((1.0, 1.0, 1.0), "axial", (1.0, 1.0, 1.0)),
    ],
)
def test_slices_are_planned_as_they_were_acquired_unless_an_axis_is_named(spacing, axis, in_order):
    found = fingerprint(spacing)
    labels = LabelSet.from_names({1: "tumour"})
    assert slicing(found, {}) is None  # a 3D model
    assert slicing(found, {"dimensions": 2}) == axis
    assert slicing(found, {"dimensions": 2, "grid": {"slice_axis": "sagittal"}}) == "sagittal"
    proposed = propose(found, labels, "t", memory_bytes=10**9, on_gpu=False, slice_axis=axis)
    plan = Plan.checked(proposed)
    assert (plan.dimensions, plan.grid.slice_axis, plan.grid.spacing_mm) == (2, axis, in_order)
    assert plan.augmentation.flip_axes == (() if axis == "sagittal" else (0,))


@pytest.mark.parametrize(
    ("changes", "cure"),
    [
        ({"dimensions": 3, "patch": (8, 8, 8)}, "set dimensions 2"),
        ({"grid": {"slice_axis": "axial", "orientation": None}}, "need orientation RAS"),
        ({"grid": {"slice_axis": "oblique"}}, "'axial', 'coronal' or 'sagittal'"),
        ({"grid": {"neighbours": -1}}, "expected 0 or more, found -1"),
    ],
)
def test_what_cannot_be_sliced_is_refused_with_the_cure(changes, cure):
    values = sliced_plan("axial").model_dump(mode="json")
    if changes.get("dimensions") == 3:
        changes = {**changes, "network": {"strides": ((1, 1, 1),) * 3, "features": (1, 1, 1)}}
    with pytest.raises(PlanInvalid, match=cure):
        Plan.checked({**values, **changes})
