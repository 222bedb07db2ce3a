"""Headers of compressed streams: against the decoders' own words, cut, and damaged."""

from __future__ import annotations

import io
import random
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jpeg_ls
import numpy as np
import openjpeg
import pytest
from PIL import Image

from medseg.io.dicom.codestream import BadPixels, Codestream, check_scan, inspect
from tests.io.dicom import made

ROWS, COLUMNS = 41, 67


def _grey(top: int) -> Any:
    found = np.random.default_rng(1).integers(0, top // 3, (ROWS, COLUMNS)) + np.arange(COLUMNS) * top // 200
    return found.astype("u1" if top < 256 else "u2")


def _jpeg_2000(array: Any, **options: Any) -> bytes:
    photometric = 1 if array.ndim == 3 else 2
    return bytes(openjpeg.utils.encode_array(array, photometric_interpretation=photometric, **options))


def _jpeg(array: Any, **options: Any) -> bytes:
    content = io.BytesIO()
    Image.fromarray(array).save(content, "JPEG", **options)
    return content.getvalue()


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[bytes]]:
    """Streams of every codec."""
    colour = np.stack([_grey(255)] * 3, -1)
    return {
        "jpeg": [_jpeg(_grey(255)), _jpeg(colour, subsampling=2, comment=b"x" * 300)],
        "jpeg-ls": [bytes(jpeg_ls.encode_array(a)) for a in (_grey(255), _grey(4095), colour)],
        "jpeg-2000": [
            _jpeg_2000(_grey(255)),
            _jpeg_2000(_grey(4095), bits_stored=12),
            _jpeg_2000(_grey(4095).astype("i2") - 2048, bits_stored=12),
            _jpeg_2000(colour, use_mct=True),
        ],
        "jpeg-lossless": [made.lossless_jpeg(_grey(4095), tmp_path_factory.mktemp("gdcm"))],
    }


def look(codec: str, stream: bytes) -> Codestream:
    return inspect(codec, lambda at, count: stream[at : at + count], len(stream))


def _said_by_libjpeg(stream: bytes) -> tuple[int, ...]:
    image = Image.open(io.BytesIO(stream))
    return image.height, image.width, len(image.getbands()), 8, False


def _said_by_charls(stream: bytes) -> tuple[int, ...]:
    found = jpeg_ls.CharLS._CharLS.read_header(stream)
    return found["height"], found["width"], found["components"], found["bits_per_sample"], False


def _said_by_openjpeg(stream: bytes) -> tuple[int, ...]:
    found = openjpeg.get_parameters(stream)
    return tuple(found[name] for name in ("rows", "columns", "samples_per_pixel", "precision", "is_signed"))


@pytest.mark.parametrize(
    ("codec", "oracle"),
    [("jpeg", _said_by_libjpeg), ("jpeg-ls", _said_by_charls), ("jpeg-2000", _said_by_openjpeg)],
)
def test_headers_say_what_the_decoders_say(
    samples: dict[str, list[bytes]], codec: str, oracle: Callable[[bytes], tuple[int, ...]]
) -> None:
    for stream in samples[codec]:
        found = look(codec, stream)
        assert (found.rows, found.columns, found.samples, found.precision, found.signed) == oracle(stream)


def test_a_header_is_read_without_the_rest(samples: dict[str, list[bytes]]) -> None:
    for codec, streams in samples.items():
        for stream in streams:
            asked = 0

            def read(at: int, count: int, stream: bytes = stream) -> bytes:
                nonlocal asked
                asked += count
                return stream[at : at + count]

            inspect(codec, read, len(stream))
            assert asked < 1500


@pytest.mark.parametrize("codec", ["jpeg", "jpeg-ls", "jpeg-2000", "jpeg-lossless"])
def test_no_part_of_a_stream_passes_for_the_whole(samples: dict[str, list[bytes]], codec: str) -> None:
    for stream in samples[codec]:
        whole = stream.rstrip(b"\0")
        assert look(codec, whole + bytes(3)) == look(codec, stream)
        # A JPEG 2000 stream that lacks but its last marker still has all its tiles.
        last = len(whole) - (3 if codec == "jpeg-2000" else 1)
        for length in (*range(min(300, last)), *range(300, last, 97), last):
            with pytest.raises(BadPixels):
                look(codec, whole[:length])


def test_tiles_that_never_come_are_missed() -> None:
    stream = _jpeg_2000(_grey(255))
    at = stream.index(b"\xff\x51") + 4 + 2 + 16
    smaller = stream[:at] + struct.pack(">2I", 40, 41) + stream[at + 8 :]
    with pytest.raises(BadPixels) as fault:
        look("jpeg-2000", smaller)
    assert fault.value.code == "truncated"


def test_a_stream_of_endless_tiles_is_refused() -> None:
    stream = _jpeg_2000(_grey(255))
    at = stream.index(b"\xff\x51") + 4 + 2
    size = struct.pack(">8I", 60_000, 60_000, 0, 0, 1, 1, 0, 0)
    with pytest.raises(BadPixels) as fault:
        look("jpeg-2000", stream[:at] + size + stream[at + 32 :])
    assert fault.value.code == "too-large"


@pytest.mark.parametrize("codec", ["jpeg", "jpeg-ls", "jpeg-2000", "jpeg-lossless"])
def test_damaged_headers_are_read_or_refused_and_nothing_else(
    samples: dict[str, list[bytes]], codec: str
) -> None:
    dice = random.Random(codec)
    outcomes = set()
    for _ in range(400):
        damaged = bytearray(dice.choice(samples[codec]))
        for _ in range(dice.choice((1, 1, 3, 10))):
            damaged[dice.randrange(min(200, len(damaged)))] = dice.choice((0, 255, dice.randrange(256)))
        try:
            found = look(codec, bytes(damaged))
        except BadPixels as fault:
            outcomes.add(fault.code)
        else:
            assert min(found.rows, found.columns, found.samples, found.precision) >= 0
            outcomes.add("read")
    assert {"read", "undecodable"} <= outcomes <= {"read", "undecodable", "truncated", "too-large"}


def test_real_streams_of_ct_agree_with_their_headers(real_data: Path) -> None:
    import pydicom
    from pydicom.encaps import generate_frames

    for path in sorted((real_data / "dicom" / "ct_clean_j2k").iterdir())[:3]:
        item = pydicom.dcmread(path)
        (stream,) = generate_frames(item.PixelData, number_of_frames=1)
        found = look("jpeg-2000", stream)
        assert (found.rows, found.columns, found.samples) == (item.Rows, item.Columns, 1)


@pytest.mark.parametrize("codec", ["jpeg", "jpeg-lossless", "jpeg-ls"])
def test_a_marker_in_the_middle_of_a_grey_scan_is_refused(
    samples: dict[str, list[bytes]], codec: str
) -> None:
    for stream in samples[codec]:
        said = look(codec, stream)
        check_scan(codec, stream, said)
        middle = (said.scan_at + len(stream)) // 2
        while 0xFF in stream[middle - 1 : middle + 1]:
            middle += 1
        broken = stream[:middle] + b"\xff\xd9" + stream[middle:]
        if said.samples == 1:
            with pytest.raises(BadPixels, match="interrupts"):
                check_scan(codec, broken, said)
        restarted = stream[:middle] + b"\xff\xd3" + stream[middle:]
        check_scan(codec, restarted, said)
