"""Bombs: PNG, JPEG and TIFF."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

from PIL import Image

from tests.acceptance.files.bombs import GB, bomb, deflated, saved, sparse
from tests.acceptance.files.seeds import voxels


def _png(width: int, height: int, *chunks: tuple[bytes, bytes], depth: int = 8, interlaced: int = 0) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, depth, 0, 0, 0, interlaced)
    whole = ((b"IHDR", header), *chunks, (b"IEND", b""))
    parts = (struct.pack(">I", len(b)) + k + b + struct.pack(">I", zlib.crc32(k + b)) for k, b in whole)
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


@bomb()
def png_of_four_gigapixels(folder: Path) -> Path:
    return saved(folder, "x.png", _png(65535, 65535, (b"IDAT", deflated(b"", 4 * GB, "zlib"))))


@bomb()
def png_of_a_trillion_pixels(folder: Path) -> Path:
    return saved(folder, "x.png", _png(2**31 - 1, 2**31 - 1, (b"IDAT", zlib.compress(bytes(100)))))


@bomb()
def png_of_200_megapixels_and_no_data(folder: Path) -> Path:
    content = _png(16000, 14000, (b"IDAT", zlib.compress(bytes(1000))), depth=16)
    return saved(folder, "x.png", content)


@bomb()
def png_interlaced(folder: Path) -> Path:
    content = _png(60000, 60000, (b"IDAT", zlib.compress(bytes(1000))), interlaced=1)
    return saved(folder, "x.png", content)


@bomb(may_be_read=True)
def png_with_text_of_two_gigabytes(folder: Path) -> Path:
    picture = (b"IDAT", zlib.compress(bytes(9 * 14)))
    text = (b"zTXt", b"Comment\0\0" + deflated(b"", 2 * GB, "zlib"))
    return saved(folder, "x.png", _png(13, 9, text, picture))


@bomb(may_be_read=True)
def png_of_a_million_chunks(folder: Path) -> Path:
    content = _png(13, 9, *[(b"tEXt", b"k\0v")] * 1_000_000, (b"IDAT", zlib.compress(bytes(9 * 14))))
    return saved(folder, "x.png", content)


@bomb()
def png_chunk_longer_than_the_file(folder: Path) -> Path:
    return saved(folder, "x.png", _png(13, 9)[:33] + struct.pack(">I", 2**31 - 1) + b"IDAT" + bytes(100))


@bomb()
def jpeg_size_lies(folder: Path) -> Path:
    out = io.BytesIO()
    Image.fromarray(voxels("u1", (9, 13))).save(out, "JPEG")
    return saved(folder, "x.jpg", lying_jpeg(out.getvalue()))


def lying_jpeg(content: bytes) -> bytes:
    """A JPEG or JPEG-LS stream whose frame header says 65535 x 65535."""
    mark = next(m for m in (b"\xff\xc0", b"\xff\xc1", b"\xff\xc3", b"\xff\xf7") if m in content)
    at = content.index(mark)
    return content[: at + 5] + b"\xff\xff\xff\xff" + content[at + 9 :]


def _tiff(*tags: tuple[int, int, int, int], body: bytes, following: int = 0) -> bytes:
    """A classic TIFF: (tag, type, count, value) each; the body begins at byte 8."""
    entries = b"".join(struct.pack("<HHII", *tag) for tag in sorted(tags))
    at = 8 + len(body) + len(body) % 2
    start = b"II*\0" + struct.pack("<I", at) + body.ljust(at - 8, b"\0")
    return start + struct.pack("<H", len(tags)) + entries + struct.pack("<I", following)


def _page(width: int, height: int, body: bytes, compression: int, following: int = 0) -> bytes:
    return _tiff(
        (256, 4, 1, width), (257, 4, 1, height), (258, 3, 1, 8), (259, 3, 1, compression), (262, 3, 1, 1),
        (273, 4, 1, 8), (277, 3, 1, 1), (278, 4, 1, height), (279, 4, 1, len(body)),
        body=body, following=following,
    )  # fmt: skip


@bomb()
def tiff_of_four_gigapixels(folder: Path) -> Path:
    return saved(folder, "x.tif", _page(65535, 65535, deflated(b"", 4 * GB, "zlib"), 8))


@bomb()
def tiff_strip_longer_than_the_page(folder: Path) -> Path:
    return saved(folder, "x.tif", _page(13, 9, deflated(b"", 2 * GB, "zlib"), 8))


@bomb()
def tiff_size_lies(folder: Path) -> Path:
    return saved(folder, "x.tif", _page(2**32 - 1, 2**32 - 1, bytes(117), 1))


@bomb()
def tiff_pages_in_a_circle(folder: Path) -> Path:
    return saved(folder, "x.tif", _page(13, 9, bytes(117), 1, following=8 + 118))


@bomb()
def tiff_tag_of_a_billion_values(folder: Path) -> Path:
    content = _tiff(
        (256, 4, 1, 13), (257, 4, 1, 9), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1), (277, 3, 1, 1),
        (273, 4, 500_000_000, 8), (278, 4, 1, 9), (279, 4, 500_000_000, 8),
        body=bytes(117),
    )  # fmt: skip
    path = saved(folder, "x.tif", content)
    return sparse(path, 3 * GB)
