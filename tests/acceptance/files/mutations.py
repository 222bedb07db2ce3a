"""Damage: from a whole file to one that is broken, contradicts itself, or lies.

Bytes are changed blindly, and fields on purpose: a format's own numbers become extreme, its texts become the
patient of `canary`, also behind compression and checksums. Values for fields come from hypothesis.
"""

from __future__ import annotations

import gzip
import io
import re
import struct
import zipfile
import zlib
from collections.abc import Callable
from random import Random

from tests.acceptance.files.canary import CANARY
from tests.acceptance.files.fields import mutate_dicom, mutate_nifti

Mutation = Callable[[Random, bytes, bytes], bytes]

_BYTES = (0, 0xFF, 0x7F, 0x80)
_WORDS = (
    "0", "-1", "1", "2", "3", "4", "65535", "65536", "2147483647", "-2147483648", "4294967296", "9" * 20,
    "9" * 400, "1e308", "1e-320", "-0.0", "nan", "inf", "-inf", "1e5", "0x10", "1_0", "٣", "1,5", "",
    "none", CANARY, f"({CANARY})", "true", "False", "LIST", "/etc/passwd", "../other.raw", "%03d", "ascii",
    "hex", "bzip2", "raw", "gzip", "double", "MET_DOUBLE", "MET_UCHAR", "uint8", "big", "1 2 3 4 5 6 7",
)  # fmt: skip
_HEAD = 700  # where headers are
_TOO_DAMAGED = (
    ValueError, LookupError, OSError, EOFError, RuntimeError,
    struct.error, zlib.error, zipfile.BadZipFile,
)  # fmt: skip


def _place(draw: Random, size: int) -> int:
    """A place in a file: half of the time in its first bytes, where the structure is."""
    return draw.randrange(max(1, min(size, _HEAD) if draw.random() < 0.5 else size))


def flip_bits(draw: Random, content: bytes, other: bytes) -> bytes:
    """One to eight bits turned over."""
    data = bytearray(content)
    for _ in range(draw.choice((1, 1, 1, 2, 8))):
        data[_place(draw, len(data))] ^= 1 << draw.randrange(8)
    return bytes(data)


def set_bytes(draw: Random, content: bytes, other: bytes) -> bytes:
    """A run of up to eight bytes set to one value."""
    data, at = bytearray(content), _place(draw, len(content))
    count = min(draw.choice((1, 1, 2, 4, 8)), len(data) - at)
    data[at : at + count] = bytes([draw.choice((*_BYTES, draw.randrange(256)))]) * count
    return bytes(data)


def truncate(draw: Random, content: bytes, other: bytes) -> bytes:
    """The file ends early."""
    return content[: _place(draw, len(content))]


def insert(draw: Random, content: bytes, other: bytes) -> bytes:
    """Bytes that were not there."""
    at = _place(draw, len(content))
    extra = draw.randbytes(draw.choice((1, 2, 4, 100))) if draw.random() < 0.7 else CANARY.encode()
    return content[:at] + extra + content[at:]


def delete(draw: Random, content: bytes, other: bytes) -> bytes:
    """Bytes that are missing."""
    at = _place(draw, len(content))
    return content[:at] + content[at + draw.choice((1, 2, 4, 8, 100)) :]


def move_block(draw: Random, content: bytes, other: bytes) -> bytes:
    """A block twice, or two blocks in each other's place."""
    size = draw.choice((4, 16, 64, 512))
    first, second = sorted(_place(draw, len(content)) for _ in range(2))
    if draw.random() < 0.5:
        return content[:second] + content[first : first + size] + content[second:]
    second = max(second, first + size)
    a, b = content[first : first + size], content[second : second + size]
    return content[:first] + b + content[first + size : second] + a + content[second + size :]


def splice(draw: Random, content: bytes, other: bytes) -> bytes:
    """The start of one file and the end of another."""
    return content[: _place(draw, len(content))] + other[_place(draw, len(other) or 1) :]


BLIND: tuple[Mutation, ...] = (flip_bits, set_bytes, truncate, insert, delete, move_block, splice)


def behind_gzip(draw: Random, content: bytes, other: bytes) -> bytes:
    """Damage under gzip: packed again, so that the checksum fits."""
    if content[:2] != b"\x1f\x8b":
        return flip_bits(draw, content, other)
    inner = gzip.decompress(content)
    inner = (
        mutate_nifti(draw, inner, other) if draw.random() < 0.5 else draw.choice(BLIND)(draw, inner, inner)
    )
    return gzip.compress(inner, 1, mtime=0)


def behind_zip(draw: Random, content: bytes, other: bytes) -> bytes:
    """Damage in a member of a zip archive, packed again; in other files an element of DICOM."""
    if content[:2] != b"PK":
        return mutate_dicom(draw, content, other)
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as whole, zipfile.ZipFile(out, "w") as archive:
        names = whole.namelist()
        chosen = draw.choice(names)
        for name in names:
            inner = whole.read(name)
            if name == chosen:
                damage = mutate_dicom if draw.random() < 0.5 else draw.choice(BLIND)
                inner = damage(draw, inner, inner)
            archive.writestr(name, inner)
    return out.getvalue()


