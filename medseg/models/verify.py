"""verify_bundle: is every file the one that was saved, and is the ONNX file the same model?"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from medseg.errors import ModelRefused
from medseg.models.bundle import ModelBundle, Weights
from medseg.models.manifest import ONNX, WEIGHTS
from medseg.models.onnx_external import LOCATION, OnnxTensor, check_onnx, external_span
from medseg.models.tensors import Layout, read_layout
from medseg.verdict import Reason

# TensorProto.DataType of the floating types, and what they are in safetensors and in numpy.
_FLOATS = {1: ("F32", "<f4"), 10: ("F16", "<f2"), 11: ("F64", "<f8"), 16: ("BF16", "<u2")}
_SMALL = 8


def verify_bundle(bundle: ModelBundle) -> list[Reason]:
    """Check everything about a bundle that can be checked without running it.

    Every file's SHA-256; that all weights are finite; and that the ONNX file holds the very tensors of
    the safetensors file: external data must coincide with a tensor's bytes and type, data inside must
    equal a tensor, and every tensor must be used (heads of deep supervision, which only training needs,
    apart).

    Returns
    -------
    list of Reason
        The findings, most basic first. Empty: the bundle is sound.
    """
    findings = _altered(bundle)
    if findings:
        return findings
    try:
        weights = bundle.weights()
        findings = [
            Reason("not-finite", f"{WEIGHTS}: tensor {name!r} holds values that are not finite")
            for name, value in weights.items()
            if value.dtype.kind == "f" and not np.isfinite(value).all()
        ]
        if ONNX in bundle.files:
            raw = bundle.file(ONNX).read_bytes()
            findings += _compare_onnx(raw, read_layout(bundle.weights_path), weights)
    except ModelRefused as error:
        findings.append(Reason("refused", str(error)))
    return findings


def _altered(bundle: ModelBundle) -> list[Reason]:
    findings = []
    for name in bundle.files:
        try:
            bundle._read(name)
        except ModelRefused as error:
            findings.append(Reason("altered", str(error)))
    return findings


def _compare_onnx(raw: bytes, layout: Layout, weights: Weights) -> list[Reason]:
    found = check_onnx(raw, layout, ONNX)
    by_bytes = {(span.start, span.stop): name for name, span in layout.spans.items()}
    used: set[str] = set()
    findings = []
    for tensor in found.tensors:
        if tensor.data_type not in _FLOATS:
            continue
        if tensor.external is not None:
            name = by_bytes.get(external_span(tensor, ONNX))
            if name is None or not _same_kind(tensor, layout, name) or _is_another(tensor, layout, name):
                findings.append(_differs(tensor))
            else:
                used.add(name)
        else:
            inside = _inside(tensor)
            equal = {name for name, value in weights.items() if _equal(inside, value)}
            used |= equal
            # A few numbers, or all the same: a resize's scales, an epsilon, ones; not weights.
            if not equal and inside.size > _SMALL and not (inside == inside[0]).all():
                findings.append(_differs(tensor))
    idle = (name for name in layout.spans if name not in used)
    unused = [name for name in idle if not _may_be_idle(name, weights, used)]
    if unused:
        findings.append(Reason("onnx-incomplete", f"{ONNX} does not use {', '.join(sorted(unused)[:5])}"))
    return findings


def _differs(tensor: OnnxTensor) -> Reason:
    return Reason("onnx-differs", f"{ONNX}: {tensor.name!r} is no tensor of {LOCATION}")


def _same_kind(tensor: OnnxTensor, layout: Layout, name: str) -> bool:
    span = layout.spans[name]
    size = int(np.prod(tensor.dims, dtype=np.int64))
    return span.dtype == _FLOATS[tensor.data_type][0] and size == int(np.prod(span.shape, dtype=np.int64))


def _is_another(tensor: OnnxTensor, layout: Layout, name: str) -> bool:
    """The ONNX tensor bears the name of one tensor and holds another: two layers were swapped."""
    claimed = tensor.name.removesuffix(".half")  # as medseg names what the graph casts to float32
    return claimed in layout.spans and claimed != name


def _inside(tensor: OnnxTensor) -> NDArray[Any]:
    """Values that an ONNX tensor holds itself."""
    values = np.frombuffer(tensor.raw, dtype=_FLOATS[tensor.data_type][1])
    if values.dtype.kind == "u":  # bfloat16: the upper half of a float32
        values = (values.astype(np.uint32) << 16).view(np.float32)
    return values


def _equal(inside: NDArray[Any], truth: NDArray[Any]) -> bool:
    return inside.size == truth.size and bool((inside == truth.ravel().astype(inside.dtype)).all())


def _may_be_idle(name: str, weights: Weights, used: set[str]) -> bool:
    """What an exporter rightly leaves out: deep supervision's heads, a bias of zeros, a tensor's equal."""
    if "deep_supervision" in name or not weights[name].any():
        return True
    return any(np.array_equal(weights[name], weights[other]) for other in used)
