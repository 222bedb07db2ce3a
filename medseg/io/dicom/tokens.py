"""The walk over the elements of a DICOM data set: one loop, without recursion, bounded in every direction.

Values with a length are jumped over; sequences of undefined length are walked to their end, as nothing
else tells where that is. Source of the format: DICOM PS3.5, section 7.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from medseg.io.dicom.objects import BadHeader, Source
from medseg.io.dicom.sources import Inflated, ZipMember

UNDEFINED = 0xFFFFFFFF
_DEEPEST = 64
# A header of 20,000 frames has some 2 million elements; more would take many seconds.
_MOST_ELEMENTS = 3_000_000
_LARGEST_VALUE = 1 << 26
_TWICE = -1
_FIRST_READ = 1 << 15
_LARGEST_READ = 1 << 22
# What is compressed is inflated from its beginning for every block, so that headers in it end early.
_LONGEST_COMPRESSED = 1 << 26

_ITEM_MARKS = {"<": b"\xfe\xff\x00\xe0", ">": b"\xff\xfe\xe0\x00"}
_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
_PIXELS = frozenset((0x7FE00008, 0x7FE00009, 0x7FE00010))
_SHORT = frozenset(
    (b"AE", b"AS", b"AT", b"CS", b"DA", b"DS", b"DT", b"FD", b"FL", b"IS", b"LO", b"LT", b"PN", b"SH", b"SL",
     b"SS", b"ST", b"TM", b"UI", b"UL", b"US")
)  # fmt: skip
_LONG = frozenset((b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"))

# Value representation (b"" in implicit data sets), where the value begins, its length: -1 where the
# element stands twice, UNDEFINED only for encapsulated pixel data.
Element = tuple[bytes, int, int]


@dataclass(frozen=True, slots=True)
class Coding:
    """How the elements of a data set are written: with value representations or without, byte order."""

    explicit: bool
    order: str


EXPLICIT = Coding(True, "<")
IMPLICIT = Coding(False, "<")
EXPLICIT_BIG = Coding(True, ">")
_FULL = {order: struct.Struct(order + "HH2sH").unpack_from for order in "<>"}
_PLAIN = {order: struct.Struct(order + "HHI").unpack_from for order in "<>"}
_FOUR = {order: struct.Struct(order + "I").unpack_from for order in "<>"}


class Window:
    """The bytes of a header: the first block is kept, of the others the one that was needed last.

    ``budget`` counts down the elements that may still be walked in this object.
    """

    __slots__ = ("_base", "_block", "_head", "_reach", "_step", "budget", "size", "source")

    def __init__(self, source: Source) -> None:
        self.source = source
        self.size = source.size
        self.budget = _MOST_ELEMENTS
        self._head = self._block = source.read(0, min(_FIRST_READ, source.size))
        self._base = 0
        self._step = _FIRST_READ
        compressed = isinstance(source, Inflated | ZipMember)
        self._reach = _LONGEST_COMPRESSED if compressed else source.size

    def reach_end(self, at: int) -> None:
        """Let what is compressed be read to its end too, if little is left from a position on."""
        if self.size - at <= _LARGEST_READ:
            self._reach = self.size

    def take(self, start: int, count: int) -> bytes:
        """Exactly these bytes.

        Raises
        ------
        BadHeader
            If the file ends before, or if no header has a value of that size.
        """
        if start + count <= len(self._head):
            return self._head[start : start + count]
        first = start - self._base
        if first >= 0 and first + count <= len(self._block):
            return self._block[first : first + count]
        if count > _LARGEST_VALUE:
            raise BadHeader(f"a value of {count} bytes, expected at most {_LARGEST_VALUE}")
        self._check_reach(start)
        found = self.source.read(start, count)
        if len(found) < count:
            raise BadHeader("the file ends within its header")
        return found

    def element(self, at: int, coding: Coding) -> tuple[int, bytes, int, int]:
        """Of the element at a position: tag, value representation, where its value begins, its length."""
        offset = at - self._base
        if offset < 0 or offset + 12 > len(self._block):
            offset = self._move_to(at)
        if not coding.explicit:
            group, number, length = _PLAIN[coding.order](self._block, offset)
            return group << 16 | number, b"", at + 8, length
        group, number, vr, length = _FULL[coding.order](self._block, offset)
        if vr in _SHORT:
            return group << 16 | number, vr, at + 8, length
        if vr in _LONG or (group & 1 and vr.isalpha() and vr.isupper()):  # as new ones are to be read
            if offset + 12 > len(self._block):
                raise BadHeader("the file ends within its header")
            return group << 16 | number, vr, at + 12, _FOUR[coding.order](self._block, offset + 8)[0]
        if group == 0xFFFE or not group:  # delimiters and padding have none
            return group << 16 | number, b"", at + 8, _FOUR[coding.order](self._block, offset + 4)[0]
        if group & 1 and vr.isascii() and vr.decode().isprintable():
            return group << 16 | number, vr, at + 8, length
        raise BadHeader("an element without a known value representation")

    def item(self, at: int, coding: Coding) -> tuple[int, int]:
        """Tag and length of an item or a delimiter."""
        offset = self._move_to(at)
        group, number, length = _PLAIN[coding.order](self._block, offset)
        return group << 16 | number, length

    def coding_of_item(self, at: int, coding: Coding) -> Coding:
        """The coding of an item's content: some writers leave out representations in it."""
        if not coding.explicit or at + 8 > self.size:
            return coding
        offset = self._move_to(at)
        group, _, vr, _ = _FULL[coding.order](self._block, offset)
        return coding if vr in _SHORT or vr in _LONG or group == 0xFFFE else IMPLICIT

    def holds(self, at: int, mark: bytes) -> bool:
        """Whether these bytes stand at a position; False where that would take another read."""
        offset = at - self._base
        return offset >= 0 and self._block[offset : offset + len(mark)] == mark

    def is_padding(self, at: int, end: int) -> bool:
        """Whether what remains is nothing, or zeros."""
        return end - at < _FIRST_READ and not any(self.take(at, end - at))

    def _check_reach(self, at: int) -> None:
        if at > self._reach:
            raise BadHeader(f"a compressed header of more than {_LONGEST_COMPRESSED} bytes", "too-large")

    def _move_to(self, at: int) -> int:
        """Load the block around a position; the offset of the position in it."""
        if at + 12 <= len(self._head):
            self._base, self._block = 0, self._head
        elif not self._base <= at <= self._base + len(self._block) - 12:
            self._check_reach(at)
            self._base, self._block = at, self.source.read(at, min(self._step, self.size - at))
            self._step = min(2 * self._step, _LARGEST_READ)
        if at + 8 > self._base + len(self._block):
            raise BadHeader("the file ends within its header")
        return at - self._base


