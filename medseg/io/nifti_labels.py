"""Label names inside a NIfTI file: a comment extension with JSON, which other programs pass over."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from operator import index
from typing import Any

from medseg.labels import Label, LabelSet

_COMMENT = 6
_KEY = "medseg_labels"


def pack(labels: LabelSet) -> bytes:
    """The extension block (with its leading 4-byte flag) that holds ids, names and colours."""
    listed = [{"id": x.id, "name": x.name, "colour": list(x.colour), "snomed": x.snomed} for x in labels]
    text = json.dumps({_KEY: listed, "background": labels.background}).encode()
    size = -(-(8 + len(text)) // 16) * 16
    return b"\x01\0\0\0" + struct.pack("<2i", size, _COMMENT) + text.ljust(size - 8, b"\0")


def unpack(block: bytes, order: str) -> LabelSet | None:
    """The label set in the extensions of a header, if medseg wrote one.

    Parameters
    ----------
    block
        The bytes between header and voxels, with the 4-byte flag.
    order
        ``"<"`` or ``">"``, the file's byte order.
    """
    position = 4
    while block[:1] not in (b"", b"\0") and position + 8 <= len(block):
        size, code = struct.unpack_from(order + "2i", block, position)
        if size < 16 or position + size > len(block):
            return None
        content = block[position + 8 : position + size].rstrip(b"\0")
        if code == _COMMENT and content.startswith(b'{"' + _KEY.encode()):
            return _parse(content)
        position += size
    return None


def _parse(content: bytes) -> LabelSet | None:
    try:
        document = json.loads(content)
        return LabelSet(tuple(map(_label, document[_KEY])), str(document["background"]))
    except (ValueError, KeyError, TypeError, RecursionError):
        return None  # cut or edited by another program: ids stay, names are lost


def _label(entry: Mapping[str, Any]) -> Label:
    red, green, blue = map(index, entry["colour"])
    snomed = entry["snomed"]
    return Label(
        index(entry["id"]), str(entry["name"]), (red, green, blue), None if snomed is None else str(snomed)
    )
