"""An exported MONAI Bundle runs where medseg cannot be imported, and finds what medseg finds."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from PIL import Image
from scipy import ndimage

import medseg
from medseg.errors import UsageError
from medseg.models import ModelBundle, Scope, save_bundle
from medseg.networks import build_network, tensors_of
from medseg.plans import CropRule, InferencePlan, Plan
from medseg.training.monai_export import export_monai

# MONAI's own: it mentions each optional reader that is absent, and that a config can run code.
pytestmark = [
    pytest.mark.usefixtures("one_thread"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]

BLOCK = """
import sys
class Block:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "medseg":
            raise ImportError("medseg is blocked")
sys.meta_path.insert(0, Block())
"""


def blobs(shape: tuple[int, ...], seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Curved regions of three brightnesses in a little noise, normalised, and which is which."""
    random = np.random.default_rng(seed)
    smooth = ndimage.gaussian_filter(random.normal(size=shape), 3.0)
    z = (smooth - smooth.mean()) / smooth.std()
    classes = (z > 0.3).astype(np.int64) + (z > 1.2)
    image = classes + 0.1 * random.normal(size=shape)
    return ((image - image.mean()) / image.std()).astype(np.float32), classes


def make_plan(dimensions: int, channels: tuple[dict, ...], network: str = "unet", **more: object) -> Plan:
    return Plan(
        name="blobs",
        dimensions=dimensions,
        channels=channels,
        labels=(
            {"id": 3, "name": "middle", "colour": (230, 159, 0)},
            {"id": 255, "name": "high", "colour": (86, 180, 233)},
        ),
        patch=(16, 24, 16)[:dimensions],
        network={
            "name": network,
            "features": (8, 16, 32 if network == "segresnet" else 16),
            "strides": ((1,) * dimensions, (2,) * dimensions, (2,) * dimensions),
            "deep_supervision": 1,
        },
        **more,
    )


def trained(plan: Plan, folder: Path, inputs: Callable[[np.ndarray], np.ndarray]) -> ModelBundle:
    """A bundle whose network has learnt the thresholds; ``inputs`` makes the normalised channels."""
    torch.manual_seed(0)
    network = build_network(plan).train()
    optimiser = torch.optim.Adam(network.parameters(), 1e-2)
    for step in range(40):
        image, classes = blobs(plan.patch, step)
        logits = network(torch.from_numpy(inputs(image))[None])[0]
        loss = torch.nn.functional.cross_entropy(logits, torch.from_numpy(classes)[None])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return save_bundle(
        folder,
        plan=plan,
        weights=tensors_of(network.eval()),
        build_onnx=None,
        scope=Scope(dimensions=plan.dimensions, description="blobs"),
        precision="f32",
        execution={},
        training={},
        scores={},
        card="# blobs\n",
        licence="CC0\n",
    )


def dice(a: np.ndarray, b: np.ndarray, label: int) -> float:
    total = (a == label).sum() + (b == label).sum()
    assert total > 0, f"label {label} is in neither"
    return 2 * ((a == label) & (b == label)).sum() / total


def ours(path: object, bundle: ModelBundle) -> np.ndarray:
    return medseg.infer(path, model=bundle, backend="torch", device="cpu", threads=1).labels.data


def run_workflow(folder: Path, images: Path, results: Path) -> None:
    """What ``python -m monai.bundle run`` does, in this process (which has MONAI loaded already)."""
    from monai.bundle import ConfigWorkflow

    workflow = ConfigWorkflow(
        str(folder / "configs" / "inference.json"),
        str(folder / "configs" / "metadata.json"),
        logging_file=False,
        workflow_type="infer",
        bundle_root=str(folder),
        dataset_dir=str(images),
        output_dir=str(results),
    )
    with torch.no_grad():  # and with it, on leaving, what the config switches off
        workflow.initialize()
        workflow.run()


@pytest.fixture(scope="module")
def bundle3d(tmp_path_factory) -> ModelBundle:
    plan = make_plan(3, ({"name": "t1", "modality": "MR"},), grid={"spacing_mm": (1.0, 1.0, 1.0)})
    return trained(plan, tmp_path_factory.mktemp("3d") / "bundle", lambda image: image[None])


