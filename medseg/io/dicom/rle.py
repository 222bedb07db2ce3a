"""RLE Lossless frames: byte planes, each packed by runs (PS3.5 annex G)."""

from __future__ import annotations

import struct
import sys
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medseg.io.dicom.codestream import BadPixels, Read

_HEADER_BYTES = 64
_RUNS_AT_ONCE = 1 << 16
# From one control byte to the next: n + 1 bytes as they are, one byte repeated, or nothing (128).
_STEPS = bytes(n + 2 if n < 128 else 2 if n > 128 else 1 for n in range(256))
_LENGTHS = np.array([n + 1 if n < 128 else 257 - n if n > 128 else 0 for n in range(256)])


def segments(read: Read, size: int, count: int) -> tuple[tuple[int, int], ...]:
    """Where the byte planes of a frame lie in its stream: (begin, end) of each.

    Raises
    ------
    BadPixels
        If the frame's header does not hold ``count`` planes one after the other.
    """
    header = read(0, _HEADER_BYTES)
    if len(header) < _HEADER_BYTES:
        raise BadPixels("the RLE header ends early", "truncated")
    found, *offsets = struct.unpack("<16I", header)
    if found != count:
        raise BadPixels(f"{found} RLE segments, expected {count} for this kind of pixels")
    edges = [*offsets[:count], size]
    if edges[0] < _HEADER_BYTES or any(a >= b for a, b in pairwise(edges)):
        raise BadPixels("the segments of the RLE header do not lie one after the other", "truncated")
    return tuple(pairwise(edges))


def decode(stream: bytes, raw: NDArray[Any]) -> None:
    """Unpack a frame into ``raw``: unsigned, (row, column) or (row, column, sample), C order.

    The planes are those of the first sample from the highest byte to the lowest, then the next sample's.
    """
    width = raw.dtype.itemsize
    places = raw.reshape(-1).view(np.uint8).reshape(raw.shape[0] * raw.shape[1], -1, width)
    if sys.byteorder == "little":
        places = places[..., ::-1]
    edges = segments(lambda at, n: stream[at : at + n], len(stream), places.shape[1] * width)
    for number, (begin, end) in enumerate(edges):
        _unpack(stream[begin:end], places[:, number // width, number % width])


def _unpack(packed: bytes, plane: NDArray[np.uint8]) -> None:
    """Runs to bytes, exactly as many as the plane has; some at a time, so that memory stays small."""
    if len(packed) > 2 * plane.size + _HEADER_BYTES:
        raise BadPixels("an RLE segment is larger than what it packs")
    steps, codes = packed.translate(_STEPS), np.frombuffer(packed, np.uint8)
    at = filled = 0
    while filled < plane.size:
        controls: list[int] = []
        while at < len(steps) and len(controls) < _RUNS_AT_ONCE:
            controls.append(at)
            at += steps[at]
        if not controls:
            raise BadPixels("an RLE segment ends before its pixels do", "truncated")
        starts = np.array(controls)
        lengths = _LENGTHS[codes[starts]]
        ends = filled + np.cumsum(lengths)
        used = int(np.searchsorted(ends, plane.size)) + 1  # up to the run that completes the plane
        if used < len(controls):
            at = controls[used]
        if at > len(packed):
            raise BadPixels("an RLE segment ends before its pixels do", "truncated")
        unpacked = _expand(codes[starts[0] : at], starts[:used] - starts[0], lengths[:used])
        if filled + unpacked.size > plane.size:
            raise BadPixels("an RLE segment holds more than its pixels")
        plane[filled : filled + unpacked.size] = unpacked
        filled += unpacked.size
    if len(packed) - at > 1 and any(packed[at:]):
        raise BadPixels("an RLE segment holds more than its pixels")


def _expand(
    codes: NDArray[np.uint8], controls: NDArray[np.intp], lengths: NDArray[np.intp]
) -> NDArray[np.uint8]:
    """The bytes that runs stand for; ``controls`` is where each run's control byte stands."""
    repeats = np.ones(codes.size, np.intp)
    repeats[controls] = 0
    repeated = codes[controls] > 128
    repeats[controls[repeated] + 1] = lengths[repeated]
    return np.repeat(codes, repeats)
