"""The directories of a TIFF, looked through before a library reads their tags into memory.

Format: TIFF 6.0, section 2; BigTIFF as libtiff has it.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import BinaryIO

from medseg.io.refusals import refused

MOST_PAGES = 4096
_MOST_TAGS = 4096
# The largest picture in tiles of 16 x 16 pixels has 1 << 20 of them, each with an offset and a length.
_MOST_VALUES = 1 << 22
# Text, profiles, and what programs keep for themselves.
_MOST_BYTES = 1 << 26
_BYTE_TYPES = (1, 2, 7)


def check_directories(path: Path) -> None:
    """Refuse more values in tags than pictures need, and pages that follow each other in a circle.

    A file that ends early or has more than `MOST_PAGES` is left to who reads it.

    Raises
    ------
    InputRefused
        ``bad-header``, ``truncated``.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        mark = file.read(4)
        order, big = (">" if mark[:2] == b"MM" else "<"), 43 in mark[2:]
        count, entry, position = (
            struct.Struct(order + form) for form in (("Q", "HHQ8x", "Q") if big else ("H", "HHI4x", "I"))
        )
        file.seek(8 if big else 4)
        at, seen, total = _number(file, position), set[int](), 0
        while at and len(seen) <= MOST_PAGES:
            if at in seen:
                raise refused(path, "bad-header", "its pages follow each other in a circle")
            if at > size:
                raise refused(path, "truncated", "a page lies beyond its end; copy it again")
            seen.add(at)
            file.seek(at)
            tags = _number(file, count)
            if tags > _MOST_TAGS:
                raise refused(path, "bad-header", f"a page of {tags} tags, expected at most {_MOST_TAGS}")
            block = file.read(tags * entry.size)
            for _, kind, values in entry.iter_unpack(block[: len(block) // entry.size * entry.size]):
                total += 0 if kind in _BYTE_TYPES else values
                if values > _MOST_BYTES or total > _MOST_VALUES:
                    raise refused(path, "bad-header", "its tags hold more values than pictures can need")
            at = _number(file, position)


def _number(file: BinaryIO, form: struct.Struct) -> int:
    """The next number; 0 where the file ends."""
    block = file.read(form.size)
    return int(form.unpack(block)[0]) if len(block) == form.size else 0
