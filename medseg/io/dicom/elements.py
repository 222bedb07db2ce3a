"""DICOM data sets, taken apart without trust: which elements there are, where, and their values on demand.

One pass notes where each element lies and jumps over its value; pixel data are never read. Nothing
recurses, nothing is read that is longer than the file, and no message quotes a value: it may name the
patient. Source of the format: DICOM PS3.5, sections 6 and 7, and annex A; PS3.10, section 7.
"""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from medseg.io.dicom import tags
from medseg.io.dicom.objects import BadHeader, Source
from medseg.io.dicom.sources import inflated
from medseg.io.dicom.tokens import (
    EXPLICIT,
    EXPLICIT_BIG,
    IMPLICIT,
    UNDEFINED,
    Coding,
    Element,
    Window,
    after_pixels,
    index,
    items,
)
from medseg.io.files import begins_as_dicom, has_dicom_mark

__all__ = ["BadHeader", "DataSet", "Parsed", "read_dataset"]

DEFLATED = "1.2.840.10008.1.2.1.99"
_NATIVE = {
    EXPLICIT: "1.2.840.10008.1.2.1",
    IMPLICIT: "1.2.840.10008.1.2",
    EXPLICIT_BIG: "1.2.840.10008.1.2.2",
}
# The letter of the `struct` module by value representation; others are text.
_LETTERS = {
    b"US": "H", b"SS": "h", b"UL": "I", b"SL": "i", b"UV": "Q", b"SV": "q", b"FL": "f", b"FD": "d",
    b"OW": "H", b"OL": "I", b"OV": "Q", b"OF": "f", b"OD": "d", b"AT": "H",
}  # fmt: skip
_NUMBERS = re.compile(r"[0-9+\-.eE \\]*")
_UID = re.compile(r"[0-9.]{1,64}")
_VALUE_REPRESENTATION = re.compile(rb"[A-Z]{2}")


class DataSet:
    """One data set or item: its values by tag, each read and checked when asked for.

    A missing element and an empty one are both None (or no words, no items). Malformed ones raise
    `BadHeader`, which names the field, never the value.
    """

    __slots__ = ("_coding", "_elements", "_parent", "_window")

    def __init__(
        self, window: Window, elements: dict[int, Element], coding: Coding, parent: DataSet | None = None
    ) -> None:
        self._window, self._elements, self._coding, self._parent = window, elements, coding, parent

    def __contains__(self, tag: int) -> bool:
        return tag in self._elements

    def place(self, tag: int) -> int | None:
        """Where a value begins in `Parsed.source`."""
        element = self._elements.get(tag)
        return None if element is None else element[1]

    def value(self, tag: int) -> bytes | None:
        """The bytes of a value, as stored."""
        element = self._elements.get(tag)
        if element is None:
            return None
        if element[2] < 0:
            raise BadHeader(f"{tags.keyword(tag)} stands there twice")
        return self._window.take(element[1], element[2]) or None

    def text(self, tag: int) -> str | None:
        """A value of ASCII text without the blanks around it; bytes that are none become U+FFFD."""
        value = self.value(tag)
        if value is None:
            return None
        return value.decode("ascii", errors="replace").strip(" \0\t\r\n") or None

    def words(self, tag: int) -> tuple[str, ...]:
        """The values of a text element, each without the blanks around it."""
        text = self.text(tag)
        return () if text is None else tuple(word.strip(" \0") for word in text.split("\\"))

    def uid(self, tag: int) -> str:
        """A UID, or "" where there is none or what is there is not one (PS3.5, section 9.1)."""
        text = self.text(tag)
        return text if text is not None and _UID.fullmatch(text) else ""

    def integer(self, tag: int) -> int | None:
        """One whole number."""
        number = self.number(tag)
        if number is not None and number != int(number):
            raise BadHeader(f"{tags.keyword(tag)} is no whole number")
        return None if number is None else int(number)

    def number(self, tag: int) -> float | None:
        """One finite number."""
        found = self._finite(tag, 1)
        return None if found is None else float(found[0])

    def numbers(self, tag: int, count: int | None = None) -> NDArray[np.float64] | None:
        """``count`` finite numbers, or any count where that is None.

        Raises
        ------
        BadHeader
            If they are fewer, more, not finite, or no numbers.
        """
        found = self._finite(tag, count)
        return None if found is None else np.array(found, np.float64)

    def _finite(self, tag: int, count: int | None) -> Sequence[float] | None:
        value = self.value(tag)
        if value is None:
            return None
        vr = self._elements[tag][0]
        if vr in (b"", b"UN"):
            vr = tags.stored_as(tag)
        letter = _LETTERS.get(vr)
        found: Sequence[float] | None
        if letter is None:
            found = _numbers_in_text(tag, value)
        else:
            number, rest = divmod(len(value), struct.calcsize(letter))
            if rest:
                raise BadHeader(f"{tags.keyword(tag)} has {len(value)} bytes, which is no number of numbers")
            found = struct.unpack(f"{self._coding.order}{number}{letter}", value)
        if found is None:
            return None
        if count is not None and len(found) != count:
            raise BadHeader(f"{tags.keyword(tag)} has {len(found)} numbers, expected {count}")
        if not all(map(math.isfinite, found)):
            raise BadHeader(f"{tags.keyword(tag)} is not finite")
        return found

    def items(self, tag: int) -> tuple[DataSet, ...]:
        """The items of a sequence."""
        element = self._elements.get(tag)
        if element is None:
            return ()
        vr, start, length = element
        if vr not in (b"SQ", b"UN", b"") or length < 0:
            raise BadHeader(f"{tags.keyword(tag)} is no sequence, or stands there twice")
        coding = IMPLICIT if vr == b"UN" else self._coding
        return tuple(
            DataSet(self._window, elements, within, self)
            for elements, within in items(self._window, start, start + length, coding)
        )

    def name(self, tag: int) -> str | None:
        """Text in the data set's own character set: for the names of labels only, as it may be anyone's."""
        from pydicom.charset import convert_encodings, decode_bytes

        from medseg.io.quiet import quiet

        value = self.value(tag)
        if value is None:
            return None
        holder: DataSet | None = self
        while holder is not None and tags.SpecificCharacterSet not in holder:
            holder = holder._parent
        with quiet("pydicom"):
            try:
                encodings = convert_encodings(list(holder.words(tags.SpecificCharacterSet) if holder else ()))
                text = decode_bytes(value, encodings, {0x0A, 0x0C, 0x0D})
            except (LookupError, ValueError):
                text = value.decode("latin-1")
        return text.strip(" \0") or None

    def private(self, group: int, creator: str, number: int) -> int | None:
        """The tag of a private element, by the name of its creator (PS3.5, section 7.8); None if absent."""
        for block in range(0x10, 0x100):
            tag = group << 16 | block << 8 | number
            if tag in self._elements and self.text(group << 16 | block) == creator:
                return tag
        return None


