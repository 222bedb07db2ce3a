"""Zip archives of DICOM files: their members, checked against the archive before any is inflated.

Nothing is unpacked to the disk. Source of the format: PKWARE's APPNOTE, sections 4.3.7 and 4.4.
"""

from __future__ import annotations

import struct
import zipfile
from pathlib import Path
from typing import BinaryIO, cast

from medseg.errors import InputRefused
from medseg.io.dicom.objects import Source
from medseg.io.dicom.sources import ZipMember

_MARK = b"PK\x03\x04"
_LOCAL = struct.Struct("<4s22xHH")
# Every member has 46 bytes or more in the central directory.
_LARGEST_DIRECTORY = 1 << 24
# Scans shrink two- to fourfold, masks of them up to a hundredfold.
_LARGEST_RATIO = 100
_LARGEST_SURPLUS = 1 << 28


def is_archive(path: Path) -> bool:
    """Whether a file begins like a zip archive."""
    with path.open("rb") as file:
        return file.read(4) == _MARK


def members(path: Path) -> list[Source]:
    """The files in an archive by name, hidden ones left out.

    Raises
    ------
    InputRefused
        ``corrupt`` where the archive contradicts itself, ``too-large`` where it declares more than scans
        ever shrink, ``unsupported-encoding`` where it is encrypted or compressed by another method than
        deflate.
    """
    try:
        with path.open("rb") as file, zipfile.ZipFile(cast(BinaryIO, _Bounded(file))) as archive:
            entries = sorted(archive.infolist(), key=lambda entry: entry.header_offset)
            return _checked(path, file, [entry for entry in entries if not entry.filename.endswith("/")])
    except (
        zipfile.BadZipFile,
        struct.error,
        NotImplementedError,
        EOFError,
        ValueError,
        OverflowError,
    ) as error:
        if isinstance(error, InputRefused):
            raise
        raise _refused(path, "its list of members cannot be read", "corrupt") from None


class _Bounded:
    """A file that does not hand out more at once than a list of members may have."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.seek, self.tell, self.close = file.seek, file.tell, lambda: None
        self.seekable, self.readable = file.seekable, file.readable

    def read(self, count: int = -1) -> bytes:
        if count > _LARGEST_DIRECTORY:
            raise zipfile.BadZipFile
        # Without a count zipfile asks for the end of the archive, which is short.
        return self._file.read(count if count >= 0 else _LARGEST_DIRECTORY)


def _checked(path: Path, file: BinaryIO, entries: list[zipfile.ZipInfo]) -> list[Source]:
    size = path.stat().st_size
    declared = sum(entry.file_size for entry in entries)
    if declared > _LARGEST_SURPLUS + _LARGEST_RATIO * size:
        raise _refused(path, f"{size} bytes that declare to be {declared}", "too-large")
    sources: dict[str, Source] = {}
    end = 0
    for number, entry in enumerate(entries, 1):
        if entry.header_offset < end:
            raise _refused(path, "members that share their bytes", "corrupt")
        start = _start(path, file, entry)
        end = start + entry.compress_size
        if end > size:
            raise _refused(path, "a member reaches past its end", "truncated")
        last = entry.filename.replace("\\", "/").rpartition("/")[2]
        if not last.startswith("."):
            sources[entry.filename] = _member(path, entry, number, start)
    return [sources[name] for name in sorted(sources)]


def _start(path: Path, file: BinaryIO, entry: zipfile.ZipInfo) -> int:
    """Where a member's bytes begin: after a header of its own."""
    file.seek(entry.header_offset)
    mark, name_length, extra_length = _LOCAL.unpack(file.read(_LOCAL.size))
    if mark != _MARK:
        raise _refused(path, "a member is not where it is listed", "corrupt")
    return entry.header_offset + _LOCAL.size + int(name_length) + int(extra_length)


def _member(path: Path, entry: zipfile.ZipInfo, number: int, start: int) -> ZipMember:
    if entry.flag_bits & 0x41:
        raise _refused(path, "it is encrypted; unpack it with its password", "unsupported-encoding")
    if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise _refused(
            path, f"compression method {entry.compress_type}, expected deflate", "unsupported-encoding"
        )
    if entry.compress_type == zipfile.ZIP_STORED and entry.compress_size != entry.file_size:
        raise _refused(path, "a stored member of two sizes", "corrupt")
    return ZipMember(
        path=path,
        member=entry.filename,
        number=number,
        size=entry.file_size,
        start=start,
        stored_size=entry.compress_size,
        deflated=entry.compress_type == zipfile.ZIP_DEFLATED,
        checksum=entry.CRC,
    )


def _refused(path: Path, problem: str, code: str) -> InputRefused:
    return InputRefused(
        f"{path.name}: {problem}. Unpack the archive and give the folder, or copy it again",
        code=code,
        path=path,
    )
