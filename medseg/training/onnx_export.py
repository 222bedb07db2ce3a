"""A trained network as ONNX, whose weights are bytes of the bundle's own safetensors file.

Weights exist once. Where the safetensors file holds float16, the graph casts them to float32 on loading;
a runtime folds that away.
"""

from __future__ import annotations

import copy
import hashlib
import logging
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from onnxscript import optimizer
from torch import nn

from medseg.errors import MedsegError
from medseg.models.tensors import read_layout
from medseg.networks import load_tensors
from medseg.plans import Plan
from medseg.plans.architectures import ARCHITECTURES, total_strides

_OPSET = 18
_SMALL = 8  # constants of the graph (axes, scales, epsilons) stay inside
_LOCATION = "model.safetensors"
# Operators whose result is as large as their input or a weight makes it.
_SIZE_BLIND = frozenset(
    {
        "Add", "AveragePool", "BatchNormalization", "Cast", "Conv", "ConvTranspose", "Identity",
        "InstanceNormalization", "LeakyRelu", "MaxPool", "Mul", "PRelu", "Relu", "Sigmoid", "Sub",
    }
)  # fmt: skip


def onnx_builder(module: nn.Module, plan: Plan, tensors: dict[str, NDArray[Any]]) -> Callable[[Path], bytes]:
    """A function for `medseg.models.save_bundle`: safetensors path to the bytes of ``model.onnx``.

    Input ``image`` (batch, C, *size), output ``logits`` (batch, K, *size), both float32; batch and size
    are dynamic, sizes in multiples of the network's total stride; of a network whose computation follows from
    the size (``Architecture.fixed_size``) they are 1 and the plan's patch.
    """

    def build(safetensors: Path) -> bytes:
        graph = _traced(module, plan, tensors)
        onnx.checker.check_model(graph)  # now: later its weights lie in a file it cannot resolve yet
        _share_weights(graph, tensors, safetensors)
        _drop_origins(graph)
        content: bytes = graph.SerializeToString(deterministic=True)
        return content

    return build


def _traced(module: nn.Module, plan: Plan, tensors: dict[str, NDArray[Any]]) -> onnx.ModelProto:
    # A copy: tracing must not disturb the network, and takes the weights as they are stored.
    network = copy.deepcopy(module).cpu().eval()
    load_tensors(network, {name: value.astype(np.float32) for name, value in tensors.items()})
    fixed = ARCHITECTURES[plan.network.name].fixed_size
    model = _exported(network, plan, fixed, None)
    if not fixed and _takes_any_size(model.graph):
        _free_shapes(model.graph)
    elif not fixed:
        model = _exported(network, plan, fixed, _free_sizes(plan))
    _drop_invented_biases(model)
    return model


def _exported(network: nn.Module, plan: Plan, fixed: bool, free: dict[int, Any] | None) -> onnx.ModelProto:
    """The graph, for the size of an example or for free ones, which take the exporter five times as long."""
    # The exporter takes a size of 1, anywhere inside, for one that never changes.
    least = [1 if fixed else 2 * step for step in total_strides(plan.network)]
    size = [max(edge, at_least) for edge, at_least in zip(plan.patch, least, strict=True)]
    example = torch.zeros(1 if fixed else 2, plan.input_channels, *size)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # deprecations inside the exporter
        logging.getLogger("torch.onnx").setLevel(logging.ERROR)
        program = torch.onnx.export(
            network,
            (example,),
            dynamo=True,
            input_names=["image"],
            output_names=["logits"],
            dynamic_shapes=None if free is None else [free],
            opset_version=_OPSET,
            verbose=False,
            # With fixed sizes it would also compute ahead what is no weight: masks of attention.
            optimize=not (fixed or _has_batch_norm(network)),
        )
    if program is None:
        raise MedsegError("torch.onnx.export gave no program")
    if _has_batch_norm(network):
        # The whole optimiser folds normalisation into the weights, which then are not the bundle's. What it
        # does to shapes and constants is needed all the same; a runtime folds the rest on loading.
        optimizer.fold_constants(program.model)
        optimizer.remove_unused_nodes(program.model)
    model: onnx.ModelProto = program.model_proto
    return model


