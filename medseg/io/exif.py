"""The one thing of a picture's EXIF block that matters here: whether it asks to be shown turned.

Format: TIFF 6.0, section 2, and EXIF 2.3, tag 274. Nothing else of the block is looked at.
"""

from __future__ import annotations

import struct

_ORIENTATION = 274
_SHORT = 3


def orientation(block: bytes) -> int:
    """The orientation (1 to 8) that a block of EXIF in TIFF's form asks for; 1 where it asks for none."""
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(block[:4])
    if order is None or len(block) < 8:
        return 1
    at = struct.unpack_from(order + "I", block, 4)[0]
    if at + 2 > len(block):
        return 1
    count = struct.unpack_from(order + "H", block, at)[0]
    for entry in range(at + 2, min(at + 2 + 12 * count, len(block) - 11), 12):
        tag, kind, _, value = struct.unpack_from(order + "HHIH", block, entry)
        if tag == _ORIENTATION and kind == _SHORT:
            return value if 1 <= value <= 8 else 1
    return 1
