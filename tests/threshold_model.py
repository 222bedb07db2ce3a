"""A model bundle whose answer numpy can compute: each class's logit is a straight line in intensity.

No torch, no training: tests of everything around the network use it with an oracle of their own.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto, helper

from medseg.labels import LabelSet
from medseg.models import ModelBundle, Scope, save_bundle
from medseg.models.tensors import read_layout
from medseg.plans import ChannelPlan, GridPlan, InferencePlan, Plan, labels_as_specs

SLOPES = np.array([0.0, 2.0, 5.0], np.float32)
OFFSETS = np.array([0.0, -0.5, -4.25], np.float32)


def expected_classes(scan: NDArray[np.floating]) -> NDArray[np.int64]:
    """Class indices for a whole scan of one channel: z-score, then the highest line."""
    z = (scan.astype(np.float64) - scan.mean()) / scan.std()
    return np.argmax(SLOPES[:, None, None, None] * z + OFFSETS[:, None, None, None], axis=0)


def threshold_plan(
    *,
    name: str = "threshold",
    dimensions: int = 3,
    patch: tuple[int, ...] = (16, 12, 8),
    names: dict[int, str] | None = None,
    channels: tuple[str, ...] = ("t1",),
    spacing_mm: tuple[float, float, float] | None = None,
    mirror_axes: tuple[int, ...] = (),
) -> Plan:
    """A plan for the bundle; classes are background and the two labels of ``names``."""
    labels = LabelSet.from_names(names or {7: "outer", 255: "inner"})
    return Plan.checked(
        {
            "name": name,
            "dimensions": dimensions,
            "channels": tuple(ChannelPlan(name=channel) for channel in channels),
            "labels": labels_as_specs(labels),
            "patch": patch,
            "grid": GridPlan(spacing_mm=spacing_mm),
            "network": {"strides": ((1,) * dimensions,) * 3, "features": (1, 1, 1), "deep_supervision": 0},
            "augmentation": {"flip_axes": mirror_axes},
            "inference": InferencePlan(mirror_axes=mirror_axes),
        }
    )


def save_threshold_model(
    folder: Path,
    plan: Plan | None = None,
    scope: Scope | None = None,
    offsets: NDArray[np.float32] = OFFSETS,
) -> ModelBundle:
    """Write the bundle. A scan of several channels is judged by its first; ``offsets`` are one per class."""
    plan = plan or threshold_plan()
    ones = (1,) * plan.dimensions
    weight = np.zeros((3, len(plan.channels), *ones), np.float32)
    weight[:, 0] = SLOPES.reshape(3, *ones)
    weights = {"conv.weight": weight, "conv.bias": offsets}
    return save_bundle(
        folder,
        plan=plan,
        weights=weights,
        build_onnx=_onnx_of_one_convolution(plan),
        scope=scope or Scope(dimensions=plan.dimensions, description="anything"),
        precision="f32",
        execution={},
        training={},
        scores={},
        card="# Threshold\n",
        licence="CC0\n",
    )


def _onnx_of_one_convolution(plan: Plan) -> Callable[[Path], bytes]:
    def build(safetensors: Path) -> bytes:
        layout = read_layout(safetensors)
        shapes = {"conv.weight": [3, len(plan.channels), *(1,) * plan.dimensions], "conv.bias": [3]}
        initialisers = []
        for name, shape in shapes.items():
            tensor = TensorProto(name=name, data_type=TensorProto.FLOAT, dims=shape)
            tensor.data_location = TensorProto.EXTERNAL
            span = layout.spans[name]
            entries = {
                "location": "model.safetensors",
                "offset": span.start,
                "length": span.stop - span.start,
            }
            for key, value in entries.items():
                tensor.external_data.add(key=key, value=str(value))
            initialisers.append(tensor)
        sizes = [f"size_{axis}" for axis in range(plan.dimensions)]
        graph = helper.make_graph(
            [helper.make_node("Conv", ["image", *shapes], ["logits"])],
            "threshold",
            [
                helper.make_tensor_value_info(
                    "image", TensorProto.FLOAT, ["batch", len(plan.channels), *sizes]
                )
            ],
            [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 3, *sizes])],
            initialisers,
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
        return model.SerializeToString(deterministic=True)

    return build
