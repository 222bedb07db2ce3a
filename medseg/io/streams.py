"""Bounded reading of bytes from plain, gzip, zlib and bzip2 files.

A reader asks for exactly as many bytes as the header declares. What is missing, what follows and what
fails its checksum is refused, so that no array is built from a damaged file, and memory is bounded by
the header, which is checked against the file's size before anything is allocated.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Literal, Protocol, Self, cast

import numpy as np
from numpy.typing import NDArray

from medseg.io.refusals import refused

Compression = Literal["auto", "none", "gzip", "zlib", "bzip2"]

_BLOCK = 1 << 20
_CHUNK = 1 << 14  # small, as what follows the end of a gzip member is copied
# Deflate cannot shrink data more than 1032-fold, so a header that asks for more lies.
_LARGEST_RATIO = 1040
# Scans shrink a few times, label maps a few hundred times. What asks for a lot of memory and is shrunk
# more is the mark of a decompression bomb.
BOMB_RATIO = 200
_BOMB_SIZE = 1 << 29
# Some writers pad files to whole disk or tape blocks.
PADDING_ALLOWED = 4096
PADDING = b"\0 \t\r\n\x1a"
_CURE = "copy or download the file again"
_GZIP_MARK, _BZIP2_MARK = b"\x1f\x8b", b"BZh"
_own_writing: ContextVar[bool] = ContextVar("own_writing", default=False)


@contextmanager
def own_writing() -> Iterator[None]:
    """While reading back what medseg has just written, strong compression is no sign of a bomb."""
    token = _own_writing.set(True)
    try:
        yield
    finally:
        _own_writing.reset(token)


class ByteStream:
    """The bytes of a file from ``offset`` on, decompressed where need be, read once from front to back.

    Parameters
    ----------
    path
        The file.
    offset
        Where to begin in the file (before decompression).
    compression
        ``"auto"`` looks for gzip's mark; the others are taken at their word.
    """

    def __init__(self, path: Path, *, offset: int = 0, compression: Compression = "auto") -> None:
        self.path = path
        self._raw = path.open("rb")
        self._raw.seek(offset)
        self._available = path.stat().st_size - offset
        if compression == "auto":
            compression = "gzip" if self._peek(2) == _GZIP_MARK else "none"
        self.compressed = compression != "none"
        self._largest_ratio = {"none": 1, "bzip2": None}.get(compression, _LARGEST_RATIO)
        self._stream = _decompressor(self._raw, compression)
        self._returned = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._raw.close()

    def _peek(self, count: int) -> bytes:
        start = self._raw.tell()
        found = self._raw.read(count)
        self._raw.seek(start)
        return found

    def require(self, size: int, what: str = "voxels") -> None:
        """Refuse before anything is read where ``size`` bytes cannot be there, or would be a bomb.

        Raises
        ------
        InputRefused
            ``truncated``, or ``too-large`` for what no memory holds and what is compressed as only
            bombs are.
        """
        if self._largest_ratio is not None and size > self._available * self._largest_ratio:
            raise self._truncated(size, f"at most {self._available * self._largest_ratio}", what)
        memory = _physical_memory()
        if memory is not None and size > memory:
            raise refused(
                self.path, "too-large", f"{size} bytes of {what}, this computer has {memory} of memory"
            )
        largest = max(_BOMB_SIZE, BOMB_RATIO * self._available)
        if self.compressed and size > largest and not _own_writing.get():
            raise refused(
                self.path,
                "too-large",
                f"{self._available} bytes that unpack to {size} are the mark of a decompression bomb. "
                "If you trust the file, unpack it first",
            )

    def read(self, count: int) -> bytes:
        """Up to ``count`` bytes; fewer only at the end of the stream."""
        return bytes(self._fill(np.empty(count, np.uint8)))

    def unread(self, block: bytes) -> None:
        """Put bytes back: they are read again before anything else."""
        self._returned = block + self._returned

    def read_array(self, count: int, dtype: np.dtype[Any], what: str = "voxels") -> NDArray[Any]:
        """Exactly ``count`` numbers of ``dtype``, or a refusal (codes of `require`)."""
        size = count * dtype.itemsize
        self.require(size, what)
        buffer = np.empty(size, np.uint8)
        found = self._fill(buffer).size
        if found < size:
            raise self._truncated(size, str(found), what)
        return buffer.view(dtype)

    def skip(self, count: int) -> None:
        """Pass over ``count`` bytes."""
        if not self.compressed:
            self._seek(count)
            return
        while count > 0:
            passed = len(self.read(min(count, _BLOCK)))
            if passed == 0:
                raise self._truncated(count, "0", "bytes to pass over")
            count -= passed

    def _seek(self, count: int) -> None:
        put_back = min(count, len(self._returned))
        self._returned = self._returned[put_back:]
        left = os.fstat(self._raw.fileno()).st_size - self._raw.tell()
        if count - put_back > left:
            raise self._truncated(count, str(left + put_back), "bytes to pass over")
        self._raw.seek(count - put_back, os.SEEK_CUR)

    def finish(self, surplus: int = 0) -> None:
        """Read to the end, so that the checksum is verified; refuse data that the header does not know.

        Padding may follow (zeros, white space), or up to ``surplus`` bytes where a format allows them.
        """
        found, allowed = 0, max(surplus, PADDING_ALLOWED)
        while found <= allowed:
            block = self.read(min(_BLOCK, allowed + 1 - found))
            found += len(block)
            if not block:
                return
            if surplus == 0 and block.strip(PADDING):
                break
        raise refused(
            self.path,
            "size-mismatch",
            "there are data after the voxels that the header declares. The header does not describe "
            "this file; write it again with the program it came from",
        )

    def _fill(self, buffer: NDArray[np.uint8]) -> NDArray[np.uint8]:
        view = buffer.data
        filled = min(len(view), len(self._returned))
        view[:filled] = self._returned[:filled]
        self._returned = self._returned[filled:]
        while filled < len(view):
            try:
                count = self._stream.readinto(view[filled : filled + _BLOCK])
            except EOFError:
                raise refused(self.path, "truncated", f"the compressed stream ends early; {_CURE}") from None
            except _Damaged as fault:
                raise refused(self.path, "corrupt", f"the compressed stream {fault}; {_CURE}") from None
            if not count:
                break
            filled += count
        return buffer[:filled]

    def _truncated(self, expected: int, found: str, what: str) -> Exception:
        return refused(
            self.path,
            "truncated",
            f"the header asks for {expected} bytes of {what}, the file holds {found}. "
            "Copy or download it again",
        )


def _physical_memory() -> int | None:
    """Bytes of memory this computer has, or None where the system does not say."""
    if "SC_PHYS_PAGES" not in getattr(os, "sysconf_names", {}):
        return None
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


class _Readable(Protocol):
    def readinto(self, view: memoryview, /) -> int | None: ...


class _Damaged(Exception):
    """What is wrong with a compressed stream."""


def _decompressor(raw: BinaryIO, compression: str) -> _Readable:
    if compression == "gzip":
        return _Inflated(raw, lambda: zlib.decompressobj(wbits=31), _GZIP_MARK)
    if compression == "zlib":
        return _Inflated(raw, zlib.decompressobj, None)
    if compression == "bzip2":
        import bz2

        return _Inflated(raw, bz2.BZ2Decompressor, _BZIP2_MARK)
    return cast(_Readable, raw)


class _Inflated:
    """A compressed stream as a file. The library verifies the checksum at the end of every member.

    ``mark`` begins each further member; without one there is no other. Zeros may follow the last.
    """

    def __init__(self, raw: BinaryIO, fresh: Callable[[], Any], mark: bytes | None) -> None:
        self._raw = raw
        self._fresh = fresh
        self._mark = mark
        self._engine = fresh()
        self._pending = b""

    def readinto(self, view: memoryview) -> int:
        while True:
            if self._engine.eof and not self._next_member():
                return 0
            if not self._pending and getattr(self._engine, "needs_input", True):
                self._pending = self._raw.read(_CHUNK)
                if not self._pending:
                    raise EOFError
            try:
                block = self._engine.decompress(self._pending, len(view))
            except (zlib.error, OSError, ValueError):
                raise _Damaged("is damaged") from None
            rest = "unused_data" if self._engine.eof else "unconsumed_tail"
            self._pending = getattr(self._engine, rest, b"")
            if block:
                view[: len(block)] = block
                return len(block)

    def _next_member(self) -> bool:
        """Whether another member follows; only zeros may follow the last one."""
        while True:
            self._pending = self._pending.lstrip(b"\0") or self._raw.read(_CHUNK)
            if not self._pending:
                return False
            if self._pending[0] == 0:
                continue
            if len(self._pending) < 3:
                self._pending += self._raw.read(_CHUNK)
            if self._mark is None or not self._pending.startswith(self._mark):
                raise _Damaged("is followed by other bytes")
            self._engine = self._fresh()
            return True