# medseg spaces windows evenly, MONAI pushes the last one back: where the size is no whole number of
# steps, and where scans are resampled, the two differ by rounding at the edges of structures.
LEAST = {"large": 0.999, "small": 0.999, "uneven": 0.98, "oblique": 0.97}


def write_scans(folder: Path) -> dict[str, Path]:
    """Oblique, anisotropic, permuted and flipped, larger and smaller than the patch."""
    folder.mkdir()
    c, s = np.cos(0.3), np.sin(0.3)
    rotation = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])
    grids = {
        "large": ((32, 48, 24), (1.0, 1.0, 1.0), np.eye(3)),
        "small": ((20, 16, 12), (1.0, 1.0, 1.0), np.array([[0, 1, 0], [0, 0, -1], [-1, 0, 0]])),
        "uneven": ((37, 29, 19), (1.0, 1.0, 1.0), np.eye(3)),
        "oblique": ((34, 30, 16), (0.9, 1.2, 1.5), rotation),
    }
    paths = {}
    for seed, (name, (shape, spacing, direction)) in enumerate(grids.items(), 100):
        affine = np.eye(4)
        affine[:3, :3] = direction @ np.diag(spacing)
        affine[:3, 3] = (-20, 30, -7)
        image = nib.Nifti1Image((blobs(shape, seed)[0] * 250 + 800).astype(np.int16), affine)
        paths[name] = folder / f"{name}.nii.gz"
        nib.save(image, paths[name])
    return paths


