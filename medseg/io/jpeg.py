"""JPEG pictures: the markers looked through by us, the pixels decoded in a process of its own.

Format: ITU-T T.81, annex B; JFIF 1.02; EXIF 2.3. A JPEG has no checksum: damage to its pixels that leaves
the markers whole can only be seen.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from medseg.io import exif
from medseg.io.pictures import Picture, check_size, orientation_warning
from medseg.io.refusals import refused
from medseg.verdict import Verdict

MARK = b"\xff\xd8\xff"
_LARGEST_FILE = 1 << 28
_SIZED = {0xC0, 0xC1, 0xC2}  # baseline, extended, progressive
_OTHER_SIZED = {0xC3, *range(0xC5, 0xC8), *range(0xC9, 0xCC), *range(0xCD, 0xD0)}
_START_OF_SCAN, _END, _EXIF = 0xDA, 0xD9, 0xE1
# A progressive picture has ten scans or so; each of thousands would take a pass over the whole picture.
_MOST_SCANS = 100


@dataclass(frozen=True, slots=True)
class _Header:
    rows: int
    columns: int
    samples: int
    orientation: int


def read(path: Path) -> Picture:
    """Pixels, grey or red, green, blue; always with the warning ``lossy``.

    Raises
    ------
    InputRefused
        ``truncated``, ``corrupt``, ``bad-header``, ``too-large``, ``undecodable``, ``unsupported-encoding``
        (lossless or arithmetic coding, 12 bits, CMYK).
    """
    from medseg.io.dicom import decoder, pool
    from medseg.io.dicom.codestream import BadPixels

    size = path.stat().st_size
    if size > _LARGEST_FILE:
        raise refused(path, "too-large", f"{size} bytes, expected at most {_LARGEST_FILE}")
    content = path.read_bytes()
    header = _check(path, content)
    pixels = np.empty((header.rows, header.columns, header.samples), np.uint8)
    request = decoder.Request(
        decoder.DECODE, decoder.CODECS.index("jpeg"), header.rows, header.columns, header.samples, precision=8
    )
    try:
        pool.shared().decode(request, content, pixels.data.cast("B"))
    except BadPixels as fault:
        raise refused(path, fault.code, f"{fault}; copy it again") from None
    finding = "a JPEG picture: its pixels are not those that were taken, compression changed them"
    verdict = Verdict.of("warning", "lossy", finding) + orientation_warning(header.orientation)
    return Picture(pixels, verdict=verdict)


def _check(path: Path, content: bytes) -> _Header:
    """Walk over all markers to the end of the picture."""
    frame: tuple[int, int, int] | None = None
    at, scans, orientation = 2, 0, 1
    while True:
        at = _next_marker(path, content, at)
        marker = content[at + 1]
        if marker == _END:
            break
        length = struct.unpack_from(">H", content, at + 2)[0] if at + 4 <= len(content) else 0
        body = content[at + 4 : at + 2 + length]
        if length < 2 or len(body) < length - 2:
            raise refused(path, "truncated", "the file ends before the picture does; copy it again")
        if marker in _OTHER_SIZED:
            kind = "lossless, arithmetic or hierarchical coding"
            raise refused(path, "unsupported-encoding", f"{kind}; save it as PNG")
        if marker in _SIZED:
            if frame is not None:
                raise refused(path, "bad-header", "two pictures in one stream, expected one")
            frame = _frame(path, body)
        elif marker == _EXIF and body.startswith(b"Exif\0\0"):
            orientation = exif.orientation(body[6:])
        elif marker == _START_OF_SCAN:
            scans += 1
        at += 2 + length
        if scans > _MOST_SCANS:
            raise refused(path, "too-large", f"more than {_MOST_SCANS} scans, expected ten or so")
    if frame is None or scans == 0:
        raise refused(path, "bad-header", "no picture in it")
    return _Header(*frame, orientation)


def _next_marker(path: Path, content: bytes, at: int) -> int:
    """The position of the next marker that is neither stuffing nor a restart."""
    while True:
        at = content.find(b"\xff", at)
        if at < 0 or at + 1 >= len(content):
            raise refused(path, "truncated", "the file ends before the picture does; copy it again")
        following = content[at + 1]
        if following == 0xFF:
            at += 1
        elif following == 0x00 or 0xD0 <= following <= 0xD7 or following == 0x01:
            at += 2
        else:
            return at


def _frame(path: Path, body: bytes) -> tuple[int, int, int]:
    if len(body) < 6:
        raise refused(path, "bad-header", "its size is missing")
    precision, rows, columns, samples = struct.unpack_from(">BHHB", body)
    if rows == 0 or columns == 0 or len(body) != 6 + 3 * samples:
        raise refused(path, "bad-header", "its size makes no sense")
    if precision != 8:
        raise refused(
            path, "unsupported-encoding", f"{precision} bits per sample, expected 8; save it as PNG"
        )
    if samples not in (1, 3):
        kind = "CMYK colours" if samples == 4 else f"{samples} samples per pixel"
        raise refused(path, "unsupported-encoding", f"{kind}, expected grey or RGB; save it as RGB")
    check_size(path, columns, rows, samples)
    return rows, columns, samples
