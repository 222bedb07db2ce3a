"""Pixels that are not what their header says, or not there, are refused by name, before memory is taken."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom import uid
from pydicom.encaps import generate_frames

from medseg.errors import InputRefused
from medseg.io.dicom.pixels import check_frames, read_frames, read_stored
from tests.io.dicom import made

SHAPE = (71, 46)
LOSSLESS = (uid.RLELossless, uid.JPEG2000Lossless, uid.JPEGLSLossless, uid.JPEGLosslessSV1)


def pixels(frames: int = 1) -> NDArray[Any]:
    found = np.random.default_rng(3).integers(0, 99, (frames, *SHAPE)) + np.arange(SHAPE[1]) * 50
    return found.astype("u2")[0] if frames == 1 else found.astype("u2")


def compressed(array: NDArray[Any], syntax: str, folder: Path) -> tuple[Any, list[bytes]]:
    """The data set, and its frames as streams."""
    item = made.dataset(array, BitsStored=12)
    if syntax == uid.JPEGLosslessSV1:
        return item, [made.lossless_jpeg(frame, folder) for frame in array.reshape(-1, *SHAPE)]
    item.compress(uid.UID(syntax))
    return item, list(generate_frames(item.PixelData, number_of_frames=array.size // (SHAPE[0] * SHAPE[1])))


def refusal(frames: Any, read: Callable[[Any], Any] = check_frames) -> InputRefused:
    with pytest.raises(InputRefused) as caught:
        read(frames)
    assert made.CANARY not in str(caught.value)
    return caught.value


@pytest.mark.parametrize(
    ("tags", "code"),
    [
        ({"Rows": SHAPE[0] + 1}, "truncated"),
        ({"Rows": 65535, "Columns": 65535}, "truncated"),
        ({"NumberOfFrames": 2_000_000_000}, "truncated"),
        ({"BitsAllocated": 32, "BitsStored": 32}, "truncated"),
        ({"Rows": SHAPE[0] - 1}, "size-mismatch"),
        ({"Columns": SHAPE[1] - 1}, "size-mismatch"),
        ({"BitsAllocated": 8, "BitsStored": 8}, "size-mismatch"),
        ({"BitsAllocated": 12, "BitsStored": 12}, "undecodable"),
        ({"BitsAllocated": 64, "BitsStored": 64}, "undecodable"),
        ({"SamplesPerPixel": 2}, "undecodable"),
        ({"SamplesPerPixel": 3, "PhotometricInterpretation": "YBR_RCT"}, "undecodable"),
    ],
)
def test_native_headers_that_lie_are_refused_without_taking_memory(
    tmp_path: Path, tags: dict[str, Any], code: str
) -> None:
    item = made.dataset(pixels())
    for name, value in tags.items():
        setattr(item, name, value)
    item.HighBit = item.BitsStored - 1
    frame = made.first(made.save(item, tmp_path / "a.dcm"))
    tracemalloc.start()
    assert refusal([frame]).code == code
    assert refusal([frame], read_frames).code == code
    assert tracemalloc.get_traced_memory()[1] < 1 << 20
    tracemalloc.stop()


def test_a_file_cut_after_its_header_was_read_is_refused(tmp_path: Path) -> None:
    path = made.save(made.dataset(pixels(3)), tmp_path / "a.dcm")
    frames = made.frames(path)
    path.write_bytes(path.read_bytes()[:-100])
    assert refusal(frames, read_frames).code == "truncated"
    path.unlink()
    assert "a.dcm" in str(refusal(frames, read_stored))


@pytest.mark.parametrize("syntax", LOSSLESS)
@pytest.mark.parametrize("tags", [{"Rows": SHAPE[0] + 1}, {"Columns": SHAPE[1] - 1}, {"BitsAllocated": 8}])
def test_streams_of_another_size_than_the_header_says_are_refused(
    tmp_path: Path, syntax: str, tags: dict[str, int]
) -> None:
    item, streams = compressed(pixels(), syntax, tmp_path)
    for name, value in tags.items():
        setattr(item, name, value)
    if "BitsAllocated" in tags:
        item.BitsStored, item.HighBit = 8, 7
    frames = made.frames(made.save_streams(item, tmp_path / "a.dcm", syntax, streams))
    assert refusal(frames, read_frames).code in ("undecodable", "truncated")
    if syntax != uid.RLELossless or "BitsAllocated" in tags:  # runs tell their number only when unpacked
        assert refusal(frames).code == "undecodable"


@pytest.mark.parametrize("syntax", LOSSLESS)
def test_streams_cut_anywhere_are_refused(tmp_path: Path, syntax: str) -> None:
    item, (stream,) = compressed(pixels(), syntax, tmp_path)
    end = len(stream.rstrip(b"\0"))
    for length in sorted({0, 1, 2, 3, 10, 40, 63, 64, 70, end // 2, end - 40, end - 2, end - 1}):
        path = made.save_streams(item, tmp_path / "a.dcm", syntax, [stream[:length] + b"\0" * (length % 2)])
        assert refusal(made.frames(path), read_frames).code in ("truncated", "undecodable")


@pytest.mark.parametrize(
    "wrong", [uid.JPEG2000Lossless, uid.JPEGLSLossless, uid.JPEGLosslessSV1, uid.JPEGBaseline8Bit]
)
def test_streams_of_another_codec_than_the_syntax_says_are_refused(tmp_path: Path, wrong: str) -> None:
    for syntax in set(LOSSLESS) - {wrong}:
        item, streams = compressed(pixels(), syntax, tmp_path)
        frames = made.frames(made.save_streams(item, tmp_path / "a.dcm", wrong, streams))
        assert refusal(frames).code in ("undecodable", "truncated")


def test_syntaxes_that_are_not_read_are_named(tmp_path: Path) -> None:
    path = made.save_streams(made.dataset(pixels()), tmp_path / "a.dcm", uid.MPEG4HP41, [b"\0\0\1\xba" * 9])
    assert uid.MPEG4HP41 in str(refusal(made.frames(path)))


@pytest.mark.parametrize("count", [2, 4, 2_000_000_000])
def test_frames_that_are_not_there_are_refused(tmp_path: Path, count: int) -> None:
    item, streams = compressed(pixels(3), uid.JPEG2000Lossless, tmp_path)
    item.NumberOfFrames = count
    frame = made.first(made.save_streams(item, tmp_path / "a.dcm", uid.JPEG2000Lossless, streams))
    assert refusal([frame]).code in ("undecodable", "truncated")
    assert refusal([frame], read_frames).code in ("undecodable", "truncated")


def test_files_that_end_among_their_fragments_are_refused(tmp_path: Path) -> None:
    item, streams = compressed(pixels(3), uid.RLELossless, tmp_path)
    path = made.save_streams(item, tmp_path / "a.dcm", uid.RLELossless, streams)
    whole = path.read_bytes()
    for cut in (9, 12, 100, len(streams[2]) + 8, len(streams[2]) + 12):
        path.write_bytes(whole[:-cut])
        assert refusal(made.frames(path)).code == "truncated"


def test_bytes_that_are_no_item_are_refused(tmp_path: Path) -> None:
    item, streams = compressed(pixels(3), uid.RLELossless, tmp_path)
    path = made.save_streams(item, tmp_path / "a.dcm", uid.RLELossless, streams)
    content = bytearray(path.read_bytes())
    at = content.rindex(b"\xfe\xff\x00\xe0")
    content[at : at + 2] = b"\xab\xcd"
    path.write_bytes(content)
    assert refusal(made.frames(path)).code == "undecodable"


def test_runs_that_lead_beyond_their_plane_are_refused(tmp_path: Path) -> None:
    item, (stream,) = compressed(pixels(), uid.RLELossless, tmp_path)
    refused = 0
    for at in range(64, len(stream), 41):
        longer = stream[:at] + bytes([stream[at] ^ 0x15]) + stream[at + 1 :]
        path = made.save_streams(item, tmp_path / "a.dcm", uid.RLELossless, [longer])
        try:
            found = read_frames(made.frames(path))
        except InputRefused:
            refused += 1
            continue
        # A value was hit, not a count.
        assert np.count_nonzero(pixels() != found[..., 0].T) <= 128
    assert refused > 5


def test_small_streams_that_would_fill_memory_are_refused(tmp_path: Path) -> None:
    large = np.zeros((4096, 4096), "u2")
    item = made.dataset(large)
    item.compress(uid.JPEG2000Lossless)
    item.save_as(tmp_path / "a.dcm", enforce_file_format=True)
    assert (tmp_path / "a.dcm").stat().st_size < 4096
    assert refusal(made.frames(tmp_path / "a.dcm"), read_frames).code == "too-large"


def test_many_small_streams_that_would_fill_memory_are_refused_together(tmp_path: Path) -> None:
    item = made.dataset(np.zeros((1024, 1024), "u2"))
    item.compress(uid.JPEG2000Lossless)
    (stream,) = generate_frames(item.PixelData, number_of_frames=1)
    item.NumberOfFrames = 200
    frames = made.frames(made.save_streams(item, tmp_path / "a.dcm", uid.JPEG2000Lossless, [stream] * 200))
    assert refusal(frames, read_frames).code == "too-large"
    np.testing.assert_array_equal(read_stored(frames[:3]), 0)


def test_compressed_frames_beyond_64_million_samples_are_refused(tmp_path: Path) -> None:
    item, streams = compressed(pixels(), uid.JPEG2000Lossless, tmp_path)
    item.Rows, item.Columns = 8193, 8192
    frames = made.frames(made.save_streams(item, tmp_path / "a.dcm", uid.JPEG2000Lossless, streams))
    assert refusal(frames).code == "too-large"


@pytest.mark.parametrize(
    ("slope", "intercept"), [(0.0, 0.0), (float("nan"), 0.0), (1.0, float("inf")), (1e38, 0.0)]
)
def test_rescales_that_lead_nowhere_are_refused(tmp_path: Path, slope: float, intercept: float) -> None:
    frame = made.first(made.save(made.dataset(pixels()), tmp_path / "a.dcm"))
    assert refusal([replace(frame, slope=slope, intercept=intercept)], read_frames).code == "bad-header"


def test_slices_of_different_size_are_no_volume(tmp_path: Path) -> None:
    one = made.first(made.save(made.dataset(pixels()), tmp_path / "a.dcm"))
    other = made.first(made.save(made.dataset(pixels()[:-1]), tmp_path / "b.dcm"))
    assert refusal([one, other]).code == "several-matrices"


def test_endless_fragments_and_tables_are_refused_in_little_memory(tmp_path: Path) -> None:
    item, streams = compressed(pixels(), uid.JPEG2000Lossless, tmp_path)
    item.NumberOfFrames = 2_000_000_000
    path = made.save_streams(item, tmp_path / "a.dcm", uid.JPEG2000Lossless, streams, has_bot=False)
    content = path.read_bytes()
    table = content.index(b"\xfe\xff\x00\xe0" + bytes(4))
    for middle in (b"\xfe\xff\x00\xe0" + bytes(4), (1 << 24).to_bytes(4, "little") + bytes(1 << 24)):
        begin = content[: table + 8] if len(middle) == 8 else content[: table + 4]
        path.write_bytes(begin + middle * (200_000 if len(middle) == 8 else 1) + content[table + 8 :])
        frame = made.first(path)
        tracemalloc.start()
        assert refusal([frame]).code in ("too-large", "undecodable")
        assert tracemalloc.get_traced_memory()[1] < 1 << 26
        tracemalloc.stop()
