"""A scan, and a model whose answer anyone can compute: what is brighter than the scan's mean is label 7."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from medseg.models import Scope, save_bundle
from medseg.models.tensors import read_layout
from medseg.plans import ChannelPlan, LabelSpec, NetworkPlan, Plan

LABEL = 7
# Oblique, anisotropic, not RAS: 20 degrees about the first axis, the second axis runs backwards.
AFFINE = np.array(
    [[0.9, 0.0, 0.0, -31.0], [0.0, -1.0336, -0.6840, 12.0], [0.0, -0.3762, 1.8794, 5.0], [0.0, 0.0, 0.0, 1.0]]
)


@pytest.fixture(scope="session")
def bright_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle whose network is one 1x1x1 convolution: logits 0 and the normalised intensity."""
    weights = {
        "weight": np.array([0.0, 1.0], np.float32).reshape(2, 1, 1, 1, 1),
        "bias": np.zeros(2, np.float32),
    }
    plan = Plan(
        name="bright",
        dimensions=3,
        channels=(ChannelPlan(name="image"),),
        labels=(LabelSpec(id=LABEL, name="bright part", colour=(230, 159, 0)),),
        patch=(16, 16, 16),
        network=NetworkPlan(features=(8, 16), strides=((1, 1, 1), (2, 2, 2)), deep_supervision=0),
    )
    bundle = save_bundle(
        tmp_path_factory.mktemp("models") / "bright",
        plan=plan,
        weights=weights,
        build_onnx=_one_convolution,
        scope=Scope(dimensions=3, description="anything in three dimensions"),
        precision="f32",
        execution={},
        training={},
        scores={},
        card="# bright\n\nFinds what is brighter than the mean.\n",
        licence="Apache-2.0\n",
    )
    return bundle.path


@pytest.fixture
def scan(tmp_path: Path) -> Path:
    """A NIfTI scan of 18 x 21 x 13 voxels."""
    data = np.random.default_rng(3).normal(100, 20, (18, 21, 13)).astype(np.float32)
    path = tmp_path / "scan.nii.gz"
    nibabel.save(nibabel.Nifti1Image(data, AFFINE), path)
    return path


def _one_convolution(safetensors: Path) -> bytes:
    spans = read_layout(safetensors).spans
    graph = helper.make_graph(
        [helper.make_node("Conv", ["image", "weight", "bias"], ["logits"])],
        "bright",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 1, "x", "y", "z"])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 2, "x", "y", "z"])],
        [_external("weight", spans["weight"]), _external("bias", spans["bias"])],
    )
    content: bytes = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)]).SerializeToString()
    return content


def _external(name: str, span: object) -> onnx.TensorProto:
    tensor = TensorProto(name=name, data_type=TensorProto.FLOAT, dims=span.shape)
    tensor.data_location = TensorProto.EXTERNAL
    facts = {"location": "model.safetensors", "offset": span.start, "length": span.stop - span.start}
    for key, value in facts.items():
        tensor.external_data.add(key=key, value=str(value))
    return tensor
