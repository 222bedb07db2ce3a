"""Label names inside a NIfTI file: a comment extension with JSON, which other programs pass over."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from operator import index
from typing import Any

from medseg.io.refusals import HeaderFault
from medseg.io.streams import ByteStream
from medseg.labels import Label, LabelSet

_COMMENT = 6
_KEY = "medseg_labels"
_LARGEST = 1 << 20
_MOST_EXTENSIONS = 4096


def pack(labels: LabelSet) -> bytes:
    """The extension block (with its leading 4-byte flag) that holds ids, names and colours."""
    listed = [{"id": x.id, "name": x.name, "colour": list(x.colour), "snomed": x.snomed} for x in labels]
    text = json.dumps({_KEY: listed, "background": labels.background}).encode()
    size = -(-(8 + len(text)) // 16) * 16
    return b"\x01\0\0\0" + struct.pack("<2i", size, _COMMENT) + text.ljust(size - 8, b"\0")


def read_extensions(stream: ByteStream, size: int, order: str) -> LabelSet | None:
    """Pass over the extensions of a header; the label set among them, if medseg wrote one.

    Parameters
    ----------
    stream
        At the 4-byte flag that follows the header.
    size
        Bytes from there to the voxels.
    order
        ``"<"`` or ``">"``, the file's byte order.

    Raises
    ------
    HeaderFault
        If the extensions do not lie between header and voxels: then one of the two is wrong about the place
        of the voxels. And if there are more than any program writes.
    """
    flag, left = stream.read(min(4, size)), max(0, size - 4)
    labels, count = None, 0
    while flag[:1] not in (b"", b"\0") and left >= 8:
        count += 1
        if count > _MOST_EXTENSIONS:
            raise HeaderFault(f"more than {_MOST_EXTENSIONS} extensions behind the header")
        length, code = struct.unpack(order + "2i", stream.read(8).ljust(8, b"\0"))
        if length == code == 0:  # padding
            left -= 8
            break
        if not 8 <= length <= left:
            raise HeaderFault(f"an extension of {length} bytes does not fit between header and voxels")
        content = stream.read(min(length - 8, _LARGEST))
        stream.skip(length - 8 - len(content))
        if code == _COMMENT and content.startswith(b'{"' + _KEY.encode()):
            labels = _parse(content.rstrip(b"\0"))
        left -= length
    stream.skip(left)
    return labels


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