@dataclass(frozen=True, slots=True, eq=False)
class Parsed:
    """A DICOM object without its pixels.

    Parameters
    ----------
    source
        The bytes in which `pixels_at` counts: of a deflated object the inflated ones.
    dataset, meta
        The data set, and the group 0002 before it.
    transfer_syntax
        UID; where the file has none, or one that its elements contradict, that of how they are written.
    pixels_at, pixels_length
        As in `objects.StoredImage`.
    """

    source: Source = field(repr=False)
    dataset: DataSet = field(repr=False)
    meta: DataSet = field(repr=False)
    transfer_syntax: str
    pixels_at: int | None
    pixels_length: int | None


def read_dataset(source: Source) -> Parsed:
    """Take an object's header apart.

    Raises
    ------
    BadHeader
        If it is not DICOM, or contradicts itself or the size of the file.
    """
    window = Window(source)
    head = window.take(0, min(132, source.size))
    at = 132 if has_dicom_mark(head) else 0
    if not at and not begins_as_dicom(head):
        raise BadHeader("the mark of a DICOM file is missing")
    found: dict[int, Element] = {}
    coding = _coding(window, at)
    if source.size - at >= 8 and window.element(at, coding)[0] >> 16 == 0x0002:
        found, at = index(window, at, source.size, coding, below=0x0003_0000)
    meta = DataSet(window, found, coding)
    syntax = meta.uid(tags.TransferSyntaxUID)
    if not syntax and meta.text(tags.TransferSyntaxUID) is not None:
        raise BadHeader(f"{tags.keyword(tags.TransferSyntaxUID)} is no UID")
    if syntax == DEFLATED:
        source = inflated(source, at)
        window, at = Window(source), 0
    coding = _coding(window, at)
    found, _ = index(window, at, source.size, coding)
    _, pixels_at, pixels_length = found.pop(tags.PixelData, (b"", None, None))
    if pixels_at is not None and pixels_length is not None and 0 <= pixels_length != UNDEFINED:
        after_pixels(window, pixels_at + pixels_length, coding)
    return Parsed(
        source=source,
        dataset=DataSet(window, found, coding),
        meta=meta,
        transfer_syntax=_syntax(syntax, coding),
        pixels_at=pixels_at,
        pixels_length=None if pixels_length == UNDEFINED else pixels_length,
    )


def _coding(window: Window, at: int) -> Coding:
    """How the elements from a position on are written: what stands there outweighs the transfer syntax."""
    if window.size - at < 8:
        return EXPLICIT
    first = window.take(at, 8)
    explicit = _VALUE_REPRESENTATION.fullmatch(first[4:6]) is not None
    return EXPLICIT_BIG if first[0] == 0 and explicit else EXPLICIT if explicit else IMPLICIT


def _syntax(stated: str, coding: Coding) -> str:
    return _NATIVE[coding] if stated in ("", *_NATIVE.values()) else stated


def _numbers_in_text(tag: int, value: bytes) -> list[float] | None:
    text = value.decode("ascii", errors="replace").strip(" \0")
    if not text:
        return None
    if _NUMBERS.fullmatch(text):
        try:
            return [float(word) for word in text.split("\\")]
        except ValueError:
            pass  # its message would quote the value
    raise BadHeader(f"{tags.keyword(tag)} holds no number")