def test_runs_without_medseg_and_agrees_with_it(bundle3d, tmp_path):
    scans = write_scans(tmp_path / "scans")
    folder = export_monai(bundle3d, tmp_path / "exported")
    (tmp_path / "block").mkdir()
    (tmp_path / "block" / "sitecustomize.py").write_text(BLOCK, encoding="utf-8")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "block"), "OMP_NUM_THREADS": "1"}
    blocked = subprocess.run(
        [sys.executable, "-c", "import medseg"],
        env=environment,
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "medseg is blocked" in blocked.stderr
    subprocess.run(
        [
            sys.executable, "-m", "monai.bundle", "run", "--config_file", "configs/inference.json",
            "--dataset_dir", str(tmp_path / "scans"), "--output_dir", str(tmp_path / "results"),
        ],
        env=environment, cwd=folder, check=True, capture_output=True,
    )  # fmt: skip
    for name, path in scans.items():
        result = nib.load(tmp_path / "results" / f"{name}_seg.nii.gz")
        found, expected = np.asarray(result.dataobj), ours(path, bundle3d)
        assert found.dtype == np.uint8
        np.testing.assert_allclose(result.affine, nib.load(path).affine, atol=1e-4)
        for label in (3, 255):
            assert dice(found, expected, label) >= LEAST[name], (name, label)


def test_network_has_learnt_what_the_other_tests_compare(bundle3d, tmp_path):
    path = write_scans(tmp_path / "scans")["large"]
    truth = np.array([0, 3, 255])[blobs((32, 48, 24), 100)[1]]
    assert dice(ours(path, bundle3d), truth, 3) > 0.8
    assert dice(ours(path, bundle3d), truth, 255) > 0.8


@pytest.mark.parametrize("network", ["unet", "segresnet"])
def test_pictures_keep_their_size_and_ids(network, tmp_path):
    plan = make_plan(2, ({"name": "grey", "normalisation": "unit", "low": 0, "high": 255},), network)
    bundle = trained(
        plan,
        tmp_path / "bundle",
        lambda image: (np.clip(image * 40 + 120, 0, 255) / 255)[None].astype(np.float32),
    )
    (tmp_path / "images").mkdir()
    picture = np.clip(blobs((48, 56), 7)[0] * 40 + 120, 0, 255).astype(np.uint8)
    Image.fromarray(picture).save(tmp_path / "images" / "a.png")
    run_workflow(export_monai(bundle, tmp_path / "exported"), tmp_path / "images", tmp_path / "results")
    found = np.asarray(Image.open(tmp_path / "results" / "a_seg.png"))
    assert found.shape == picture.shape
    expected = ours(tmp_path / "images" / "a.png", bundle)[..., 0].T  # i is the column
    assert set(np.unique(found)) == {0, 3, 255}
    for label in (3, 255):
        assert dice(found, expected, label) >= 0.999


def test_each_channel_is_normalised_in_its_own_way_and_slices_go_one_by_one(tmp_path):
    plan = make_plan(
        2,
        (
            {"name": "ct", "normalisation": "window", "low": -100, "high": 300, "mean": 50, "std": 120},
            {"name": "t1"},
        ),
        fingerprint={
            "cases": 1, "dimensions": 3, "spacing_known": True, "channels": (), "voxel_fraction": {},
            "spacing_median": (1, 1, 3), "spacing_min": (1, 1, 3), "spacing_max": (1, 1, 3),
            "shape_median": (40, 40, 5), "shape_min": (40, 40, 5), "shape_max": (40, 40, 5),
            "cases_with_label": {},
        },
    )  # fmt: skip
    bundle = trained(plan, tmp_path / "bundle", lambda image: np.stack([image, np.roll(image, 3)]))
    (tmp_path / "images").mkdir()
    image = blobs((40, 36, 5), 11)[0]
    affine = np.diag([-1.0, 1.0, 3.0, 1.0])
    paths = [tmp_path / "images" / f"a_000{n}.nii.gz" for n in range(2)]
    for path, data in zip(paths, (image * 120 + 50, np.roll(image, 3) * 9 + 70), strict=True):
        nib.save(nib.Nifti1Image(data.astype(np.float32), affine), path)
    run_workflow(export_monai(bundle, tmp_path / "exported"), tmp_path / "images", tmp_path / "results")
    results = list((tmp_path / "results").iterdir())
    assert len(results) == 1
    found = np.asarray(nib.load(results[0]).dataobj)
    expected = ours({"ct": paths[0], "t1": paths[1]}, bundle)
    for label in (3, 255):
        assert dice(found, expected, label) >= 0.999


def test_config_has_every_property_that_monai_asks_of_an_inference_bundle(bundle3d, tmp_path):
    from monai.bundle.properties import InferProperties
    from monai.utils import BundleProperty, BundlePropertyConfig

    folder = export_monai(bundle3d, tmp_path / "exported")
    config = json.loads((folder / "configs" / "inference.json").read_text(encoding="utf-8"))
    asked = [p[BundlePropertyConfig.ID] for p in InferProperties.values() if p[BundleProperty.REQUIRED]]
    assert "evaluator" in asked
    assert set(asked) <= config.keys()


def test_checkpoint_is_tensors_alone_and_configs_name_no_medseg(bundle3d, tmp_path):
    folder = export_monai(bundle3d, tmp_path / "exported")
    state = torch.load(folder / "models" / "model.pt", weights_only=True)
    assert all(isinstance(value, torch.Tensor) and value.dtype == torch.float32 for value in state.values())
    config = (folder / "configs" / "inference.json").read_text(encoding="utf-8")
    json.loads(config)
    assert "medseg" not in config
    assert (folder / "LICENSE").read_text(encoding="utf-8") == "CC0\n"
    assert not (tmp_path / "exported" / "medseg.yaml").exists()


def test_a_model_that_crops_scans_is_refused(bundle3d, tmp_path):
    plan = bundle3d.plan.model_copy(update={"inference": InferencePlan(crop=CropRule())})
    with pytest.raises(UsageError, match="crops scans"):
        export_monai(dataclasses.replace(bundle3d, plan=plan), tmp_path / "exported")
    assert not (tmp_path / "exported").exists()


def test_an_earlier_export_is_replaced_and_nothing_else(bundle3d, tmp_path):
    export_monai(bundle3d, tmp_path / "exported")
    export_monai(bundle3d, tmp_path / "exported")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("x", encoding="utf-8")
    with pytest.raises(UsageError, match="choose another folder"):
        export_monai(bundle3d, tmp_path / "mine")
