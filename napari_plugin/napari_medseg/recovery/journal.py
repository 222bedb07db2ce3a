"""The journal of a correction session: every edit, on the disk, in a file that is only appended to.

**Format 1.** The file begins with ``b"medseg journal 1\\n"``. Then come records, all numbers little-endian:

====== ============================================================================================
bytes  what
====== ============================================================================================
0-3    n, the length of the body
4-7    CRC-32 of bytes 0-3, carried on from the CRC-32 of the record before (of 0 for the first)
8-11   CRC-32 of the body, carried on from bytes 4-7
12-    the body, n bytes: its kind (one byte), seconds since 1970 (float64), and by its kind

       0  header: JSON, the fields of `SessionFacts.to_json`. The first record and no other
       1  edit: the step (uint32), the count N (uint64), the bytes per index w (4 or 8), then a zlib
          stream of N flat indices (uint, w bytes; the first as it is, each other as its distance
          from the one before), N old values and N new values in the header's dtype
       2  undo: the last step that stands was taken back
       3  redo: the step that was undone last was made again
       4  labels: JSON, the label set from here on
       5  saved: the offset in the file of the last edit that stood in what was saved (uint64), 0 for none
       6  scan: JSON, the fields of `KnownScan.to_json`. A scan that was chosen later
====== ============================================================================================

A flat index counts voxels of the array (i, j, k) along memory: in order ``"F"`` i runs fastest, in ``"C"`` k.
Edits of one step that follow each other are undone together. An edit after an undo ends what could be redone.

As checksums are carried on, a record that is missing, repeated or altered is found. A process that was killed
while it wrote leaves a part of the last record, a computer that lost its power perhaps zeros in its place:
such an end is dropped. Anything else that does not check is damage.
"""

from __future__ import annotations

import json
import os
import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from medseg import InputRefused
from medseg.errors import WriteFailed
from napari_medseg.recovery.differences import Difference

MAGIC = b"medseg journal 1\n"
HEADER, EDIT, UNDO, REDO, LABELS, SAVED, SCAN = range(7)

_HEAD = struct.Struct("<III")
_LENGTH = struct.Struct("<I")
_COMMON = struct.Struct("<Bd")
_EDIT = struct.Struct("<IQB")
_POSITION = struct.Struct("<Q")
_COMPRESSION_LEVEL = 1  # deltas of strokes are ones: more effort gains nothing


class Record(NamedTuple):
    """One record: where it begins, its kind, when it was written; an edit's step, a mark's saved position."""

    offset: int
    kind: int
    time: float
    step: int = 0
    saved: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class Contents:
    """What a journal holds.

    Parameters
    ----------
    header, labels
        The JSON of the header, and of the last label set that was written after it, if any.
    scans
        The JSON of each scan that was chosen later, in order.
    records
        All behind the header, in order.
    end, checksum
        Where the next record goes, and the checksum that it carries on.
    torn_bytes
        Of a last record that was not written whole.
    damage
        What is wrong with the record behind the last good one, None if the file is whole.
    """

    header: Mapping[str, Any]
    labels: Mapping[str, Any] | None
    scans: tuple[Mapping[str, Any], ...]
    records: tuple[Record, ...]
    end: int
    checksum: int
    torn_bytes: int
    damage: str | None


class Journal:
    """A journal that is open for writing at its end. Not for several threads at once.

    Parameters
    ----------
    path
        The file, which exists.
    end, checksum
        As `Contents` has them. What lies behind ``end`` is cut off.
    """

    def __init__(self, path: Path, end: int, checksum: int) -> None:
        self.path = path
        self._end = end
        self._checksum = checksum
        self._file = FileIO(path, "r+")  # unbuffered: nothing of a write that failed stays behind
        self._file.truncate(end)
        self._on_disk = True

    def append(self, body: bytes) -> int:
        """Write a record and return its offset. It is safe from SIGKILL, from a power cut after `flush`.

        Raises
        ------
        WriteFailed
            The disk is full, or gone. Nothing of the record stays; the next one takes its place.
        """
        head, checksum = _head(body, self._checksum)
        content = memoryview(head + body)
        offset = self._end
        try:
            self._file.seek(offset)
            self._file.truncate(offset)  # of a record that failed half way
            while content:
                content = content[self._file.write(content) :]
        except OSError as error:
            raise self._failed(error) from error
        self._end += _HEAD.size + len(body)
        self._checksum = checksum
        self._on_disk = False
        return offset

    def flush(self) -> None:
        """Wait until all records are on the disk; nothing to do if they are."""
        if self._on_disk:
            return
        try:
            os.fsync(self._file.fileno())
        except OSError as error:
            raise self._failed(error) from error
        self._on_disk = True

    def read_edit(self, offset: int, dtype: np.dtype[Any]) -> Difference:
        """The edit that begins at an offset."""
        self._file.seek(offset)
        return read_edit(self._file, offset, dtype)

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _failed(self, error: OSError) -> WriteFailed:
        return WriteFailed(
            f"{self.path}: edits cannot be kept on the disk: {error.strerror}. Make room there, or save the "
            "labels elsewhere; MEDSEG_SESSIONS names another folder for sessions to come"
        )


def new_journal(header: Mapping[str, Any], now: float) -> bytes:
    """The content of a journal that holds its header alone."""
    body = _COMMON.pack(HEADER, now) + _json(header)
    head, _ = _head(body, 0)
    return MAGIC + head + body


