"""What a compressed frame says about itself, read before any decoder sees it.

A codestream declares its own size, and a decoder takes memory by that, not by the DICOM header. So both have
to agree, and the stream has to be there from its first marker to its last: decoders fill in silently what a
cut stream lacks.

Markers: JPEG, ISO/IEC 10918-1 annex B; JPEG-LS, ISO/IEC 14495-1 annex C; JPEG 2000, ISO/IEC 15444-1 annex A.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable
from dataclasses import dataclass, field, replace

Read = Callable[[int, int], bytes]

# Transfer syntaxes, by what decodes them.
_DICOM = "1.2.840.10008.1.2."
CODECS: dict[str, str] = {
    _DICOM + "4.50": "jpeg",
    _DICOM + "4.51": "jpeg",
    _DICOM + "4.57": "jpeg-lossless",
    _DICOM + "4.70": "jpeg-lossless",
    _DICOM + "4.80": "jpeg-ls",
    _DICOM + "4.81": "jpeg-ls",
    _DICOM + "4.90": "jpeg-2000",
    _DICOM + "4.91": "jpeg-2000",
    _DICOM + "4.201": "jpeg-2000",
    _DICOM + "4.202": "jpeg-2000",
    _DICOM + "4.203": "jpeg-2000",
    _DICOM + "5": "rle",
    _DICOM + "1.98": "raw",
    _DICOM + "8.1": "deflate",
}
# The marker with which a frame of the codec begins; RLE has none.
FIRST_BYTES = {
    "jpeg": b"\xff\xd8",
    "jpeg-lossless": b"\xff\xd8",
    "jpeg-ls": b"\xff\xd8",
    "jpeg-2000": b"\xff\x4f",
}

# Markers within the data of a scan: 0xFF, as often as one likes, and a byte that no data byte 0xFF may have.
_MARKERS = {
    "jpeg": re.compile(rb"\xff+[^\x00\xff]", re.DOTALL),
    "jpeg-lossless": re.compile(rb"\xff+[^\x00\xff]", re.DOTALL),
    "jpeg-ls": re.compile(rb"\xff+[\x80-\xfe]", re.DOTALL),
}
_SOI, _EOI, _SOS = 0xFFD8, 0xFFD9, 0xFFDA
_ANY_SOF = {*range(0xFFC0, 0xFFD0), 0xFFF7} - {0xFFC4, 0xFFC8, 0xFFCC}
# Sequential Huffman with DCT, 8 and 12 bits; lossless Huffman; JPEG-LS.
_SOF = {"jpeg": {0xFFC0, 0xFFC1}, "jpeg-lossless": {0xFFC3}, "jpeg-ls": {0xFFF7}}
_ALONE = {0xFF01, *range(0xFFD0, 0xFFD8)}
_SOC, _SIZ, _COD, _QCD, _SOT, _EOC = 0xFF4F, 0xFF51, 0xFF52, 0xFF5C, 0xFF90, 0xFFD9
_MOST_SEGMENTS = 4096
_MOST_TILE_PARTS = 255
# Zeros after the last marker, up to the even length that DICOM wants, or to some writer's block.
_PADDING = 512


class BadPixels(ValueError):
    """Pixels that cannot be read, and the code for it; the message never quotes the file."""

    def __init__(self, message: str, code: str = "undecodable") -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True, slots=True)
class Codestream:
    """What a codestream's own header declares. ``precision`` is bits per sample, sign included.

    ``scan_at`` is where a JPEG's first scan begins.
    """

    rows: int
    columns: int
    samples: int
    precision: int
    signed: bool = False
    scan_at: int = field(default=0, compare=False)


def inspect(codec: str, read: Read, size: int) -> Codestream:
    """Read a codestream's header, and see that its end is there.

    Parameters
    ----------
    codec
        ``"jpeg"``, ``"jpeg-lossless"``, ``"jpeg-ls"`` or ``"jpeg-2000"``.
    read
        ``read(start, count)``: up to ``count`` bytes of the stream.
    size
        Bytes of the stream, padding included.

    Raises
    ------
    BadPixels
        ``undecodable`` where it is no such stream or its header contradicts itself, ``truncated`` where
        its end is missing.
    """
    try:
        return _jpeg_2000(read, size) if codec == "jpeg-2000" else _jpeg(_SOF[codec], read, size)
    except struct.error:
        raise BadPixels("the compressed stream ends within its header", "truncated") from None


def check_scan(codec: str, stream: bytes, said: Codestream) -> None:
    """Refuse a grey JPEG whose only scan is interrupted: decoders make up what is behind the break.

    Within a scan stand restart markers alone, and the end of the image after it (ITU-T T.81, B.1.1.2; T.87,
    C.2.2, where the marks of JPEG-LS differ in which bytes may follow 0xFF).
    """
    pattern = _MARKERS.get(codec)
    if pattern is None or said.samples != 1:
        return
    for found in pattern.finditer(stream, said.scan_at + 2, len(stream.rstrip(b"\0")) - 2):
        if not 0xD0 <= found[0][-1] <= 0xD7:
            raise BadPixels("a marker interrupts the JPEG's scan")


def _jpeg(wanted: set[int], read: Read, size: int) -> Codestream:
    if _word(read, 0) != _SOI:
        raise BadPixels("the compressed stream does not begin as a JPEG")
    found, at = None, 2
    for _ in range(_MOST_SEGMENTS):
        marker = _word(read, at)
        if marker == 0xFFFF:  # a fill byte
            at += 1
            continue
        if marker in _ALONE:
            at += 2
            continue
        if marker < 0xFFC0:
            raise BadPixels("no marker stands where the JPEG's header should go on")
        length = _word(read, at + 2)
        if marker in _ANY_SOF:
            if found is not None or marker not in wanted:
                raise BadPixels("the JPEG is of another process than the transfer syntax says")
            found = _start_of_frame(read(at + 4, length - 2))
        if marker == _SOS:
            break
        if marker in (_SOI, _EOI) or length < 2:
            raise BadPixels("the JPEG ends before its first scan")
        at += 2 + length
    if found is None:
        raise BadPixels("the JPEG has no frame header before its first scan")
    if not _tail(read, size).endswith(b"\xff\xd9"):
        raise BadPixels("the JPEG's end is missing", "truncated")
    return replace(found, scan_at=at)


def _start_of_frame(segment: bytes) -> Codestream:
    precision, rows, columns, samples = struct.unpack_from(">BHHB", segment)
    if not (rows and columns and samples) or len(segment) != 6 + 3 * samples:
        raise BadPixels("the JPEG's frame header contradicts itself")
    return Codestream(rows, columns, samples, precision)


def _jpeg_2000(read: Read, size: int) -> Codestream:
    if struct.unpack(">HH", read(0, 4)) != (_SOC, _SIZ):
        raise BadPixels("the compressed stream does not begin as a JPEG 2000 codestream")
    found, tiles = _image_and_tile_size(read(4, _word(read, 4)))
    at, seen = 4 + _word(read, 4), set()
    for _ in range(_MOST_SEGMENTS):
        marker, length = struct.unpack(">HH", read(at, 4))
        if marker == _SOT:
            break
        if not 0xFF50 <= marker <= 0xFF6F or length < 2:
            raise BadPixels("no marker stands where the JPEG 2000 header should go on")
        seen.add(marker)
        at += 2 + length
    if not {_COD, _QCD} <= seen:
        raise BadPixels("the JPEG 2000 header lacks how it was coded")
    _check_tiles(read, at, size, tiles)
    return found


def _image_and_tile_size(segment: bytes) -> tuple[Codestream, int]:
    """What the SIZ segment says: the image, and the number of its tiles."""
    right, bottom, left, top, width, height, tile_left, tile_top, samples = struct.unpack_from(
        ">8IH", segment, 4
    )
    columns, rows = right - left, bottom - top
    components = segment[38:]
    if min(columns, rows, width, height, samples) < 1 or len(components) != 3 * samples:
        raise BadPixels("the JPEG 2000 header contradicts itself")
    if not (tile_left <= left < tile_left + width and tile_top <= top < tile_top + height):
        raise BadPixels("the JPEG 2000 header places its first tile beside the image")
    if any(components[n : n + 3] != components[:1] + b"\x01\x01" for n in range(0, 3 * samples, 3)):
        raise BadPixels("the JPEG 2000 stream has samples of different size or precision")
    tiles = -(-(right - tile_left) // width) * -(-(bottom - tile_top) // height)
    if tiles > 1024 + rows * columns // 4096:
        raise BadPixels(f"the JPEG 2000 stream is cut into {tiles} tiles", "too-large")
    return Codestream(rows, columns, samples, (components[0] & 0x7F) + 1, components[0] > 0x7F), tiles


def _check_tiles(read: Read, at: int, size: int, tiles: int) -> None:
    """Follow the tile parts to the end: all tiles there, and nothing cut."""
    found: set[int] = set()
    for _ in range(_MOST_TILE_PARTS * tiles):
        if read(at, 2) != b"\xff\x90":
            break
        length, tile, part_length = struct.unpack(">HHI", read(at + 2, 8))
        if length != 10 or tile >= tiles or 0 < part_length < 14:
            raise BadPixels("a tile of the JPEG 2000 stream contradicts its header")
        found.add(tile)
        if part_length == 0:  # the last one: up to the end
            at = len(_tail(read, size)) + max(0, size - _PADDING) - 2
            break
        at += part_length
    if at > size or len(found) < tiles:
        raise BadPixels("the JPEG 2000 stream is cut: parts of the image are missing", "truncated")
    # Some writers leave out the last marker; every tile is whole then.
    if read(at, 2) != b"\xff\xd9" and size - at > 1:
        raise BadPixels("the JPEG 2000 stream does not end where its tiles do", "truncated")


def _word(read: Read, at: int) -> int:
    found: int = struct.unpack(">H", read(at, 2))[0]
    return found


def _tail(read: Read, size: int) -> bytes:
    """The last bytes of a stream, without the zeros it was padded with."""
    return read(max(0, size - _PADDING), _PADDING).rstrip(b"\0")
