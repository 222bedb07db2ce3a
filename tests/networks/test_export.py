"""What OpenVINO computes from a network's ONNX file is what torch computes from the same weights.

Exporting takes seconds, so each kind of block is exported once here, and every network in
tests/acceptance/test_every_network_in_openvino.py.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch

from medseg.inference.backends.openvino import OpenVinoBackend, import_openvino
from medseg.models import verify_bundle
from medseg.networks import build_network, load_tensors
from tests.networks.plans import plan
from tests.training.test_onnx_export import QUIET, save, trained

SHALLOW = {"features": [4, 6, 8], "strides": [[1, 1], [2, 1], [2, 2]], "deep_supervision": 1}
# Inception modules, pooling and gates; residual blocks whose axes differ; attention, whose size is fixed.
EXPORTED = [("googlenet, gates", 2, SHALLOW), ("segresnet", 3, {}), ("swin_unetr", 2, {})]


@QUIET
@pytest.mark.parametrize(("name", "dimensions", "network"), EXPORTED)
def test_openvino_computes_what_torch_computes(tmp_path, name, dimensions, network):
    check_export(tmp_path, name, dimensions, network)


def check_export(tmp_path, name, dimensions, network):
    """Of the plan's patch through the backend, and of a larger one from the file itself."""
    the_plan = plan(name, dimensions, 1, **network)
    bundle = save(tmp_path / "net", the_plan, trained(the_plan))
    assert verify_bundle(bundle) == []
    module = build_network(the_plan).eval()
    load_tensors(module, {key: value.astype(np.float32) for key, value in bundle.weights().items()})
    backend = OpenVinoBackend(bundle, precision="f32", threads=1, why="test")
    assert_same(backend, module, (1, 1, *the_plan.patch))
    if name == "swin_unetr":  # its file is for the plan's patch alone
        return
    compiled = import_openvino().Core().compile_model(
        str(bundle.onnx_path), "CPU", {"INFERENCE_PRECISION_HINT": "f32"}
    )  # fmt: skip
    step = np.prod(the_plan.network.strides, axis=0)
    assert_same(lambda images: compiled(images)[0], module, (2, 1, *(the_plan.patch + step)))


def assert_same(run, module, shape):
    images = torch.randn(*shape)
    with torch.inference_mode():
        wanted = module(images).numpy()
    assert wanted.std() > 0.1
    np.testing.assert_allclose(run(images.numpy()), wanted, atol=1e-3 * np.abs(wanted).max())