def index(
    window: Window, at: int, end: int, coding: Coding, *, below: int = 1 << 32, in_item: bool = False
) -> tuple[dict[int, Element], int]:
    """The elements of one level, and the position after the last one.

    Parameters
    ----------
    window, at, end
        Where the level lies.
    coding
        How it is written.
    below
        The walk ends before the first tag that is not below this one.
    in_item
        The level is an item of undefined length, which ends with its delimiter. Otherwise it may end with
        pixel data, which may reach past ``end``: what they lack is for those to say who decode them.

    Raises
    ------
    BadHeader
        An element that reaches past ``end``, sequences nested too deep, too many elements, ...
    """
    found: dict[int, Element] = {}
    while end - at >= 8:
        if below <= UNDEFINED and window.item(at, coding)[0] >= below:
            return found, at  # what follows may be written in another way
        tag, vr, value, length = window.element(at, coding)
        if not tag:
            break
        if tag in _PIXELS and not in_item:
            found[tag] = (vr, value, length)
            return found, value
        if tag == _ITEM_END and in_item:
            return found, value
        if length == UNDEFINED:
            stop, at = _sequence_end(window, value, end, IMPLICIT if vr == b"UN" else coding)
            length = stop - value
        else:
            at = value + length
            if at > end:
                raise BadHeader("a value that reaches past the end of its file or item")
            begins = vr == b"" and window.holds(value, _ITEM_MARKS[coding.order])
            if length >= 16 and (begins or vr == b"SQ"):
                _check_nesting(window, value, at, coding)
        found[tag] = (vr, value, length) if tag not in found else (vr, value, _TWICE)
        window.budget -= 1
        if window.budget < 0:
            raise BadHeader(f"more than {_MOST_ELEMENTS} elements")
    if in_item or not window.is_padding(at, end):
        raise BadHeader("it ends within an element or an item")
    return found, at


