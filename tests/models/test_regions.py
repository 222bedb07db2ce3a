"""A model whose outputs are regions that may overlap, from its network to the labels on the scan."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

import medseg
from medseg.errors import UsageError
from medseg.geometry import Geometry
from medseg.inference import open_backend
from medseg.models import ModelBundle, Scope, save_bundle, verify_bundle
from medseg.networks import build_network, tensors_of
from medseg.plans import Plan
from medseg.training.monai_export import export_monai
from medseg.training.onnx_export import onnx_builder
from medseg.transforms import LoadVolumed, PrepareVolumed, RestoreLabelsd
from medseg.volume import Volume

PLAN = {
    "name": "tumour",
    "dimensions": 3,
    "channels": [{"name": "flair", "modality": "MR"}],
    "labels": [
        {"id": 1, "name": "oedema", "colour": (1, 2, 3)},
        {"id": 2, "name": "core", "colour": (1, 2, 3)},
        {"id": 4, "name": "enhancing", "colour": (1, 2, 3)},
    ],
    "regions": [
        {"name": "whole tumour", "labels": (1, 2, 4), "paints": 1},
        {"name": "tumour core", "labels": (2, 4), "paints": 2},
    ],
    "patch": (12, 8, 8),
    "network": {"features": (4, 6, 8), "strides": ((1, 1, 1), (2, 2, 2), (2, 1, 1)), "deep_supervision": 0},
}


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> ModelBundle:
    plan = Plan.checked(PLAN)
    torch.manual_seed(3)
    network = build_network(plan).eval()
    tensors = tensors_of(network)
    return save_bundle(
        tmp_path_factory.mktemp("bundle") / "tumour",
        plan=plan,
        weights=tensors,
        build_onnx=onnx_builder(network, plan, tensors),
        scope=Scope(dimensions=3, description="anything"),
        precision="f32",
        execution={},
        training={},
        scores={},
        card="# Tumour\n",
        licence="CC0\n",
    )


@pytest.fixture(scope="module")
def scan() -> NDArray[np.float32]:
    return np.random.default_rng(1).gamma(2, 50, size=(12, 8, 8)).astype(np.float32)


@pytest.fixture(scope="module")
def painted(bundle: ModelBundle, scan: NDArray[np.float32]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Ids by torch and numpy alone, and where both regions' logits are far enough from 0."""
    network = build_network(bundle.plan).eval()
    state = network.state_dict()
    for name, value in bundle.weights().items():
        state[name].copy_(torch.from_numpy(value))
    z = (scan - scan.mean()) / scan.std()
    with torch.inference_mode():
        whole, core = network(torch.from_numpy(z)[None, None])[0].numpy()
    ids = np.where(core > 0, 2, np.where(whole > 0, 1, 0))
    assert set(np.unique(ids)) == {0, 1, 2}
    return ids, np.minimum(abs(whole), abs(core)) > 1e-3


def test_the_network_has_an_output_for_every_region_and_metadata_name_them(bundle):
    assert build_network(bundle.plan)(torch.zeros(1, 1, 12, 8, 8)).shape == (1, 2, 12, 8, 8)
    assert verify_bundle(medseg.load_model(bundle.path)) == []
    metadata = json.loads((bundle.path / "configs/metadata.json").read_text())
    outputs = metadata["network_data_format"]["outputs"]["pred"]
    assert outputs["num_channels"] == 2
    assert outputs["channel_def"] == {"0": "whole tumour", "1": "tumour core"}


@pytest.mark.parametrize("backend", ["openvino", "torch"])
def test_infer_paints_the_regions_in_their_order(backend, bundle, scan, painted):
    assert open_backend(bundle, backend=backend, device="cpu")(scan[None, None]).shape == (1, 2, 12, 8, 8)
    volume = Volume(scan[None], Geometry(scan.shape, np.eye(4)))
    found = medseg.infer(volume, model=bundle, backend=backend, device="cpu")
    ids, sure = painted
    np.testing.assert_array_equal(found.labels.data[sure], ids[sure])


def test_monai_transforms_paint_regions_too(bundle, scan, painted, tmp_path: Path):
    import nibabel as nib

    nib.save(nib.Nifti1Image(scan, np.eye(4)), tmp_path / "scan.nii.gz")
    case = LoadVolumed("image")({"image": tmp_path / "scan.nii.gz"})
    case = PrepareVolumed("image", bundle.plan)(case)
    ids, _ = painted
    # Logits that say what numpy painted.
    case["pred"] = torch.from_numpy(np.stack([ids > 0, ids == 2]) - 0.5)
    restored = RestoreLabelsd("pred", bundle.plan, ref_key="image")(case)["pred"][0].numpy()
    np.testing.assert_array_equal(restored, ids)
    case["pred"] = torch.zeros(4, 12, 8, 8)
    with pytest.raises(UsageError, match="4 channels, plan 'tumour' has 2 regions"):
        RestoreLabelsd("pred", bundle.plan, ref_key="image")(case)


def test_a_monai_bundle_of_regions_is_refused(bundle, tmp_path: Path):
    with pytest.raises(UsageError, match="regions that may overlap"):
        export_monai(bundle, tmp_path / "out")
    assert not (tmp_path / "out").exists()
