"""How much memory one run of an OpenVINO graph takes, read off the graph as it was compiled."""

from __future__ import annotations

import math
import re
from typing import Any

_BYTES = {"f64": 8, "i64": 8, "u64": 8, "f32": 4, "i32": 4, "u32": 4, "bf16": 2, "f16": 2, "i16": 2, "u16": 2}
_PAGE = 4096
# What does no work of its own where OpenVINO names no kernel for it: its inputs and outputs are one memory.
_IN_PLACE = ("Concatenation", "Reshape", "Split")
# Small things that come with the first run: threads' stacks and kernels' working memory.
_FIXED = 2 << 20


def run_bytes(compiled: Any) -> int:
    """Bytes of host memory that the runs of a compiled model take at their peak.

    Covered: the tensors between the operations, reused as OpenVINO's memory solver reuses them, and the
    output. Not covered: the weights and their copies in the kernels' own order, which are there once
    `compile_model` has returned, and the input, which is the caller's.

    The graph that OpenVINO shows after compilation has everything needed: the order of execution, which
    operations were fused, and every tensor's precision and layout, reorders included. A tensor lives from
    the operation that writes it to the last that reads it; the peak is the largest sum over the order.
    """
    operations = sorted(compiled.get_runtime_model().get_ordered_ops(), key=_step)
    steps = {op.get_friendly_name(): step for step, op in enumerate(operations)}
    kinds = [_info(op, "layerType") for op in operations]
    home = list(range(len(operations)))  # whose memory an operation's output lies in
    size = [0] * len(operations)
    last = list(range(len(operations)))
    outputs = 0
    for step, op in enumerate(operations):
        if kinds[step] in ("Const", "Input"):
            continue
        sources = [steps[port.get_source_output().get_node().get_friendly_name()] for port in op.inputs()]
        if kinds[step] == "Output":
            # The operation before it writes into the output itself, which is always there.
            outputs += _tensor_bytes(op, [list(port.get_shape()) for port in op.inputs()])
            size[home[sources[0]]] = 0
            continue
        size[step] = _tensor_bytes(op, [list(port.get_shape()) for port in op.outputs()])
        for source in sources:
            last[home[source]] = step
        if kinds[step] in _IN_PLACE and _info(op, "primitiveType").startswith("unknown"):
            _merge(home, size, last, [s for s in sources if kinds[s] not in ("Const", "Input")], step)
    changes = [0] * (len(operations) + 1)
    for step in range(len(operations)):
        changes[step] += size[step]
        changes[last[step] + 1] -= size[step]
    live = peak = 0
    for change in changes:
        live += change
        peak = max(peak, live)
    return peak + outputs + _FIXED


def _merge(home: list[int], size: list[int], last: list[int], sources: list[int], step: int) -> None:
    """Put ``step`` and ``sources`` into one memory, there from the first that writes it."""
    if not sources:
        return
    first = min(home[s] for s in sources)
    members = {home[s] for s in sources} | {step}
    largest, end = max(size[m] for m in members), max(last[m] for m in members)
    for member in members:
        size[member] = 0
    size[first], last[first] = largest, end
    for other, where in enumerate(home):
        if where in members:
            home[other] = first


def _tensor_bytes(op: Any, shapes: list[list[int]]) -> int:
    precisions = _info(op, "outputPrecisions").split(",")
    layouts = _info(op, "outputLayouts").split(",")
    total = 0
    for number, shape in enumerate(shapes):
        precision = precisions[min(number, len(precisions) - 1)].lower()
        layout = layouts[min(number, len(layouts) - 1)]
        exact = math.prod(_in_layout(shape, layout)) * _BYTES.get(precision, 1)
        total += -(-exact // _PAGE) * _PAGE
    return total


def _in_layout(shape: list[int], layout: str) -> list[int]:
    """``shape`` as it lies in memory: oneDNN's ``aBcde16b`` rounds axis b up to whole blocks of 16."""
    blocks = [1] * len(shape)
    for width, letter in re.findall(r"(\d+)([a-z])", layout):
        axis = ord(letter) - ord("a")
        if axis < len(blocks):
            blocks[axis] *= int(width)
    return [-(-n // b) * b for n, b in zip(shape, blocks, strict=True)]


def _step(op: Any) -> int:
    return int(_info(op, "execOrder"))


def _info(op: Any, key: str) -> str:
    value = op.get_rt_info()[key]
    return str(value.astype(str) if hasattr(value, "astype") else value)
