"""Where the frames of an encapsulated object lie: its items, walked without decoding anything.

Encapsulated PixelData is a sequence of items (PS3.5 A.4): first a table of offsets, which may be empty, then
fragments. A frame is one fragment or several.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass

from medseg.io.dicom.codestream import CODECS, FIRST_BYTES, BadPixels
from medseg.io.dicom.objects import Source, StoredImage

_ITEM, _DELIMITER = b"\xfe\xff\x00\xe0", b"\xfe\xff\xdd\xe0"
_BLOCK = 1 << 16
_FIRST_STEP = 64
# Enough for thousands of frames, or for large ones in small pieces; more only fills memory.
_MOST_FRAGMENTS = 1 << 17


@dataclass(frozen=True, slots=True)
class Fragment:
    """One item: where its value begins, and how many bytes it has."""

    start: int
    length: int


class Stream:
    """The fragments of one frame as one stream of bytes, read where asked.

    A block is kept, so that a header is read from the disk once.
    """

    def __init__(self, source: Source, fragments: Sequence[Fragment]) -> None:
        self._source = source
        self._fragments = fragments
        self.size = sum(f.length for f in fragments)
        self._block_at, self._block = 0, b""

    def read(self, start: int, count: int) -> bytes:
        """Up to ``count`` bytes from ``start`` on; fewer only at the end."""
        count = max(0, min(count, self.size - start))
        if count > _BLOCK:
            return self._fetch(start, count)
        at = start - self._block_at
        if at < 0 or at + count > len(self._block):
            self._block_at, self._block, at = start, self._fetch(start, min(4096, self.size - start)), 0
            if count > len(self._block):
                return self._fetch(start, count)
        return self._block[at : at + count]

    def _fetch(self, start: int, count: int) -> bytes:
        parts = []
        for fragment in self._fragments:
            if start < fragment.length and count > 0:
                parts.append(self._source.read(fragment.start + start, min(count, fragment.length - start)))
                count -= min(count, fragment.length - start)
                start = fragment.length
            start -= fragment.length
        found = b"".join(parts)
        if count > 0:
            raise BadPixels("the compressed pixels end early", "truncated")
        return found


def streams(image: StoredImage, source: Source) -> tuple[Stream, ...]:
    """The compressed stream of every frame of an encapsulated object, in order, read from ``source``.

    Raises
    ------
    BadPixels
        ``truncated`` where items or frames are missing, ``undecodable`` where they contradict each other.
    """
    offsets, fragments = _items(image, source)
    return tuple(Stream(source, group) for group in _by_frame(image, source, offsets, fragments))


def _items(image: StoredImage, source: Source) -> tuple[list[int], list[Fragment]]:
    """The table of offsets, and the fragments after it."""
    assert image.pixels_at is not None
    walk = _Walk(source, image.pixels_at)
    table = walk.next()
    if table is None:
        raise BadPixels("no fragments in the pixel data", "truncated")
    if table.length % 4 or table.length > 4 * min(image.frames, _MOST_FRAGMENTS):
        raise BadPixels("the table of offsets does not fit the number of frames")
    offsets = struct.unpack(f"<{table.length // 4}I", source.read(table.start, table.length))
    fragments: list[Fragment] = []
    while (item := walk.next()) is not None:
        fragments.append(item)
        if len(fragments) > _MOST_FRAGMENTS:
            raise BadPixels(f"more than {_MOST_FRAGMENTS} fragments of compressed pixels", "too-large")
    return list(offsets), fragments


class _Walk:
    """One item after the other. Where they are small, more and more are read at once."""

    def __init__(self, source: Source, at: int) -> None:
        self._source, self._at = source, at
        self._block_at, self._block, self._step = at, b"", _FIRST_STEP // 4

    def next(self) -> Fragment | None:
        """The next item, or None where the sequence ends."""
        head = self._head()
        if head[:4] == _DELIMITER or not head:  # some writers end with the file
            return None
        if len(head) == 8 and head[:4] != _ITEM:
            raise BadPixels("no item stands where the next fragment should begin")
        found = Fragment(self._at + 8, int.from_bytes(head[4:], "little"))
        self._at = found.start + found.length
        if len(head) < 8 or self._at > self._source.size:
            raise BadPixels("the file ends within its pixel data", "truncated")
        return found

    def _head(self) -> bytes:
        skipped = self._at - self._block_at
        if skipped + 8 > len(self._block):
            self._step = min(4 * self._step, _BLOCK) if skipped < 2 * self._step else _FIRST_STEP
            self._block_at, self._block, skipped = self._at, self._source.read(self._at, self._step), 0
        return self._block[skipped : skipped + 8]


def _by_frame(
    image: StoredImage, source: Source, offsets: list[int], fragments: list[Fragment]
) -> list[list[Fragment]]:
    """Which fragments make up which frame."""
    if image.frames == 1 and fragments:
        return [fragments]
    if len(fragments) == image.frames:
        return [[fragment] for fragment in fragments]
    if len(fragments) < image.frames:
        raise BadPixels(
            f"{len(fragments)} fragments of compressed pixels, expected {image.frames} frames", "truncated"
        )
    if len(offsets) == image.frames:
        begins = {fragments[0].start + offset for offset in offsets}
    else:
        mark = FIRST_BYTES.get(CODECS.get(image.transfer_syntax, ""), b"")
        begins = {f.start for f in fragments if mark and source.read(f.start, 2) == mark}
    groups: list[list[Fragment]] = []
    for fragment in fragments:
        if fragment.start in begins:
            groups.append([])
        if not groups:
            break
        groups[-1].append(fragment)
    if len(groups) != image.frames:
        raise BadPixels(f"{len(fragments)} fragments cannot be told apart into {image.frames} frames")
    return groups
