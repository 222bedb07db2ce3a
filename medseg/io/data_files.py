"""Voxels that a text header (NRRD, MetaImage) describes: where they are and how they are written.

They follow the header, or lie in one data file or several; as bytes, compressed bytes, or text.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from medseg.io.refusals import HeaderFault, refused
from medseg.io.streams import ByteStream
from medseg.io.time_series import native

Encoding = Literal["none", "gzip", "zlib", "bzip2", "hex", "text"]

_LARGEST_LIST = 1 << 20
_BLOCK = 1 << 20
_LONGEST_WORD = 64
# Of what has to be unpacked or parsed to be passed over; in raw bytes it takes no time.
_LARGEST_SKIP = 1 << 28
_PATTERN = re.compile(r"([^%]*)%(0?[0-9]{0,2})[diu]([^%]*)")
_SPACE = b" \t\r\n\v\f"


@dataclass(frozen=True, slots=True)
class DataFiles:
    """The files that hold the voxels, each an equal share of them, in order; all are read alike.

    Parameters
    ----------
    paths
        One or more.
    encoding
        How each is written.
    offset
        Where to begin in each, in bytes.
    line_skip
        Lines to pass over from there, before anything is decompressed.
    byte_skip
        Bytes to pass over then, after decompression; -1 means that the voxels are the end of the file.
    """

    paths: tuple[Path, ...]
    encoding: Encoding
    offset: int = 0
    line_skip: int = 0
    byte_skip: int = 0


def read_data_files(files: DataFiles, count: int, number: np.dtype[Any]) -> NDArray[Any]:
    """``count`` numbers in native byte order.

    Raises
    ------
    InputRefused
        ``truncated``, ``size-mismatch``, ``corrupt``, ``too-large``.
    HeaderFault
        If the files cannot hold equal shares, or the numbers to pass over make no sense.
    """
    if count % len(files.paths):
        raise HeaderFault(f"{count} numbers do not divide among {len(files.paths)} data files")
    if files.byte_skip < -1 or files.line_skip < 0:
        raise HeaderFault(f"{files.line_skip} lines and {files.byte_skip} bytes to pass over make no sense")
    if files.encoding != "none" and files.byte_skip > _LARGEST_SKIP:
        text = f"{files.byte_skip} bytes to pass over in voxels that are not raw"
        raise HeaderFault(f"{text}, expected at most {_LARGEST_SKIP}")
    share = count // len(files.paths)
    if len(files.paths) == 1:
        return _read_file(files, files.paths[0], share, number)
    for path in files.paths:
        _check_size(files, path, share, number)
    whole = np.empty(count, number.newbyteorder("="))
    for n, path in enumerate(files.paths):
        whole[n * share : (n + 1) * share] = _read_file(files, path, share, number)
    return whole


def listed(path: Path, value: str, names: Sequence[str], sizes: Sequence[int]) -> tuple[Path, ...] | None:
    """The data files that a header lists; None where it names just one.

    Parameters
    ----------
    path
        The header.
    value
        ``LIST``, or a pattern with the first number, the last and the step; then, if not one less than the
        whole array has, the number of dimensions that each file holds (``2``; MetaImage writes ``2D``).
    names
        The lines after a LIST.
    sizes
        Of the whole array, the fastest first.
    """
    words = value.split()
    pattern = _PATTERN.fullmatch(words[0]) if len(words) in (4, 5) else None
    if words[:1] == ["LIST"]:
        told = words[1:]
    elif pattern is not None and all(re.fullmatch(r"-?[0-9]{1,9}", word) for word in words[1:4]):
        names, told = _numbered(pattern, *map(int, words[1:4])), words[4:]
    else:
        return None
    if len(told) > 1 or (told and not re.fullmatch(r"[0-9][dD]?", told[0])):
        raise HeaderFault("the list of data files is not understood")
    each = int(told[0][0]) if told else len(sizes) - 1
    count = len(names)
    whole = each == len(sizes) and count > 0 and sizes[-1] % count == 0
    if not whole and not (1 <= each < len(sizes) and count == math.prod(sizes[each:])):
        raise HeaderFault(f"{count} data files of {each} dimensions do not make an array of {tuple(sizes)}")
    return tuple(beside(path, name) for name in names)


def _numbered(pattern: re.Match[str], first: int, last: int, step: int) -> list[str]:
    if step == 0 or not 0 <= (last - first) // step < _LARGEST_LIST:
        raise HeaderFault("the numbers of the data files make no sense")
    numbers = range(first, last + (1 if step > 0 else -1), step)
    return [f"{pattern[1]}{n:{pattern[2]}d}{pattern[3]}" for n in numbers]


def beside(path: Path, name: str) -> Path:
    """The data file that a header names: it has to be in the header's own folder or below it."""
    inside = ".." not in Path(name).parts and not Path(name).is_absolute() and "\0" not in name
    if not inside or not (path.parent / name).resolve().is_relative_to(path.parent.resolve()):
        raise refused(path, "bad-header", "the header names a data file outside its own folder")
    if not (path.parent / name).is_file():
        raise refused(path, "truncated", "a data file that its header names is not there")
    return path.parent / name


