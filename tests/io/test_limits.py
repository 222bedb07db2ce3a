"""Files that lie about their size, and bombs: refused quickly and in little memory."""

from __future__ import annotations

import bz2
import gzip
import json
import os
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pytest
from PIL import Image

import medseg
from medseg import Volume

# Reads one good file, so that every import is done, then each of the others; prints code, processor
# seconds, MB.
_CHILD = """
import json, sys, time
import medseg
def mb():  # getrusage would count the process that started this one
    return int(open("/proc/self/status").read().split("VmHWM:")[1].split()[0]) / 1024
good, *paths = sys.argv[1:]
medseg.read(good)
before, found = mb(), []
for path in paths:
    started = time.process_time()
    try:
        medseg.read(path)
        code = "read"
    except medseg.InputRefused as refusal:
        code = refusal.code
    found.append([code, time.process_time() - started, mb() - before, mb()])
print(json.dumps(found))
"""
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="peaks of memory are read from /proc")

NRRD = (
    "NRRD0005\ntype: short\ndimension: 3\nspace: LPS\nsizes: {}\nspace directions: (1,0,0) (0,1,0) (0,0,1)\n"
    "endian: little\nencoding: {}\nspace origin: (0,0,0)\n\n"
)
META = (
    "NDims = 3\nBinaryData = True\nCompressedData = {1}\nTransformMatrix = 1 0 0 0 1 0 0 0 1\n"
    "Offset = 0 0 0\nElementSpacing = 1 1 1\nDimSize = {0}\nElementType = MET_SHORT\n"
    "ElementDataFile = LOCAL\n"
)
HUGE = "1024 1024 1024"  # 2 GB of int16