def text_field(draw: Random, content: bytes, other: bytes) -> bytes:
    """A line of a text header (NRRD, MetaImage): a number, a word, the line, or another line beside it."""
    end = content.find(b"\n\n") if content.startswith(b"NRRD") else content.find(b"ElementDataFile")
    end = content.find(b"\n", end + 1) if end >= 0 else len(content)
    lines = content[:end].split(b"\n")
    number = draw.randrange(len(lines))
    line = lines[number].decode("latin-1")
    kind = draw.random()
    if kind < 0.6:
        words = list(re.finditer(r"[^\s:=(),]+", line))
        word = draw.choice(words) if words else re.match("", line)
        assert word is not None
        line = line[: word.start()] + draw.choice(_WORDS) + line[word.end() :]
    elif kind < 0.7:
        line = f"{line}\n{line}"
    elif kind < 0.8:
        line = ""
    elif kind < 0.9:
        line = f"{line}\n{draw.choice(('#', '', CANARY + ': ', 'x:=', 'Comment = '))}{CANARY}"
    else:
        line = f"{line.partition(':')[0]}: {draw.choice(_WORDS)}"
    lines[number] = line.encode()
    return b"\n".join(lines) + content[end:]


def text_behind_compression(draw: Random, content: bytes, other: bytes) -> bytes:
    """Voxels of an NRRD or MetaImage damaged under their compression."""
    mark = content.find(b"\x1f\x8b") if content.startswith(b"NRRD") else content.find(b"\x78")
    try:
        inner = zlib.decompress(content[mark:], 47)  # gzip or zlib, as its mark says
    except zlib.error:
        return text_field(draw, content, other)
    packed = gzip.compress if content[mark:].startswith(b"\x1f\x8b") else zlib.compress
    return content[:mark] + packed(draw.choice(BLIND)(draw, inner, inner))


def png_chunk(draw: Random, content: bytes, other: bytes) -> bytes:
    """A chunk of a PNG damaged or lying, its checksum right."""
    if not content.startswith(b"\x89PNG"):
        return flip_bits(draw, content, other)
    chunks, at = [], 8
    while at + 12 <= len(content):
        (size,) = struct.unpack_from(">I", content, at)
        chunks.append((content[at + 4 : at + 8], content[at + 8 : at + 8 + size]))
        at += 12 + size
    number = 0 if draw.random() < 0.5 else draw.randrange(len(chunks))
    kind, body = chunks[number]
    if kind == b"IHDR" and draw.random() < 0.7:
        values = list(struct.unpack(">IIBBBBB", body))
        field = draw.randrange(7)
        values[field] = draw.choice(
            (0, 1, 2, 3, 4, 6, 8, 16, *((65535, 2**31 - 1, 2**32 - 1) if field < 2 else ()))
        )
        body = struct.pack(">IIBBBBB", *values)
    elif kind == b"IDAT" and draw.random() < 0.7:
        inner = zlib.decompress(body)
        body = zlib.compress(draw.choice(BLIND)(draw, inner, inner))
    elif body:
        body = draw.choice(BLIND)(draw, body, body)
    chunks[number] = (kind, body)
    whole = (struct.pack(">I", len(b)) + k + b + struct.pack(">I", zlib.crc32(k + b)) for k, b in chunks)
    return content[:8] + b"".join(whole)


def tiff_tag(draw: Random, content: bytes, other: bytes) -> bytes:
    """An entry of a classic TIFF's directory: another type, count or value."""
    order = "<" if content[:2] == b"II" else ">"
    if content[:4] not in (b"II*\0", b"MM\0*") or len(content) < 8:
        return flip_bits(draw, content, other)
    (at,) = struct.unpack_from(order + "I", content, 4)
    (count,) = struct.unpack_from(order + "H", content, at)
    data, entry = bytearray(content), at + 2 + 12 * draw.randrange(count)
    field, form = draw.choice(((0, "H"), (2, "H"), (4, "I"), (8, "I"), (8, "I"), (8, "I")))
    largest = (1 << 8 * struct.calcsize(form)) - 1
    value = draw.choice((0, 1, 2, 3, 4, 8, 255, 65535, largest >> 1, largest, len(content)))
    struct.pack_into(order + form, data, entry + field, min(value, largest))
    return bytes(data)


def jpeg_segment(draw: Random, content: bytes, other: bytes) -> bytes:
    """A codestream's own header (JPEG, JPEG-LS, JPEG 2000) lying about size, bits or components."""
    marks = [m.end() for m in re.finditer(rb"\xff[\xc0-\xc3\xc5-\xc7\xf7\xda]|\xff\x4f\xff\x51", content)]
    if not marks:
        return flip_bits(draw, content, other)
    data = bytearray(content)
    at = draw.choice(marks) + draw.randrange(40)
    value = draw.choice((b"\0", b"\0\0", b"\xff\xff", b"\x7f\xff", b"\xff\xff\xff\xff", b"\1", b"\x10"))
    data[at : at + len(value)] = value
    return bytes(data[: len(content)])


_AWARE: dict[str, tuple[Mutation, ...]] = {
    "dicom": (mutate_dicom, behind_zip, jpeg_segment),
    "seg": (mutate_dicom,),
    "rtstruct": (mutate_dicom,),
    "nifti": (mutate_nifti, mutate_nifti, behind_gzip),
    "mgh": (behind_gzip,),
    "nrrd": (text_field, text_field, text_behind_compression),
    "metaimage": (text_field, text_field, text_behind_compression),
    "pictures": (png_chunk, tiff_tag, jpeg_segment),
}


def mutate(draw: Random, family: str, content: bytes, other: bytes) -> tuple[bytes, str]:
    """A damaged file and the name of the damage; half of the time a field, half of the time blind bytes."""
    kinds = BLIND if draw.random() < 0.5 else _AWARE[family]
    names, rounds = [], draw.choice((1, 1, 1, 2, 3))
    for _ in range(rounds):
        if not content:
            break
        mutation = draw.choice(kinds)
        try:
            content = mutation(draw, content, other)
        except _TOO_DAMAGED:  # to find its fields again after an earlier round
            mutation = flip_bits
            content = mutation(draw, content, other)
        names.append(mutation.__name__)
    return content, "+".join(names)