def lines_after(path: Path, position: int) -> list[str]:
    """The lines that are not empty from a position to the end of the file (names of data files)."""
    with path.open("rb") as file:
        file.seek(position)
        rest = file.read(_LARGEST_LIST + 1)
    if len(rest) > _LARGEST_LIST:
        raise refused(path, "bad-header", "the list of data files does not end")
    return [line.strip() for line in rest.decode("utf-8", errors="replace").splitlines() if line.strip()]


def _check_size(files: DataFiles, path: Path, share: int, number: np.dtype[Any]) -> None:
    with ByteStream(path, compression=_compression(files.encoding)) as stream:
        stream.require(_least_bytes(files.encoding, share, number))


def _compression(encoding: Encoding) -> Literal["none", "gzip", "zlib", "bzip2"]:
    return encoding if encoding in ("gzip", "zlib", "bzip2") else "none"


def _least_bytes(encoding: Encoding, count: int, number: np.dtype[Any]) -> int:
    if encoding == "text":
        return 2 * count - 1
    return count * number.itemsize * (2 if encoding == "hex" else 1)


def _read_file(files: DataFiles, path: Path, count: int, number: np.dtype[Any]) -> NDArray[Any]:
    offset = _after_lines(path, files.offset, files.line_skip)
    least = _least_bytes(files.encoding, count, number)
    if files.byte_skip == -1:
        if files.encoding != "none":
            raise HeaderFault("the voxels are said to end the file, which holds for raw bytes only")
        offset = max(offset, path.stat().st_size - least)
    with ByteStream(path, offset=offset, compression=_compression(files.encoding)) as stream:
        stream.skip(max(0, files.byte_skip))
        stream.require(least)
        if files.encoding == "text":
            return _text_numbers(stream, count, number)
        if files.encoding == "hex":
            return native(_hex_bytes(stream, count * number.itemsize).view(number))
        flat = stream.read_array(count, number)
        stream.finish()
    return native(flat)


def _after_lines(path: Path, offset: int, lines: int) -> int:
    if lines == 0:
        return offset
    with path.open("rb") as file:
        file.seek(offset)
        for _ in range(lines):
            if not file.readline(_BLOCK).endswith(b"\n"):
                raise refused(path, "truncated", f"the header passes over {lines} lines, the file has fewer")
        return file.tell()


def _text_numbers(stream: ByteStream, count: int, number: np.dtype[Any]) -> NDArray[Any]:
    """Numbers written as words parted by white space; as many as declared and no more."""
    result = np.empty(count, number.newbyteorder("="))
    allowed = b"+-0123456789" + (b".eEnaifNAIF" if number.kind == "f" else b"")
    parse = float if number.kind == "f" else int
    filled, pending = 0, b""
    while block := stream.read(_BLOCK):
        pending += block
        end = len(pending.rstrip(allowed))  # the last word may go on in the next block
        if len(pending) - end > _LONGEST_WORD or pending[:end].translate(None, allowed + _SPACE):
            raise _not_numbers(stream.path, number)
        filled = _parse_words(stream.path, pending[:end].split(), parse, result, filled)
        pending = pending[end:]
    filled = _parse_words(stream.path, pending.split(), parse, result, filled)
    if filled < count:
        raise refused(
            stream.path, "truncated", f"the header asks for {count} numbers, the file holds {filled}"
        )
    return result


def _parse_words(path: Path, words: list[bytes], parse: Any, result: NDArray[Any], filled: int) -> int:
    if filled + len(words) > result.size:
        raise refused(path, "size-mismatch", f"there are more numbers than the {result.size} of the header")
    if words and max(map(len, words)) > _LONGEST_WORD:
        raise _not_numbers(path, result.dtype)
    try:
        with np.errstate(over="ignore"):  # what becomes infinite is refused with the voxels
            result[filled : filled + len(words)] = np.array([parse(word) for word in words], result.dtype)
    except (ValueError, OverflowError):
        raise _not_numbers(path, result.dtype) from None
    return filled + len(words)


def _not_numbers(path: Path, number: np.dtype[Any]) -> Exception:
    return refused(path, "corrupt", f"its voxels should be text, numbers of type {number.name}, and are not")


def _hex_bytes(stream: ByteStream, size: int) -> NDArray[np.uint8]:
    """Bytes written as two digits each; white space does not count."""
    result = np.empty(size, np.uint8)
    filled, pending = 0, b""
    while block := stream.read(_BLOCK):
        pending += block.translate(None, _SPACE)
        even = len(pending) // 2 * 2
        try:
            found = np.frombuffer(bytes.fromhex(pending[:even].decode("ascii")), np.uint8)
        except ValueError:
            raise refused(
                stream.path, "corrupt", "its voxels should be hexadecimal digits, and are not"
            ) from None
        if filled + found.size > size:
            raise refused(stream.path, "size-mismatch", f"there are more digits than {size} bytes need")
        result[filled : filled + found.size] = found
        filled, pending = filled + found.size, pending[even:]
    if filled < size or pending:
        raise refused(stream.path, "truncated", f"the header asks for {size} bytes, the file holds {filled}")
    return result
