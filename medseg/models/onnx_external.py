"""What an ONNX file would make its runtime read or run, found without the onnx package.

A walk over the protobuf wire format (https://protobuf.dev/programming-guides/encoding) with the field
numbers of https://github.com/onnx/onnx/blob/main/onnx/onnx.proto. Everything that can hold a tensor,
a graph or an operator is followed, sub-graphs and local functions included; the rest is skipped.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from medseg.errors import ModelRefused
from medseg.models.manifest import WEIGHTS
from medseg.models.tensors import Layout

LOCATION = PurePosixPath(WEIGHTS).name
STANDARD_DOMAINS = ("", "ai.onnx", "ai.onnx.ml")
_DEEPEST = 100

# For each message: field number to what lies in it. Lower-case names are leaves that a visitor wants.
_FIELDS: dict[str, dict[int, str]] = {
    "Model": {7: "Graph", 8: "Opset", 20: "Training", 25: "Function"},
    "Training": {1: "Graph", 2: "Graph"},
    "Graph": {1: "Node", 5: "Tensor", 15: "Sparse"},
    "Node": {5: "Attribute", 7: "domain"},
    "Attribute": {5: "Tensor", 6: "Graph", 10: "Tensor", 11: "Graph", 22: "Sparse", 23: "Sparse"},
    "Sparse": {1: "Tensor", 2: "Tensor"},
    "Function": {7: "Node", 9: "Opset", 10: "domain", 11: "Attribute"},
    "Opset": {1: "domain"},
}


@dataclass(frozen=True, slots=True)
class OnnxTensor:
    """One tensor of an ONNX file.

    ``data_type`` is TensorProto's number; ``external`` its external_data, None where the data are in
    the file; ``raw`` those data, little-endian, whichever field of TensorProto holds them (floats only).
    """

    name: str
    data_type: int
    dims: tuple[int, ...]
    external: dict[str, str] | None
    raw: bytes


@dataclass(slots=True)
class OnnxContents:
    """Every tensor and every operator domain of an ONNX file."""

    tensors: list[OnnxTensor] = field(default_factory=list)
    domains: set[str] = field(default_factory=set)


def read_onnx(raw: bytes, where: str = "model.onnx") -> OnnxContents:
    """Find all tensors and operator domains in the bytes of an ONNX file.

    Raises
    ------
    ModelRefused
        If the bytes are not a well-formed protobuf message.
    """
    found = OnnxContents()
    try:
        _walk(memoryview(raw), "Model", found, 0)
    except (_Malformed, UnicodeDecodeError) as error:
        raise ModelRefused(f"{where}: not a well-formed ONNX file: {error}") from error
    return found


def check_onnx(raw: bytes, layout: Layout, where: str = "model.onnx") -> OnnxContents:
    """Refuse an ONNX file that reads outside ``model.safetensors`` or needs operators of its own.

    Parameters
    ----------
    raw
        The file's bytes.
    layout
        Of the safetensors file that must hold all external data.

    Raises
    ------
    ModelRefused
        If a tensor lies in another file, outside the tensors of that file, or if an operator's domain
        is not a standard one.
    """
    found = read_onnx(raw, where)
    foreign = sorted(found.domains - set(STANDARD_DOMAINS))
    if foreign:
        names = ", ".join(map(repr, foreign))
        raise ModelRefused(f"{where}: operators of {names}, expected standard ones only")
    for tensor in found.tensors:
        if tensor.external is not None:
            start, stop = external_span(tensor, where)
            first = min((span.start for span in layout.spans.values()), default=layout.size)
            if not first <= start <= stop <= layout.size:
                raise ModelRefused(
                    f"{where}: tensor {tensor.name!r} is bytes {start} to {stop} of {LOCATION}, "
                    f"whose tensors are bytes {first} to {layout.size}"
                )
    return found


def external_span(tensor: OnnxTensor, where: str = "model.onnx") -> tuple[int, int]:
    """Bytes [start, stop) of an external tensor, which must lie in ``model.safetensors``."""
    entries = tensor.external or {}
    location = entries.get("location")
    if location != LOCATION:
        raise ModelRefused(f"{where}: tensor {tensor.name!r} lies in {location!r}, expected {LOCATION!r}")
    numbers = [entries.get(key, "") for key in ("offset", "length")]
    if not all(text.isascii() and text.isdigit() and len(text) < 19 for text in numbers):
        raise ModelRefused(
            f"{where}: tensor {tensor.name!r}: offset and length {numbers}, expected whole numbers of bytes"
        )
    start, length = map(int, numbers)
    return start, start + length


class _Malformed(ValueError):
    """Bytes that are not a protobuf message."""


def _walk(message: memoryview, kind: str, found: OnnxContents, depth: int) -> None:
    if depth > _DEEPEST:
        raise _Malformed(f"nested more than {_DEEPEST} deep")
    for number, value in _entries(message):
        inside = _FIELDS[kind].get(number)
        if inside is None or not isinstance(value, memoryview):
            continue
        if inside == "domain":
            found.domains.add(str(value, "utf-8"))
        elif inside == "Tensor":
            found.tensors.append(_tensor(value))
        else:
            _walk(value, inside, found, depth + 1)


def _tensor(message: memoryview) -> OnnxTensor:
    name, data_type = "", 0
    dims: list[int] = []
    external: dict[str, str] | None = None
    raw = bytearray()  # raw_data, float_data or double_data: all little-endian on the wire
    halves: list[int] = []  # float16 and bfloat16 may stand in int32_data, one number each
    for number, value in _entries(message):
        if isinstance(value, int):
            if number == 1:
                dims.append(value)
            elif number == 2:
                data_type = value
            elif number == 5:
                halves.append(value)
            elif number == 14 and value == 1:  # data_location: EXTERNAL
                external = {} if external is None else external
        elif number == 1:
            dims.extend(_packed(value))
        elif number == 5:
            halves.extend(_packed(value))
        elif number == 8:
            name = str(value, "utf-8")
        elif number in (4, 9, 10):
            raw += value
        elif number == 13:
            external = {} if external is None else external
            key, text = _string_entry(value)
            if key in external:
                raise _Malformed(f"tensor {name!r} states its {key!r} twice")
            external[key] = text
    if data_type in (10, 16):
        raw += b"".join((half & 0xFFFF).to_bytes(2, "little") for half in halves)
    return OnnxTensor(name, data_type, tuple(dims), external, bytes(raw))


def _string_entry(message: memoryview) -> tuple[str, str]:
    values = {1: "", 2: ""}
    for number, value in _entries(message):
        if number in values and isinstance(value, memoryview):
            values[number] = str(value, "utf-8")
    return values[1], values[2]


def _packed(value: memoryview) -> Iterator[int]:
    at = 0
    while at < len(value):
        number, at = _varint(value, at)
        yield number


def _entries(message: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """(field number, value) of each field: varints as integers, all else as its bytes."""
    at = 0
    while at < len(message):
        tag, at = _varint(message, at)
        number, wire = tag >> 3, tag & 7
        if not 1 <= number < 2**29:
            raise _Malformed(f"field number {number}")
        if wire == 0:
            value, at = _varint(message, at)
            yield number, value
            continue
        if wire == 2:
            length, at = _varint(message, at)
        elif wire in (1, 5):
            length = 8 if wire == 1 else 4
        else:
            raise _Malformed(f"wire type {wire}")
        if at + length > len(message):
            raise _Malformed(f"field {number} of {length} bytes ends outside its message")
        yield number, message[at : at + length]
        at += length


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(message):
            break
        byte = message[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
    raise _Malformed("a number without an end")