def edit_body(edit: Difference, step: int, now: float) -> bytes:
    """An edit as the body of a record."""
    deltas = np.diff(edit.indices, prepend=0)
    width = 4 if int(deltas.max()) < 1 << 32 else 8
    stream = deltas.astype(f"<u{width}").tobytes() + _little(edit.old) + _little(edit.new)
    packed = zlib.compress(stream, _COMPRESSION_LEVEL)
    return _COMMON.pack(EDIT, now) + _EDIT.pack(step, len(deltas), width) + packed


def mark_body(kind: int, now: float) -> bytes:
    """The body of an undo or a redo."""
    return _COMMON.pack(kind, now)


def labels_body(labels: Mapping[str, Any], now: float) -> bytes:
    """The body of a record of names."""
    return _COMMON.pack(LABELS, now) + _json(labels)


def scan_body(scan: Mapping[str, Any], now: float) -> bytes:
    """The body of a record of a scan."""
    return _COMMON.pack(SCAN, now) + _json(scan)


def saved_body(position: int, now: float) -> bytes:
    """The body of a mark that what stood at a position has been saved."""
    return _COMMON.pack(SAVED, now) + _POSITION.pack(position)


def read_journal(path: Path) -> Contents:
    """Check a whole journal and list its records; no voxels are kept.

    Raises
    ------
    InputRefused
        ``journal-damaged`` if not even its header can be read: nothing can be told of the session then.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        if file.read(len(MAGIC)) != MAGIC:
            raise damaged(path, "it does not begin as a journal of format 1 does")
        header: Mapping[str, Any] | None = None
        labels: Mapping[str, Any] | None = None
        scans: list[Mapping[str, Any]] = []
        records: list[Record] = []
        offset, checksum, damage, torn = len(MAGIC), 0, None, 0
        while offset < size:
            body, following, fault = _next_body(file, size - offset, checksum)
            if body is None:
                damage = None if fault is None else f"record {len(records) + 1}, at byte {offset}: {fault}"
                torn = size - offset if fault is None else 0
                break
            kind, time = _COMMON.unpack_from(body)
            rest = memoryview(body)[_COMMON.size :]
            if kind == HEADER:
                header = json.loads(bytes(rest))
            else:
                labels = json.loads(bytes(rest)) if kind == LABELS else labels
                if kind == SCAN:
                    scans.append(json.loads(bytes(rest)))
                step = _EDIT.unpack_from(rest)[0] if kind == EDIT else 0
                saved = _POSITION.unpack(rest)[0] if kind == SAVED else 0
                records.append(Record(offset, kind, time, step, saved))
            offset, checksum = offset + _HEAD.size + len(body), following
    if header is None:
        raise damaged(path, damage or "its header was not written whole")
    return Contents(header, labels, tuple(scans), tuple(records), offset, checksum, torn, damage)


def read_edit(file: Any, offset: int, dtype: np.dtype[Any]) -> Difference:
    """The edit at an offset, where ``file`` stands, of a journal that `read_journal` has checked."""
    length, *_ = _HEAD.unpack(_exactly(file, _HEAD.size))
    body = _exactly(file, length)
    _, count, width = _EDIT.unpack_from(body, _COMMON.size)
    expected = count * (width + 2 * dtype.itemsize)
    stream = zlib.decompressobj().decompress(body[_COMMON.size + _EDIT.size :], expected)
    if len(stream) != expected:
        raise InputRefused(
            f"journal, edit at byte {offset}: {len(stream)} bytes of voxels, expected {expected}",
            code="journal-damaged",
        )
    deltas = np.frombuffer(stream, f"<u{width}", count)
    old = np.frombuffer(stream, dtype.newbyteorder("<"), count, count * width)
    new = np.frombuffer(stream, dtype.newbyteorder("<"), count, count * (width + dtype.itemsize))
    return Difference(np.cumsum(deltas, dtype=np.int64), old, new)


def damaged(path: Path, fault: str) -> InputRefused:
    """The error for a session's file that cannot be trusted."""
    return InputRefused(f"{path.parent.name}/{path.name}: {fault}", code="journal-damaged", path=path)


def _next_body(file: Any, left: int, checksum: int) -> tuple[bytes | None, int, str | None]:
    """The next record's body and checksum. Without a body: what is wrong, None where the end is torn."""
    head = file.read(_HEAD.size)
    if len(head) < _HEAD.size:
        return None, checksum, None
    length, head_checksum, body_checksum = _HEAD.unpack(head)
    if zlib.crc32(_LENGTH.pack(length), checksum) != head_checksum:
        unwritten = not any(head) and not any(file.read(left - _HEAD.size))
        return None, checksum, None if unwritten else "its length does not have its checksum"
    if left - _HEAD.size < length:
        return None, checksum, None
    body = file.read(length)
    if zlib.crc32(body, head_checksum) != body_checksum:
        last = left - _HEAD.size == length
        return None, checksum, None if last else "its content does not have its checksum"
    return body, body_checksum, None


def _head(body: bytes, checksum: int) -> tuple[bytes, int]:
    head_checksum = zlib.crc32(_LENGTH.pack(len(body)), checksum)
    following = zlib.crc32(body, head_checksum)
    return _HEAD.pack(len(body), head_checksum, following), following


def _exactly(file: Any, size: int) -> bytes:
    pieces = []
    while size:
        piece = file.read(size)
        if not piece:
            raise EOFError(f"the journal ends {size} bytes early: something else has cut it")
        pieces.append(piece)
        size -= len(piece)
    return b"".join(pieces)


def _json(document: Mapping[str, Any]) -> bytes:
    return json.dumps(document, allow_nan=False).encode()


def _little(values: NDArray[Any]) -> bytes:
    return values.astype(values.dtype.newbyteorder("<"), copy=False).tobytes()
