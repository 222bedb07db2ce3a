"""Bytes of files, archive members and deflated data sets, against the bytes themselves."""

from __future__ import annotations

import random
import struct
import zipfile
import zlib
from pathlib import Path

import pytest

from medseg.errors import InputRefused
from medseg.io.dicom.archives import is_archive, members
from medseg.io.dicom.objects import Source
from medseg.io.dicom.sources import FileSource, Inflated, inflated

CONTENT = random.Random(5).randbytes(70_000) + bytes(200_000) + b"the end"


def spans(size: int) -> list[tuple[int, int]]:
    rng = random.Random(7)
    drawn = [(rng.randrange(size), rng.randrange(size)) for _ in range(20)]
    return [(0, size), (0, 0), (size - 3, 10), (size, 4), (65_530, 20), *drawn]


def assert_reads(source: Source, content: bytes) -> None:
    assert source.size == len(content)
    for start, count in spans(len(content)):
        assert source.read(start, count) == content[start : start + count]


def archive_of(path: Path, method: int = zipfile.ZIP_DEFLATED, **files: bytes) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in files.items():
            archive.writestr(name.replace("__", "/") + ".dcm", content)
    return path


def test_a_file_is_read_anywhere(tmp_path: Path) -> None:
    (tmp_path / "a.dcm").write_bytes(CONTENT)
    assert_reads(FileSource.of(tmp_path / "a.dcm"), CONTENT)


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_member_of_an_archive_is_read_anywhere(tmp_path: Path, method: int) -> None:
    path = archive_of(tmp_path / "a.zip", method, study__b=CONTENT, study__a=b"short", empty=b"")
    found = members(path)
    assert [source.name for source in found] == [f"a.zip, member {n}" for n in (3, 2, 1)]
    assert is_archive(path)
    assert_reads(found[2], CONTENT)
    assert found[1].read(0, 99) == b"short"
    assert found[0].size == 0


def test_folders_and_hidden_members_are_left_out(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.mkdir("study")
        archive.writestr("__MACOSX/study/._a.dcm", b"x")
        archive.writestr("study/a.dcm", b"y")
    assert [source.member for source in members(tmp_path / "a.zip")] == ["study/a.dcm"]


def test_an_inflated_data_set_is_read_anywhere(tmp_path: Path) -> None:
    deflate = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    (tmp_path / "a.dcm").write_bytes(b"before" + deflate.compress(CONTENT) + deflate.flush())
    found = inflated(FileSource.of(tmp_path / "a.dcm"), 6)
    assert isinstance(found, Inflated)
    assert_reads(found, CONTENT)


def test_a_damaged_member_is_refused_once_it_is_read_to_its_end(tmp_path: Path) -> None:
    path = archive_of(tmp_path / "a.zip", a=CONTENT)
    raw = bytearray(path.read_bytes())
    raw[raw.index(struct.pack("<I", zlib.crc32(CONTENT)), 100)] ^= 1
    path.write_bytes(raw)
    (source,) = members(path)
    assert source.read(10, 100) == CONTENT[10:110]
    with pytest.raises(InputRefused, match="checksum") as caught:
        source.read(10, len(CONTENT))
    assert caught.value.code == "corrupt"


def directory_entry(raw: bytearray) -> int:
    return raw.rindex(b"PK\x01\x02")


@pytest.mark.parametrize(
    ("offset", "form", "value", "code"),
    [
        (8, "<H", 0x0001, "unsupported-encoding"),  # encrypted
        (10, "<H", 12, "unsupported-encoding"),  # bzip2
        (20, "<I", 1 << 30, "truncated"),  # stored size
        (24, "<I", (1 << 32) - 2, "too-large"),  # inflated size
        (42, "<I", 3, "corrupt"),  # where its own header stands
    ],
)
def test_archives_that_lie_are_refused_by_name(
    tmp_path: Path, offset: int, form: str, value: int, code: str
) -> None:
    path = archive_of(tmp_path / "a.zip", a=CONTENT)
    raw = bytearray(path.read_bytes())
    struct.pack_into(form, raw, directory_entry(raw) + offset, value)
    path.write_bytes(raw)
    with pytest.raises(InputRefused) as caught:
        members(path)
    assert caught.value.code == code


def test_no_more_is_inflated_than_is_declared(tmp_path: Path) -> None:
    path = archive_of(tmp_path / "a.zip", a=CONTENT)
    raw = bytearray(path.read_bytes())
    struct.pack_into("<I", raw, directory_entry(raw) + 24, 1000)
    path.write_bytes(raw)
    (source,) = members(path)
    assert len(source.read(0, 999)) == 999
    with pytest.raises(InputRefused, match="checksum"):
        source.read(0, 1 << 20)


def test_members_that_share_their_bytes_are_refused(tmp_path: Path) -> None:
    """As in bombs that inflate one kernel many times (D. Fifield, 2019)."""
    path = archive_of(tmp_path / "a.zip", a=CONTENT, b=CONTENT)
    raw = bytearray(path.read_bytes())
    struct.pack_into("<I", raw, directory_entry(raw) + 42, 0)
    path.write_bytes(raw)
    with pytest.raises(InputRefused, match="share") as caught:
        members(path)
    assert caught.value.code == "corrupt"


def test_damaged_archives_are_refused_or_read(tmp_path: Path) -> None:
    whole = archive_of(tmp_path / "a.zip", a=CONTENT, b=b"b", c=CONTENT[::-1]).read_bytes()
    rng = random.Random(11)
    outcomes = set()
    for _ in range(150):
        raw = bytearray(whole[: rng.choice((len(whole), rng.randrange(4, len(whole))))])
        for _ in range(rng.choice((0, 1, 3))):
            raw[rng.randrange(max(0, len(raw) - 300), len(raw))] = rng.randrange(256)
        (tmp_path / "a.zip").write_bytes(raw)
        try:
            for source in members(tmp_path / "a.zip"):
                source.read(0, 1 << 20)
            outcomes.add("read")
        except InputRefused as error:
            outcomes.add(error.code)
    assert {"read", "corrupt"} <= outcomes


def test_a_stored_member_that_was_altered_is_told_by_its_checksum(tmp_path: Path) -> None:
    path = archive_of(tmp_path / "a.zip", zipfile.ZIP_STORED, a=CONTENT)
    path.write_bytes(path.read_bytes().replace(CONTENT, CONTENT[:-1] + bytes([CONTENT[-1] ^ 1])))
    (member,) = members(path)
    with pytest.raises(InputRefused, match="checksum") as refusal:
        member.read(len(CONTENT) - 10, 10)
    assert refusal.value.code == "corrupt"
