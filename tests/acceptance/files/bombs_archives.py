"""Bombs: zip archives and folders."""

from __future__ import annotations

import io
import json
import struct
import zipfile
from pathlib import Path

from tests.acceptance.files.bombs import BLOCK, GB, bomb, deflated, saved
from tests.acceptance.files.bombs_dicom import (
    dicom_500000_nested_sequences_of_defined_length,
    dicom_deflated,
    dicom_sparse_tail,
    lying,
)


def _archive(folder: Path, members: dict[str, bytes]) -> Path:
    path = folder / "x.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def _archive_of_deflated(members: list[tuple[str, bytes, int, int]]) -> bytes:
    """A zip archive of raw deflate streams: (name, stream, size it claims, times the stream is listed)."""
    body, listed, count = b"", b"", 0
    for name, stream, claimed, times in members:
        at = len(body)
        fields = struct.pack("<HHHHHIIIHH", 20, 0, 8, 0, 0x21, 0, len(stream), claimed, len(name), 0)
        body += b"PK\3\4" + fields + name.encode() + stream
        for _ in range(times):
            listed += (
                b"PK\1\2"
                + struct.pack("<H", 20)
                + fields
                + struct.pack("<HHHII", 0, 0, 0, 0, at)
                + name.encode()
            )
            count += 1
    end = struct.pack("<HHHHIIH", 0, 0, count & 0xFFFF, count & 0xFFFF, len(listed), len(body), 0)
    return body + listed + b"PK\5\6" + end


@bomb()
def zip_member_of_two_gigabytes(folder: Path) -> Path:
    head = bytes(128) + b"DICM"
    stream = deflated(head, 2 * GB, "raw")
    return saved(folder, "x.zip", _archive_of_deflated([("a.dcm", stream, 2 * GB + 132, 1)]))


@bomb()
def zip_member_that_lies_about_its_size(folder: Path) -> Path:
    stream = deflated(bytes(128) + b"DICM", 2 * GB, "raw")
    return saved(folder, "x.zip", _archive_of_deflated([("a.dcm", stream, 4000, 1)]))


@bomb()
def zip_of_one_member_listed_60000_times(folder: Path) -> Path:
    stream = deflated(bytes(128) + b"DICM", BLOCK, "raw")
    return saved(folder, "x.zip", _archive_of_deflated([("a.dcm", stream, BLOCK + 132, 60_000)]))


@bomb()
def zip_of_a_hundred_thousand_members(folder: Path) -> Path:
    return _archive(folder, {f"{n}": b"" for n in range(100_000)})


@bomb()
def zip_in_zip_in_zip(folder: Path) -> Path:
    inner = _archive_of_deflated([("a.dcm", deflated(bytes(128) + b"DICM", 2 * GB, "raw"), 2 * GB + 132, 1)])
    for _ in range(5):
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
            for n in range(10):
                archive.writestr(f"{n}.zip", inner)
        inner = out.getvalue()
        if len(inner) > 4 << 20:
            break
    return saved(folder, "x.zip", inner)


@bomb()
def zip_member_whose_slice_lies(folder: Path) -> Path:
    return _archive(folder, {"a.dcm": lying(Rows=65535, Columns=65535)})


@bomb()
def a_folder_of_mixed_bombs(folder: Path) -> Path:
    place = folder / "study"
    place.mkdir()
    dicom_deflated(place).rename(place / "deflated.dcm")
    dicom_500000_nested_sequences_of_defined_length(place).rename(place / "nested.dcm")
    dicom_sparse_tail(place).rename(place / "tail.dcm")
    (place / "facts.json").write_text(json.dumps({}))
    return place
