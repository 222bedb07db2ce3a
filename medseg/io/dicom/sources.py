"""Where the bytes of a DICOM object come from: a file, a member of a zip archive, a deflated data set.

Nothing is unpacked to the disk, and no read returns more than it was asked for.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from medseg.errors import InputRefused
from medseg.io.dicom.objects import BadHeader, Source

_BLOCK = 1 << 16
# What a deflated data set may grow to. Scans shrink two- to fourfold, masks of them up to a hundredfold;
# what shrinks further than that is small, or made to fill a memory.
_LARGEST_INFLATED = 1 << 28
_LARGEST_RATIO = 100


@dataclass(frozen=True, slots=True)
class FileSource:
    """A file on the disk. ``size`` is the file's own at the time it was found."""

    path: Path
    size: int

    @classmethod
    def of(cls, path: Path) -> FileSource:
        """The source of a file as it is now."""
        return cls(path, path.stat().st_size)

    @property
    def name(self) -> str:
        """The file's name."""
        return self.path.name

    def read(self, start: int, count: int) -> bytes:
        """Up to ``count`` bytes from ``start`` on; fewer only at the end."""
        with self.path.open("rb", buffering=0) as file:
            if start:
                file.seek(start)
            return _read_fully(file.read, count)


@dataclass(frozen=True, slots=True)
class ZipMember:
    """A member of a zip archive, stored or deflated, at a place that `archives` has checked.

    Parameters
    ----------
    path
        The archive.
    member, number
        The member's name in the archive, and which one it is, in the order of the archive, from 1.
    size
        Its size as the archive declares it; never more is inflated.
    start, stored_size
        Where its stored bytes begin in the archive, and how many there are.
    deflated
        Whether these are a deflate stream.
    checksum
        CRC-32 of the member.
    """

    path: Path
    member: str
    number: int
    size: int
    start: int
    stored_size: int
    deflated: bool
    checksum: int = field(repr=False)

    @property
    def name(self) -> str:
        """``archive.zip, member 2``: names within archives may be those of patients."""
        return f"{self.path.name}, member {self.number}"

    def read(self, start: int, count: int) -> bytes:
        """Up to ``count`` bytes from ``start`` on.

        Raises
        ------
        InputRefused
            ``corrupt`` where the member has been read to its end and its checksum does not fit.
        """
        count = max(0, min(count, self.size - start))
        if self.deflated:
            found, checksum = _inflate(self._stored, start, count)
        else:
            found = FileSource(self.path, 0).read(self.start + start, count)
            checksum = self._stored_checksum() if start + len(found) == self.size else 0
        if start + len(found) == self.size and checksum != self.checksum:
            raise InputRefused(
                f"{self.name}: its checksum does not fit, so the archive is damaged; copy it again",
                code="corrupt",
                path=self.path,
            )
        return found

    def _stored_checksum(self) -> int:
        checksum = 0
        for at in range(0, self.stored_size, _BLOCK):
            checksum = zlib.crc32(self._stored(at, _BLOCK), checksum)
        return checksum

    def _stored(self, at: int, count: int) -> bytes:
        return FileSource(self.path, 0).read(self.start + at, max(0, min(count, self.stored_size - at)))


@dataclass(frozen=True, slots=True)
class Inflated:
    """The data set of an object with the deflated transfer syntax, inflated; offsets count in it."""

    stored: Source
    start: int
    size: int

    @property
    def path(self) -> Path:
        """The file on the disk."""
        return self.stored.path

    @property
    def name(self) -> str:
        """The name of the stored object."""
        return self.stored.name

    def read(self, start: int, count: int) -> bytes:
        """Up to ``count`` inflated bytes."""
        return _inflate(self._block, start, max(0, min(count, self.size - start)))[0]

    def _block(self, at: int, count: int) -> bytes:
        return self.stored.read(self.start + at, count)


def inflated(stored: Source, start: int) -> Inflated:
    """The data set that is deflated from ``start`` on.

    The size is found by inflating the stream once to its end, block by block, without keeping it.

    Raises
    ------
    BadHeader
        ``too-large`` where it would grow beyond all use, ``corrupt`` where it is damaged or has no end.
    """
    limit = max(_LARGEST_INFLATED, _LARGEST_RATIO * stored.size)
    whole = Inflated(stored, start, limit + 1)
    size = 0
    try:
        for piece in _pieces(whole._block):
            size += len(piece)
            if size > limit:
                raise BadHeader("its deflated data set inflates beyond all use", "too-large")
    except zlib.error:
        raise BadHeader("its deflated data set is damaged or incomplete", "corrupt") from None
    return Inflated(stored, start, size)


def _pieces(stored: Callable[[int, int], bytes]) -> Iterator[bytes]:
    """A raw deflate stream's content in pieces of bounded size; `zlib.error` where it is damaged or cut."""
    stream = zlib.decompressobj(-zlib.MAX_WBITS)
    at = 0
    while not stream.eof:
        pending = stream.unconsumed_tail
        if not pending:
            pending = stored(at, _BLOCK)
            at += len(pending)
        piece = stream.decompress(pending, _BLOCK)
        if not piece and not pending and not stream.eof:
            raise zlib.error("the stream has no end")
        yield piece


def _inflate(stored: Callable[[int, int], bytes], start: int, count: int) -> tuple[bytes, int]:
    """Bytes [start, start + count) of a raw deflate stream, and the CRC-32 of everything up to there.

    A damaged stream ends where the damage is.
    """
    found = bytearray()
    at, check = 0, 0
    try:
        for piece in _pieces(stored):
            if at + len(piece) >= start + count:
                piece = piece[: start + count - at]
            check = zlib.crc32(piece, check)
            found += piece[max(0, start - at) :]
            at += len(piece)
            if at == start + count:
                break
    except zlib.error:
        pass  # what is missing is found by who needs it
    return bytes(found), check


def _read_fully(read: Callable[[int], bytes | None], count: int) -> bytes:
    """``count`` bytes of an unbuffered file; fewer only at its end."""
    found = read(count) or b""
    if len(found) == count or not found:
        return found
    blocks = [found]
    missing = count - len(found)
    while missing and (block := read(missing)):
        blocks.append(block)
        missing -= len(block)
    return b"".join(blocks)
