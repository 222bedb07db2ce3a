"""Files that are small, or say that they are, and ask for a great deal.

Every maker writes into an empty folder and returns what is to be read.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Callable
from functools import cache
from pathlib import Path

GB = 1 << 30
BLOCK = 16 << 20
Maker = Callable[[Path], Path]
BOMBS: dict[str, Maker] = {}
# Large, yet honest: reading them is right too, as long as the limits hold.
MAY_BE_READ = set()
LABELS = set()


def bomb(*, may_be_read: bool = False, labels: bool = False) -> Callable[[Maker], Maker]:
    def note(make: Maker) -> Maker:
        name = make.__name__.replace("_", " ")
        BOMBS[name] = make
        MAY_BE_READ.update({name} if may_be_read else ())
        LABELS.update({name} if labels else ())
        return make

    return note


@cache
def _packed_block() -> bytes:
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    return packer.compress(bytes(BLOCK)) + packer.flush(zlib.Z_FULL_FLUSH)


def deflated(start: bytes, zeros: int, kind: str) -> bytes:
    """``start``, then so many zeros (whole blocks of them), as ``"raw"``, ``"zlib"`` or ``"gzip"``."""
    count = zeros // BLOCK
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    body = packer.compress(start) + packer.flush(zlib.Z_FULL_FLUSH) + _packed_block() * count + b"\x03\x00"
    if kind == "raw":
        return body
    block, check = bytes(BLOCK), zlib.adler32(start) if kind == "zlib" else zlib.crc32(start)
    for _ in range(count):
        check = zlib.adler32(block, check) if kind == "zlib" else zlib.crc32(block, check)
    if kind == "zlib":
        return b"\x78\xda" + body + struct.pack(">I", check)
    size = (len(start) + count * BLOCK) & 0xFFFFFFFF
    return b"\x1f\x8b\x08\0\0\0\0\0\0\xff" + body + struct.pack("<II", check, size)


def saved(folder: Path, name: str, content: bytes) -> Path:
    path = folder / name
    path.write_bytes(content)
    return path


def sparse(path: Path, size: int) -> Path:
    """Grown to so many bytes that take no room on the disk."""
    os.truncate(path, size)
    return path
