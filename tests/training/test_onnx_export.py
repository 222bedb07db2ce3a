"""What OpenVINO computes from an exported network is what torch computes from the same weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from medseg.inference.backends.openvino import import_openvino
from medseg.models import ModelBundle, Scope, save_bundle, verify_bundle
from medseg.networks import build_network, load_tensors
from medseg.plans import Plan
from medseg.training.export import half_precision
from medseg.training.onnx_export import onnx_builder

QUIET = pytest.mark.filterwarnings("ignore:.*")  # torch's exporter warns about itself


def plan() -> Plan:
    return Plan.checked(
        {
            "name": "net",
            "dimensions": 2,
            "channels": [{"name": "x", "normalisation": "range"}],
            "labels": [
                {"id": i, "name": name, "colour": (0, 0, 0)}
                for i, name in ((2, "left kidney"), (4, "liver"), (7, "right kidney"))
            ],
            "patch": (16, 24),
            "network": {
                "name": "stem_unet",
                "features": (12, 16, 20),
                "strides": ((1, 1), (2, 2), (2, 2)),
                "deep_supervision": 1,
            },
        }
    )


def trained(the_plan: Plan) -> torch.nn.Module:
    """A network whose normalisations have counted something, and whose weights are not the first ones."""
    torch.manual_seed(4)
    network = build_network(the_plan).train()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
        for _ in range(8):
            network(3 * torch.randn(2, 1, *the_plan.patch) + 1)
    return network.eval()


def save(folder: Path, the_plan: Plan, network: torch.nn.Module) -> ModelBundle:
    tensors = half_precision(network)
    return save_bundle(
        folder,
        plan=the_plan,
        weights=tensors,
        build_onnx=onnx_builder(network, the_plan, tensors),
        scope=Scope(dimensions=the_plan.dimensions, description="noise"),
        precision="f32",
        execution={},
        training={},
        scores={},
        card="# net\n",
        licence="CC0\n",
    )


@QUIET
def test_a_stem_unet_is_the_same_network_in_openvino(tmp_path):
    the_plan = plan()  # in 3D, with sides: test_train_from_maps.py
    network = trained(the_plan)
    bundle = save(tmp_path / "net", the_plan, network)
    assert verify_bundle(bundle) == []
    weights = bundle.weights()
    for name, value in weights.items():
        assert value.dtype == (np.float16 if value.ndim > 1 else np.float32), name
    counted = [name for name in weights if name.endswith("running_var")]
    assert counted
    assert all(not np.allclose(weights[name], 1, atol=0.05) for name in counted)

    load_tensors(network, {name: value.astype(np.float32) for name, value in weights.items()})
    assert bundle.onnx_path is not None
    compiled = import_openvino().Core().compile_model(
        str(bundle.onnx_path), "CPU", {"INFERENCE_PRECISION_HINT": "f32"}
    )  # fmt: skip
    for batch, size in ((1, the_plan.patch), (2, (24, 8))):
        images = torch.randn(batch, 1, *size)
        with torch.inference_mode():
            wanted = network(images).numpy()
        found = compiled(images.numpy())[0]
        assert wanted.std() > 0.1
        np.testing.assert_allclose(found, wanted, atol=2e-4 * np.abs(wanted).max())
