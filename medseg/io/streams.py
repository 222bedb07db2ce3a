"""Bounded reading of bytes from plain, gzip and zlib files.

A reader asks for exactly as many bytes as the header declares. What is missing, what follows and what
fails its checksum is refused, so that no array is built from a damaged file, and memory is bounded by
the header, which is checked against the file's size before anything is allocated.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self, cast

import numpy as np
from numpy.typing import NDArray

from medseg.errors import InputRefused

_BLOCK = 1 << 20
# Deflate cannot shrink data more than 1032-fold, so a header that asks for more lies.
_LARGEST_RATIO = 1040
# Some writers pad files to whole disk or tape blocks.
_PADDING_ALLOWED = 4096
_LARGEST_TEXT_HEADER = 1 << 20


class ByteStream:
    """The bytes of a file from ``offset`` on, decompressed where need be, read once from front to back.

    Parameters
    ----------
    path
        The file.
    offset
        Where to begin in the file (before decompression).
    compression
        ``"auto"`` looks for gzip's mark; ``"none"``, ``"gzip"``, ``"zlib"`` are taken at their word.
    """

    def __init__(self, path: Path, *, offset: int = 0, compression: str = "auto") -> None:
        self.path = path
        self._raw = path.open("rb")
        self._raw.seek(offset)
        self._available = path.stat().st_size - offset
        if compression == "auto":
            compression = "gzip" if self._peek(2) == b"\x1f\x8b" else "none"
        self.compressed = compression != "none"
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

    def read(self, count: int) -> bytes:
        """Up to ``count`` bytes; fewer only at the end of the stream."""
        return bytes(self._fill(np.empty(count, np.uint8)))

    def unread(self, block: bytes) -> None:
        """Put bytes back: they are read again before anything else."""
        self._returned = block + self._returned

    def read_array(self, count: int, dtype: np.dtype[Any], what: str = "voxels") -> NDArray[Any]:
        """Exactly ``count`` numbers of ``dtype``, or a refusal (code ``truncated``)."""
        size = count * dtype.itemsize
        largest = self._available * (_LARGEST_RATIO if self.compressed else 1)
        if size > largest:
            raise self._truncated(size, f"at most {largest}", what)
        buffer = np.empty(size, np.uint8)
        found = self._fill(buffer).size
        if found < size:
            raise self._truncated(size, str(found), what)
        return buffer.view(dtype)

    def skip(self, count: int) -> None:
        """Pass over ``count`` bytes."""
        while count > 0:
            passed = len(self.read(min(count, _BLOCK)))
            if passed == 0:
                raise self._truncated(count, "0", "bytes before the voxels")
            count -= passed

    def finish(self) -> None:
        """Read to the end, so that the checksum is verified; refuse data that the header does not know."""
        surplus = len(self.read(_PADDING_ALLOWED + 1))
        if surplus > _PADDING_ALLOWED:
            raise InputRefused(
                f"{self.path.name}: there are data after the voxels that the header declares. "
                "The header does not describe this file; write it again with the program it came from",
                code="size-mismatch",
                path=self.path,
            )

    def _fill(self, buffer: NDArray[np.uint8]) -> NDArray[np.uint8]:
        view = buffer.data
        filled = min(len(view), len(self._returned))
        view[:filled] = self._returned[:filled]
        self._returned = self._returned[filled:]
        while filled < len(view):
            try:
                count = self._stream.readinto(view[filled : filled + _BLOCK])  # type: ignore[attr-defined]
            except EOFError:
                raise InputRefused(
                    f"{self.path.name}: the compressed stream ends early; copy or download the file again",
                    code="truncated",
                    path=self.path,
                ) from None
            except (zlib.error, OSError) as error:
                if isinstance(error, OSError) and error.errno is not None:
                    raise
                raise InputRefused(
                    f"{self.path.name}: the compressed stream is damaged ({error}); "
                    "copy or download the file again",
                    code="corrupt",
                    path=self.path,
                ) from None
            if not count:
                break
            filled += count
        return buffer[:filled]

    def _truncated(self, expected: int, found: str, what: str) -> InputRefused:
        return InputRefused(
            f"{self.path.name}: the header asks for {expected} bytes of {what}, the file holds {found}. "
            "Copy or download it again",
            code="truncated",
            path=self.path,
        )


def _decompressor(raw: BinaryIO, compression: str) -> BinaryIO:
    if compression == "gzip":
        import gzip

        return cast(BinaryIO, gzip.GzipFile(fileobj=raw, mode="rb"))
    if compression == "zlib":
        return cast(BinaryIO, _ZlibReader(raw))
    return raw


class _ZlibReader:
    """A zlib stream (MetaImage) as a file; its checksum is verified at its end."""

    def __init__(self, raw: BinaryIO) -> None:
        self._raw = raw
        self._inflate = zlib.decompressobj()

    def readinto(self, view: memoryview) -> int:
        while not self._inflate.eof:
            pending = self._inflate.unconsumed_tail or self._raw.read(_BLOCK)
            if not pending:
                raise EOFError
            block = self._inflate.decompress(pending, len(view))
            if block:
                view[: len(block)] = block
                return len(block)
        return 0


def read_text_header(path: Path, is_last: Callable[[str], bool]) -> tuple[str, int]:
    """The lines of a text header up to the one that ends it, and the position of the byte after it.

    Raises
    ------
    InputRefused
        ``bad-header`` if no such line comes within a megabyte.
    """
    lines: list[str] = []
    with path.open("rb") as file:
        while file.tell() < _LARGEST_TEXT_HEADER:
            line = file.readline(_LARGEST_TEXT_HEADER)
            text = line.rstrip(b"\r\n").decode("utf-8", errors="replace")
            if not line and lines and is_last(""):
                return "\n".join(lines), file.tell()  # a detached header may end with the file
            if not line:
                break
            lines.append(text)
            if is_last(text):
                return "\n".join(lines), file.tell()
    raise InputRefused(f"{path.name}: the header does not end", code="bad-header", path=path)