def _takes_any_size(graph: onnx.GraphProto) -> bool:
    """Whether no operator of a graph says of which size its result is: then it is the same graph for any."""
    small = {one.name for one in graph.initializer if int(np.prod(one.dims)) <= _SMALL}

    def blind(node: onnx.NodeProto) -> bool:
        if node.op_type == "Resize":  # by factors, not to a size; and those are no longer than the axes are
            return len(node.input) == 3 and node.input[2] in small
        if node.op_type == "Concat":
            return [one.i for one in node.attribute if one.name == "axis"] == [1]
        return node.op_type in _SIZE_BLIND

    return all(blind(node) for node in graph.node)


def _free_shapes(graph: onnx.GraphProto) -> None:
    """Take out the sizes for which a graph was exported, which then hold for any."""
    del graph.value_info[:]
    for value in (*graph.input, *graph.output):
        sizes = value.type.tensor_type.shape.dim
        for axis, size in enumerate(sizes):
            if axis != 1:
                size.dim_param = "batch" if axis == 0 else f"size_{axis - 2}"


def _free_sizes(plan: Plan) -> dict[int, Any]:
    """Batch, and each size as a multiple of what the network needs."""
    sizes: dict[int, Any] = {0: torch.export.Dim("batch")}
    for axis, multiple in enumerate(total_strides(plan.network)):
        edge = torch.export.Dim(f"size_{axis}")
        sizes[2 + axis] = multiple * edge if multiple > 1 else edge
    return sizes


def _drop_invented_biases(model: onnx.ModelProto) -> None:
    """Those of convolutions without a bias: torch's exporter makes one of zeros, in a shape ONNX forbids.

    They are zeros among the weights, or what nodes of the graph compute; a network's own are weights.
    """
    graph = model.graph
    weights = {one.name for one in graph.initializer}
    zeros = {one.name for one in graph.initializer if not numpy_helper.to_array(one).any()}
    for node in graph.node:
        if node.op_type in ("Conv", "ConvTranspose") and len(node.input) == 3:
            bias = node.input[2]
            if bias in zeros or bias not in weights:
                node.input.pop()
    optimizer.remove_unused_nodes(model)


def _has_batch_norm(network: nn.Module) -> bool:
    return any(isinstance(module, nn.BatchNorm2d | nn.BatchNorm3d) for module in network.modules())


def _share_weights(model: onnx.ModelProto, tensors: dict[str, NDArray[Any]], safetensors: Path) -> None:
    """Turn every initialiser that is a weight into external data inside the safetensors file."""
    spans = read_layout(safetensors).spans
    by_content = {_digest(value.astype(np.float32)): name for name, value in tensors.items()}
    graph = model.graph
    casts = []
    for initialiser in graph.initializer:
        value = numpy_helper.to_array(initialiser)
        if value.dtype != np.float32 or value.size <= _SMALL:
            continue
        name = initialiser.name if initialiser.name in tensors else by_content.get(_digest(value))
        if name is None or not np.array_equal(tensors[name].astype(np.float32).ravel(), value.ravel()):
            raise MedsegError(f"ONNX export: tensor {initialiser.name!r} is none of the network's weights")
        stored, span, wanted = tensors[name], spans[name], initialiser.name
        initialiser.ClearField("raw_data")
        initialiser.ClearField("float_data")
        if stored.dtype == np.float16:
            initialiser.data_type = TensorProto.FLOAT16
            initialiser.name = f"{wanted}.half"
            casts.append(
                helper.make_node(
                    "Cast", [initialiser.name], [wanted], name=f"{wanted}.cast", to=TensorProto.FLOAT
                )
            )
        initialiser.data_location = TensorProto.EXTERNAL
        for key, entry in (
            ("location", _LOCATION),
            ("offset", span.start),
            ("length", span.stop - span.start),
        ):
            initialiser.external_data.add(key=key, value=str(entry))
    nodes = [*casts, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)
    names = {initialiser.name for initialiser in graph.initializer}
    kept = [info for info in graph.value_info if info.name not in names]
    del graph.value_info[:]
    graph.value_info.extend(kept)


def _drop_origins(model: onnx.ModelProto) -> None:
    """Remove stack traces and file names that the exporter leaves in every node."""
    graph = model.graph
    for part in (
        model,
        graph,
        *graph.node,
        *graph.input,
        *graph.output,
        *graph.value_info,
        *graph.initializer,
    ):
        if hasattr(part, "metadata_props"):
            del part.metadata_props[:]
        part.ClearField("doc_string")


def _digest(value: NDArray[Any]) -> bytes:
    return hashlib.sha256(np.ascontiguousarray(value).tobytes() + str(value.size).encode()).digest()
