"""A small model of which every part is known, its ONNX file made with the onnx package."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medseg.models import ModelBundle, Scope, save_bundle
from medseg.models.tensors import read_layout
from medseg.plans import Plan


@pytest.fixture
def plan() -> Plan:
    return Plan(
        name="toy",
        dimensions=3,
        channels=({"name": "t1", "modality": "MR"},),
        labels=(
            {"id": 2, "name": "anterior", "colour": (230, 159, 0)},
            {"id": 255, "name": "posterior", "colour": (86, 180, 233), "snomed": "4958002"},
        ),
        patch=(16, 24, 32),
    )


@pytest.fixture
def weights() -> dict[str, np.ndarray]:
    random = np.random.default_rng(5)
    return {
        "first.weight": random.normal(size=(6, 1, 3, 3, 3)).astype(np.float16),
        "last.weight": random.normal(size=(3, 6, 1, 1, 1)).astype(np.float32),
        "last.bias": random.normal(size=3).astype(np.float32),
    }


@pytest.fixture
def onnx_of() -> Callable[[Path], Any]:
    """From the path of a safetensors file to the ONNX model (a protobuf) that reads it."""
    return _two_convolutions


def _two_convolutions(safetensors: Path) -> Any:
    """Convolve, rectify, convolve: weights external in the safetensors file, the bias inside."""
    from onnx import TensorProto, helper

    layout = read_layout(safetensors)

    def external(key: str, kind: int, name: str) -> Any:
        span = layout.spans[key]
        tensor = TensorProto(name=name, data_type=kind, dims=span.shape)
        tensor.data_location = TensorProto.EXTERNAL
        entries = {"location": "model.safetensors", "offset": span.start, "length": span.stop - span.start}
        for entry, value in entries.items():
            tensor.external_data.add(key=entry, value=str(value))
        return tensor

    bias = np.frombuffer(
        safetensors.read_bytes()[layout.spans["last.bias"].start : layout.spans["last.bias"].stop], "<f4"
    )
    graph = helper.make_graph(
        [
            helper.make_node("Cast", ["first.weight.half"], ["first.weight"], to=TensorProto.FLOAT),
            helper.make_node("Conv", ["image", "first.weight"], ["a"], pads=[1] * 6),
            helper.make_node("Relu", ["a"], ["b"]),
            helper.make_node("Conv", ["b", "last.weight", "last.bias"], ["logits"]),
        ],
        "toy",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["n", 1, "x", "y", "z"])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n", 3, "x", "y", "z"])],
        [
            external("first.weight", TensorProto.FLOAT16, "first.weight.half"),
            external("last.weight", TensorProto.FLOAT, "last.weight"),
            helper.make_tensor("last.bias", TensorProto.FLOAT, [3], bias.tolist()),
        ],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)


@pytest.fixture
def save(plan: Plan, weights: dict[str, np.ndarray]) -> Callable[..., ModelBundle]:
    """Save the toy model; any argument of `save_bundle` can be replaced."""

    def save_toy(folder: Path, **replaced: Any) -> ModelBundle:
        arguments: dict[str, Any] = {
            "plan": plan,
            "weights": weights,
            "build_onnx": lambda path: _two_convolutions(path).SerializeToString(),
            "scope": Scope(
                dimensions=3,
                description="toy scans",
                modalities=("MR",),
                spacing_min_mm=(0.8, 0.9, 1.0),
                spacing_max_mm=(1.0, 1.1, 2.0),
                features=({"entropy": {"low": 0.5, "high": 1.0}},),
            ),
            "precision": "f32",
            "execution": {"overlap": 0.5},
            "training": {"steps": 3, "patch": (16, 24, 32), "note": "ä, µ"},
            "scores": {"validation": {"dice": {"anterior": 0.875, "posterior": None}}},
            "card": "# toy\n",
            "licence": "CC0\n",
        }
        return save_bundle(folder, **(arguments | replaced))

    return save_toy


@pytest.fixture
def bundle(save: Callable[..., ModelBundle], tmp_path: Path) -> ModelBundle:
    return save(tmp_path / "toy")
