"""PNG pictures. Format: https://www.w3.org/TR/png-3/."""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from medseg.io import exif
from medseg.io.pictures import Picture, check_size, decode_outside, orientation_warning, palette_warning
from medseg.io.quiet import quiet
from medseg.io.refusals import refused

MARK = b"\x89PNG\r\n\x1a\n"
_GREY, _RGB, _PALETTE, _GREY_ALPHA, _RGB_ALPHA = 0, 2, 3, 4, 6
_CHANNELS = {_GREY: 1, _RGB: 3, _PALETTE: 1, _GREY_ALPHA: 2, _RGB_ALPHA: 4}
_DEPTHS = {
    _GREY: (1, 2, 4, 8, 16), _RGB: (8, 16), _PALETTE: (1, 2, 4, 8), _GREY_ALPHA: (8, 16), _RGB_ALPHA: (8, 16),
}  # fmt: skip
# First column and row, and the steps, of each pass of an interlaced picture.
_ADAM7 = (
    (0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2),
)  # fmt: skip
_BLOCK = 1 << 20
_LARGEST_EXIF = 1 << 16
_CURE = "copy it again"


@dataclass(frozen=True, slots=True)
class _Header:
    width: int
    height: int
    depth: int
    colour: int
    interlaced: bool
    orientation: int = 1


def read(path: Path) -> Picture:
    """Pixels as they are stored: greys of 1, 2, 4 bits and palette indices too.

    Raises
    ------
    InputRefused
        ``truncated``, ``corrupt`` (every chunk's checksum is verified), ``bad-header``, ``too-large``,
        ``several-pages`` (an animation), ``unsupported-encoding``.
    """
    header = _check(path)
    shape = (header.height, header.width, _CHANNELS[header.colour])
    if header.depth == 16 and header.colour != _GREY:
        pixels = decode_outside(path, shape, np.dtype(np.uint16))  # Pillow would cut 16-bit colours to 8
    else:
        pixels = _pillow(path)
    if header.colour == _GREY and header.depth in (2, 4) and pixels.dtype == np.uint8:
        pixels = pixels // (255 // ((1 << header.depth) - 1))  # Pillow spreads them over 0 to 255
    pixels = pixels.astype(np.uint8) if pixels.dtype == bool else pixels
    if pixels.size != np.prod(shape):
        raise refused(path, "unsupported-encoding", "other channels were decoded than its header declares")
    verdict = orientation_warning(header.orientation)
    if header.colour == _PALETTE:
        verdict += palette_warning()
    return Picture(pixels.reshape(shape), header.colour in (_GREY_ALPHA, _RGB_ALPHA), verdict)


def _pillow(path: Path) -> NDArray[Any]:
    from PIL import Image

    try:
        with quiet("PIL"), Image.open(path, formats=["PNG"]) as image:
            return np.array(image)
    except (OSError, SyntaxError, ValueError, zlib.error, Image.DecompressionBombError):
        raise refused(path, "corrupt", f"its pixels cannot be decoded; {_CURE}") from None


def _check(path: Path) -> _Header:
    """The header, after every chunk's checksum and the length of the unpacked pixels have been verified."""
    with path.open("rb") as file:
        file.seek(len(MARK))
        length, kind, body = _chunk(path, file, None)
        header = _parse(path, kind, length, body)
        pixels = _Unpacked(_unpacked_size(header))
        while True:
            length, kind, body = _chunk(path, file, pixels)
            if kind == b"acTL":
                raise refused(path, "several-pages", "an animation, expected one picture")
            if kind == b"eXIf":
                header = replace(header, orientation=exif.orientation(body))
            if kind == b"IEND":
                break
    if pixels.damaged or pixels.left != 0:
        problem = "are damaged" if pixels.damaged else "do not fill its size"
        raise refused(path, "corrupt", f"its pixels {problem}; {_CURE}")
    return header


def _chunk(path: Path, file: BinaryIO, pixels: _Unpacked | None) -> tuple[int, bytes, bytes]:
    """Length, type and first bytes of the next chunk, read block by block; its checksum is verified."""
    head = file.read(8)
    if len(head) < 8:
        raise refused(path, "truncated", f"the file ends before the picture does; {_CURE}")
    length, kind = struct.unpack(">I4s", head)
    start, check, left = b"", zlib.crc32(kind), length
    while left:
        block = file.read(min(left, _BLOCK))
        if not block:
            raise refused(path, "truncated", f"the file ends before the picture does; {_CURE}")
        start = start or block[:_LARGEST_EXIF]
        check = zlib.crc32(block, check)
        left -= len(block)
        if kind == b"IDAT" and pixels is not None:
            pixels.feed(block)
    told = file.read(4)
    if len(told) < 4:
        raise refused(path, "truncated", f"the file ends before the picture does; {_CURE}")
    if check != struct.unpack(">I", told)[0]:
        raise refused(path, "corrupt", f"a checksum does not match; {_CURE}")
    return length, kind, start


class _Unpacked:
    """Counts what the pixels' stream unpacks to, and keeps none of it: decoders fill up what is missing.

    ``left`` is how many bytes are still to come; below 0 there were more.
    """

    def __init__(self, size: int) -> None:
        self.left = size
        self.damaged = False
        self._engine = zlib.decompressobj()

    def feed(self, block: bytes) -> None:
        """Take the next bytes of the stream."""
        try:
            while block and self.left >= 0 and not self.damaged:
                self.left -= len(self._engine.decompress(block, _BLOCK))
                block = self._engine.unconsumed_tail
        except zlib.error:
            self.damaged = True


def _unpacked_size(header: _Header) -> int:
    """Bytes of all rows, each with its filter's number; interlaced in seven passes (PNG, section 8)."""
    bits = _CHANNELS[header.colour] * header.depth
    passes = _ADAM7 if header.interlaced else ((0, 0, 1, 1),)
    size = 0
    for left, top, across, down in passes:
        width, height = -(-(header.width - left) // across), -(-(header.height - top) // down)
        if width > 0 and height > 0:
            size += height * (1 + -(-width * bits // 8))
    return size


def _parse(path: Path, kind: bytes, length: int, body: bytes) -> _Header:
    if kind != b"IHDR" or length != 13:
        raise refused(path, "bad-header", "it does not begin with an IHDR chunk")
    width, height, depth, colour, *ways = struct.unpack(">IIBBBBB", body)
    if depth not in _DEPTHS.get(colour, ()) or 0 in (width, height) or ways[:2] != [0, 0] or ways[2] > 1:
        raise refused(path, "bad-header", "no valid IHDR chunk")
    check_size(path, width, height, _CHANNELS[colour] * max(1, depth // 8))
    return _Header(width, height, depth, colour, ways[2] == 1)