def items(window: Window, at: int, end: int, coding: Coding) -> Iterator[tuple[dict[int, Element], Coding]]:
    """The items of a sequence: the elements of each, and how they are written."""
    while end - at >= 8:
        tag, length = window.item(at, coding)
        if tag == _SEQUENCE_END:
            return
        if tag != _ITEM:
            raise BadHeader("a sequence that holds something else than items")
        at += 8
        within = window.coding_of_item(at, coding)
        if length == UNDEFINED:
            found, at = index(window, at, end, within, in_item=True)
        elif at + length > end:
            raise BadHeader("an item that reaches past the end of its sequence")
        else:
            found, _ = index(window, at, at + length, within)
            at += length
        yield found, within


def _check_nesting(window: Window, at: int, end: int, coding: Coding) -> None:
    """Refuse a sequence of known length that is jumped over, if the first items in it nest too deep."""
    depth = 1
    while end - at >= 16 and window.item(at, coding)[0] == _ITEM:
        _, _, vr, length = _FULL[coding.order](window.take(at + 8, 8))
        value = at + 16
        if vr == b"SQ" and end - at >= 28:
            length, value = _FOUR[coding.order](window.take(at + 16, 4))[0], at + 20
        elif coding.explicit or window.take(value, 4) != _ITEM_MARKS[coding.order]:
            return
        else:
            length = _FOUR[coding.order](window.take(at + 12, 4))[0]
        depth += 1
        if depth > _DEEPEST:
            raise BadHeader(f"sequences nested deeper than {_DEEPEST}")
        at, end = value, end if length == UNDEFINED else min(end, value + length)


def after_pixels(window: Window, at: int, coding: Coding) -> None:
    """Refuse bytes behind native pixel data that are neither elements nor padding.

    They tell that bytes have come into the pixels, or have gone from them, so that all later ones are
    out of place.
    """
    last = max(_PIXELS)
    window.reach_end(at)
    while window.size - at >= 8:
        if window.size - at < _FIRST_READ and window.is_padding(at, window.size):
            return
        try:
            tag, _, value, length = window.element(at, coding)
        except BadHeader:
            tag = 0
        if tag <= last or length == UNDEFINED or value + length > window.size:
            raise BadHeader("what follows the pixels is no element of DICOM", "size-mismatch")
        at, last = value + length, tag


def _sequence_end(window: Window, at: int, end: int, coding: Coding) -> tuple[int, int]:
    """Where the delimiter of a sequence of undefined length stands, and the position after it.

    Iterative: ``stack`` holds the codings of what encloses, a sequence and an item in turn, so that
    hostile nesting costs nothing but a refusal.
    """
    stack: list[Coding] = []
    while True:
        window.budget -= 1
        if window.budget < 0 or end - at < 8:
            raise BadHeader("a sequence without an end")
        if len(stack) % 2 == 0:
            tag, length = window.item(at, coding)
            at += 8
            if tag == _SEQUENCE_END:
                if not stack:
                    return at - 8, at
                coding = stack.pop()
                continue
            if tag != _ITEM:
                raise BadHeader("a sequence that holds something else than items")
            inner = window.coding_of_item(at, coding) if length == UNDEFINED else coding
        else:
            tag, vr, at, length = window.element(at, coding)
            if tag == _ITEM_END:
                coding = stack.pop()
                continue
            inner = IMPLICIT if vr == b"UN" else coding
        if length != UNDEFINED:
            at += length
        elif len(stack) >= 2 * _DEEPEST:
            raise BadHeader(f"sequences nested deeper than {_DEEPEST}")
        else:
            stack.append(coding)
            coding = inner
