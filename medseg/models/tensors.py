"""Where each tensor lies in a safetensors file: the header alone, checked, no tensor read.

Format: eight bytes, little-endian, length of the header; the header, JSON; the data. Offsets in the
header count from the start of the data (https://huggingface.co/docs/safetensors).
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medseg.errors import ModelRefused

_LARGEST_HEADER = 100_000_000  # the limit of the safetensors library itself
BYTES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U8": 1, "BOOL": 1}


@dataclass(frozen=True, slots=True)
class Span:
    """One tensor: its type and shape, and its bytes [start, stop) counted from the start of the file."""

    dtype: str
    shape: tuple[int, ...]
    start: int
    stop: int


@dataclass(frozen=True, slots=True)
class Layout:
    """Size of a safetensors file and where its tensors lie."""

    size: int
    spans: dict[str, Span]


def read_layout(source: Path | bytes, name: str | None = None) -> Layout:
    """Parse the header of a safetensors file, given by path or as its bytes.

    Raises
    ------
    ModelRefused
        If the header does not parse, or a tensor's bytes lie outside the file, overlap another's, or
        do not match its shape.
    """
    if isinstance(source, Path):
        where, size = name or str(source), source.stat().st_size
        with source.open("rb") as stream:
            length = int.from_bytes(stream.read(8), "little")
            header = stream.read(length) if length <= _LARGEST_HEADER else b""
    else:
        where, size = name or "model.safetensors", len(source)
        length = int.from_bytes(source[:8], "little")
        header = source[8 : 8 + length] if length <= _LARGEST_HEADER else b""
    if size < 8 or len(header) != length:
        raise ModelRefused(f"{where}: not a safetensors file: header of {length} bytes in {size}")
    try:
        entries = json.loads(header)
    except (ValueError, RecursionError) as error:
        raise ModelRefused(f"{where}: the header is not JSON: {error}") from error
    if not isinstance(entries, dict):
        raise ModelRefused(f"{where}: the header is not a mapping of tensors")
    spans = {
        key: _span(entry, 8 + length, f"{where}: tensor {key!r}")
        for key, entry in entries.items()
        if key != "__metadata__"
    }
    _refuse_gaps(spans, 8 + length, size, where)
    return Layout(size, spans)


def _span(entry: Any, start: int, where: str) -> Span:
    try:
        dtype, shape = str(entry["dtype"]), tuple(entry["shape"])
        first, last = entry["data_offsets"]
    except (KeyError, TypeError, ValueError) as error:
        raise ModelRefused(f"{where}: expected dtype, shape and data_offsets") from error
    if not all(type(n) is int and n >= 0 for n in (*shape, first, last)):
        raise ModelRefused(f"{where}: sizes and offsets are not whole numbers from 0")
    if dtype not in BYTES:
        raise ModelRefused(f"{where}: type {dtype}, expected one of {', '.join(BYTES)}")
    expected = BYTES[dtype]
    for n in shape:
        expected *= n
    if last - first != expected:
        raise ModelRefused(f"{where}: {last - first} bytes, its shape {shape} needs {expected}")
    return Span(dtype, shape, start + first, start + last)


def _refuse_gaps(spans: dict[str, Span], start: int, size: int, where: str) -> None:
    """The format asks that tensors fill the file without holes or overlaps; then nothing else hides in it."""
    at = start
    for key, span in sorted(spans.items(), key=lambda item: (item[1].start, item[1].stop)):
        if span.start != at:
            raise ModelRefused(f"{where}: tensor {key!r} starts at byte {span.start}, expected {at}")
        at = span.stop
    if at != size:
        raise ModelRefused(f"{where}: the tensors end at byte {at}, the file at {size}")