def _measure(good: Path, paths: list[Path]) -> list[tuple[str, float, float, float]]:
    command = [sys.executable, "-c", _CHILD, str(good), *map(str, paths)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return [(code, *numbers) for code, *numbers in json.loads(done.stdout)]


def _zeros(kind: str) -> bytes:
    """2 GB of zeros, packed in a moment: one piece is repeated."""
    if kind == "gzip":
        return gzip.compress(bytes(1 << 26)) * 32
    if kind == "bzip2":
        return bz2.compress(bytes(1 << 26)) * 32
    packer = zlib.compressobj(9)
    head = packer.compress(bytes(1 << 25)) + packer.flush(zlib.Z_FULL_FLUSH)
    piece = packer.compress(bytes(1 << 26)) + packer.flush(zlib.Z_FULL_FLUSH)
    return head + piece * 32


def _nifti_header(*sizes: int) -> bytes:
    image = nibabel.Nifti1Image(np.zeros((1, 1, 1), np.int16), np.eye(4))
    header = bytearray(image.to_bytes()[:352])
    struct.pack_into(f"<{len(sizes) + 1}h", header, 40, len(sizes), *sizes)
    return bytes(header)


def _mgh_header(*sizes: int) -> bytes:
    return struct.pack(">7ih", 1, *sizes, 1, 4, 0, 0).ljust(284, b"\0")


@pytest.fixture(scope="module")
def bombs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Small files that are, or claim to be, gigabytes."""
    folder = tmp_path_factory.mktemp("bombs")
    zeros = _zeros("gzip")
    contents = {
        "honest.nii.gz": gzip.compress(_nifti_header(1024, 1024, 1024)) + zeros,
        "surplus.nii.gz": gzip.compress(_nifti_header(2, 3, 4)) + zeros,
        "many.nii.gz": gzip.compress(_nifti_header(1024, 1024, 32, 32)) + zeros,
        "honest.nrrd": NRRD.format(HUGE, "gzip").encode() + zeros,
        "bzip2.nrrd": NRRD.format(HUGE, "bzip2").encode() + _zeros("bzip2"),
        "surplus.nrrd": NRRD.format("2 3 4", "gzip").encode() + zeros,
        "honest.mha": META.format(HUGE, "True").encode() + _zeros("zlib"),
        "surplus.mha": META.format("2 3 4", "True").encode() + _zeros("zlib"),
        "honest.mgz": gzip.compress(struct.pack(">7ih", 1, 1024, 1024, 1024, 1, 4, 0, 0) + bytes(254))
        + zeros,
    }
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    return {name: folder / name for name in contents}


def test_bombs_are_refused_within_512_mb(bombs: dict[str, Path], oblique: Callable[..., Volume]) -> None:
    folder = next(iter(bombs.values())).parent
    good = medseg.write(oblique(), folder / "good.nii.gz")
    for (name, _), (code, seconds, _, peak) in zip(
        bombs.items(), _measure(good, list(bombs.values())), strict=True
    ):
        expected = "size-mismatch" if name.startswith("surplus") else "too-large"
        assert code == ("four-dimensional" if name.startswith("many") else expected), name
        assert peak < 512, name
        assert seconds < 1, name


def test_a_volume_of_a_bomb_is_no_way_around_the_limit(bombs: dict[str, Path]) -> None:
    with pytest.raises(medseg.InputRefused) as refusal:
        medseg.read(bombs["many.nii.gz"], series=3)
    assert refusal.value.code == "too-large"


def test_picture_bombs_are_refused_within_512_mb(tmp_path: Path) -> None:
    grey = np.zeros((5, 7), np.uint8)
    Image.fromarray(grey).save(tmp_path / "good.png")
    side = 8000
    rows = zlib.compressobj(9)
    body = b"".join(rows.compress(bytes(3 * side + 1)) for _ in range(side)) + rows.flush()
    _png(tmp_path / "honest.png", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0), body)
    _png(tmp_path / "wide.png", struct.pack(">IIBBBBB", side, side, 16, 6, 0, 0, 0), body)
    packed = zlib.compress(bytes(1 << 26), 9)
    content = _tiff(15000, 15000, packed)
    (tmp_path / "deflate.tif").write_bytes(content)
    (tmp_path / "strip.tif").write_bytes(_tiff(100, 100, packed))
    Image.fromarray(grey).save(tmp_path / "small.jpg")
    jpeg = bytearray((tmp_path / "small.jpg").read_bytes())
    at = jpeg.index(b"\xff\xc0") + 5
    jpeg[at : at + 4] = struct.pack(">HH", 16000, 16000)
    (tmp_path / "lie.jpg").write_bytes(jpeg)
    names = ["honest.png", "wide.png", "deflate.tif", "strip.tif", "lie.jpg"]
    for name, (code, seconds, _, peak) in zip(
        names, _measure(tmp_path / "good.png", [tmp_path / name for name in names]), strict=True
    ):
        assert code == "too-large", name
        assert peak < 512, name
        assert seconds < 5, name  # imports of the format's library are among them


def test_header_and_size_faults_take_a_second_and_100_mb_at_most(
    tmp_path: Path, oblique: Callable[..., Volume]
) -> None:
    good = medseg.write(oblique(), tmp_path / "good.nrrd")
    body = bytes(1 << 20)
    contents = {
        "lie.nii": _nifti_header(32767, 32767, 32767) + body,
        "lie.nii.gz": gzip.compress(_nifti_header(32767, 32767, 32767) + body),
        "offset.nii.gz": gzip.compress(_nifti_header(2, 3, 4)[:108] + struct.pack("<f", 2e8) + body * 20),
        "extensions.nii": _nifti_header(2, 3, 4)[:108]
        + struct.pack("<f", 3_200_352)
        + _nifti_header(2, 3, 4)[112:348]
        + b"\1\0\0\0"
        + struct.pack("<2i8x", 16, 6) * 200_000
        + bytes(48),
        "lie.nrrd": NRRD.format("99999 99999 99999", "raw").encode() + body,
        "lie.ascii.nrrd": NRRD.format("99999 99999 99999", "ascii").encode() + body,
        "lie.hex.nrrd": NRRD.format("99999 99999 99999", "hex").encode() + body,
        "lie.bzip2.nrrd": NRRD.format("99999 99999 99999", "bzip2").encode() + bz2.compress(body),
        "skip.nrrd": NRRD.format("2 3 4", "gzip").encode().replace(b"\n\n", b"\nbyte skip: 2000000000\n\n")
        + _zeros("gzip"),
        "skip.mha": b"HeaderSize = 2000000000\n" + META.format("2 3 4", "True").encode() + _zeros("zlib"),
        "digits.nrrd": NRRD.format("9" * 900_000, "raw").encode(),
        "words.nrrd": NRRD.format("9 " * 450_000, "raw").encode(),
        "vectors.nrrd": NRRD.format("2 3 4", "raw").replace("(0,1,0)", "(0,1,0)" * 100_000).encode(),
        "brackets.nrrd": NRRD.format("2 3 4", "raw").replace("(0,1,0)", "(" * 900_000).encode(),
        "endless.nrrd": b"NRRD0005\n" + b"x: y\n" * 400_000,
        "oneline.nrrd": b"NRRD0005" + bytes(1 << 24),
        "pattern.nrrd": NRRD.format("2 3 4", "raw")[:-1].encode() + b"data file: %d 0 999999999 1\n\n",
        "lie.mha": META.format("99999 99999 99999", "False").encode() + body,
        "lie.z.mha": META.format("99999 99999 99999", "True").encode() + zlib.compress(body),
        "dims.mha": META.format("2 3 4", "False").replace("NDims = 3", "NDims = 999999").encode() + body,
        "lie.mgh": _mgh_header(99999, 99999, 99999) + body,
        "lie.mgz": gzip.compress(_mgh_header(99999, 99999, 99999) + body),
        "name.nii.gz": b"\x1f\x8b\x08\x08" + bytes(6) + b"x" * (1 << 24),
    }
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    for name, (code, seconds, more, _) in zip(
        contents, _measure(good, [tmp_path / name for name in contents]), strict=True
    ):
        assert code in ("truncated", "bad-header", "too-large"), name
        assert seconds < 1, name
        assert more < 100, name


def test_tags_that_claim_more_than_a_picture_needs(tmp_path: Path) -> None:
    good = _tiff(7, 5, zlib.compress(bytes(35)))
    (tmp_path / "good.tif").write_bytes(good)
    at = good.index(struct.pack("<HH", 273, 4)) + 4
    one = good[:at] + struct.pack("<I", 500_000_000) + good[at + 4 :]
    (tmp_path / "one.tif").write_bytes(one)
    os.truncate(tmp_path / "one.tif", 1 << 31)
    end = 8 + 2 + 9 * 12
    circle = good[:end] + struct.pack("<I", 8) + good[end + 4 :]
    (tmp_path / "circle.tif").write_bytes(circle)
    pages, page = [], good[8:end].replace(good[at - 4 : at + 8], struct.pack("<HHII", 273, 4, 1 << 19, 8))
    for n in range(100):
        pages.append(page + struct.pack("<I", 8 + (n + 1) * (end - 4) if n < 99 else 0))
    (tmp_path / "many.tif").write_bytes(good[:8] + b"".join(pages) + bytes(1 << 21))
    names = ["one.tif", "circle.tif", "many.tif"]
    for name, (code, seconds, more, _) in zip(
        names, _measure(tmp_path / "good.tif", [tmp_path / name for name in names]), strict=True
    ):
        assert code == "bad-header", name
        assert seconds < 1, name
        assert more < 100, name


def test_one_volume_of_many_takes_the_memory_of_one(tmp_path: Path) -> None:
    data = np.random.default_rng(0).integers(0, 99, (64, 64, 16, 60)).astype(np.int32)  # 16 MB
    nibabel.save(nibabel.Nifti1Image(data, np.eye(4)), tmp_path / "bold.nii")
    (tmp_path / "bold.nii.gz").write_bytes(gzip.compress((tmp_path / "bold.nii").read_bytes(), 1))
    nibabel.save(nibabel.Nifti1Image(data[..., 0], np.eye(4)), tmp_path / "one.nii")
    code = _CHILD.replace("medseg.read(path)", "medseg.read(path, series=50)")
    command = [
        sys.executable,
        "-c",
        code,
        *(str(tmp_path / n) for n in ("one.nii", "bold.nii", "bold.nii.gz")),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    for found, _, more, _ in json.loads(done.stdout):
        assert found == "read"
        assert more < 5
    assert np.array_equal(medseg.read(tmp_path / "bold.nii.gz", series=50).data[0], data[..., 49])


def _png(path: Path, header: bytes, body: bytes) -> None:
    chunks = b"".join(
        struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        for kind, content in ((b"IHDR", header), (b"IDAT", body), (b"IEND", b""))
    )
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunks)


def _tiff(width: int, height: int, strip: bytes) -> bytes:
    """One deflated strip of 8-bit grey."""
    tags = {256: width, 257: height, 258: 8, 259: 8, 262: 1, 273: 200, 277: 1, 278: height, 279: len(strip)}
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    directory = struct.pack("<H", len(tags)) + entries + bytes(4)
    return (b"II*\0" + struct.pack("<I", 8) + directory).ljust(200, b"\0") + strip
