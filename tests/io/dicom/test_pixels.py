"""Pixels of every layout and syntax against what was written, pydicom and GDCM."""

from __future__ import annotations

import base64
import io
import os
import shutil
import struct
import subprocess
import tracemalloc
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray
from PIL import Image
from pydicom import uid
from pydicom.encaps import generate_frames

from medseg.errors import InputRefused
from medseg.io.dicom.files import scan
from medseg.io.dicom.pixels import check_frames, read_frames, read_stored
from tests.io.dicom import made

_KINDS = ("rle", "j2k", "jpeg", "jpegls")
SHAPE = (71, 46)  # rows, columns
NATIVE = (uid.ImplicitVRLittleEndian, uid.ExplicitVRLittleEndian, uid.ExplicitVRBigEndian)
# 20 rows of 24 columns, row * 37 % 256 + column * 11 % 200, times 7; encoded by OpenJPH, lossless.
HTJ2K = base64.b64decode(
    "/0//UQApQAAAAAAYAAAAFAAAAAAAAAAAAAAAGAAAABQAAAAAAAAAAAABDwEB/1AACAACAAAACv9SAAwAAgABAAUEBEAB/1wAEyCI"
    "kJCQkJCQkJCQkJCQiIiI/2QAFwABT3BlbkpQSCBWZXIgMC4yNi4zLv+QAAoAAAAAASMAAf+TwAAmifUFB3QAwAATQAASgFz4Awd0"
    "AGwCB3QAwAATQAASAHr9AIt0AO0KMwDAABaEAAFcl8tNbnK5yQwgC4yAA9J5AKIgvCgILwrCAIQBeLYAwAAWnAABdKDIRMZWW5FB"
    "xlZbkbH13/Q4oZYAHvbQQw899PDDH/7whz/8YUYywggjGWHkAPv7np6bSikYwKddAMAALqIAAXqgd92Fwdx1FyaY3HUXJpjcdRcm"
    "mNx1FyaY/Ov4B5T+U/lP5TgGAHJ/AP9+77//fvfff/9977//ftff/va3v/3tb3/729/+9re/CSRAgAABAgQIECBAgMD0AQgHv2Qg"
    "Hv2QgHsspQN+8pQN+8pQN9YABSge/ZSge/ZSgey2Av/Z"
)


def noise(dtype: str, low: int, high: int, shape: tuple[int, ...] = SHAPE) -> NDArray[Any]:
    """Anything from low to high, ends included."""
    found = np.random.default_rng(5).integers(low, high, shape, dtype=np.int64, endpoint=True)
    found.flat[:2] = low, high
    return found.astype(dtype)


def smooth(low: int = 0, high: int = 4095, dtype: str = "u2") -> NDArray[Any]:
    """A gradient with some noise: what encoders are made for."""
    ramp = np.indices(SHAPE).sum(0) * (high - low) / (2 * sum(SHAPE))
    return (low + ramp + np.random.default_rng(3).integers(0, (high - low) // 8, SHAPE)).astype(dtype)


def slices(array: NDArray[Any]) -> NDArray[Any]:
    """(frame, row, column) as the reader has it: (column, row, slice)."""
    return array.T if array.ndim == 3 else array[None].T


def mixed_frames(paths: list[Path]) -> list[Any]:
    return [frame for path in paths for frame in made.frames(path)]


# --- native layouts ---


@pytest.mark.parametrize("syntax", [*NATIVE, uid.DeflatedExplicitVRLittleEndian])
@pytest.mark.parametrize(
    ("dtype", "allocated", "stored", "high"),
    [
        ("u1", 8, 8, 7), ("i1", 8, 8, 7), ("u1", 8, 5, 4), ("u2", 16, 16, 15), ("i2", 16, 16, 15),
        ("u2", 16, 12, 11), ("i2", 16, 12, 11), ("u2", 16, 12, 15), ("i2", 16, 10, 13), ("u4", 32, 32, 31),
        ("i4", 32, 24, 23),
    ],
)  # fmt: skip
def test_native_pixels_are_what_was_stored_whatever_stands_in_unused_bits(
    tmp_path: Path, syntax: str, dtype: str, allocated: int, stored: int, high: int
) -> None:
    signed = dtype[0] == "i"
    low = -(1 << stored - 1) if signed else 0
    values = noise("i8", low, low + (1 << stored) - 1, (3, *SHAPE))
    shift = high + 1 - stored
    field = ((1 << stored) - 1) << shift
    garbage = noise("i8", 0, (1 << allocated) - 1, (3, *SHAPE)) & ~field
    raw = ((values << shift) & field | garbage).astype(f"u{allocated // 8}").view(dtype)
    item = made.dataset(raw, BitsStored=stored, HighBit=high)
    frames = made.frames(made.save(item, tmp_path / "a.dcm", syntax))
    found = read_stored(frames)
    assert found.dtype == np.dtype(dtype)
    assert found.flags.f_contiguous
    np.testing.assert_array_equal(found, slices(values))
    np.testing.assert_array_equal(read_frames(frames[::-1]), slices(values)[..., ::-1])


@pytest.mark.parametrize("vr", ["OB", "OW"])
@pytest.mark.parametrize("shape", [(3, 5, 7), (2, 8, 4)])
def test_bytes_of_big_endian_words_are_turned_only_where_they_are_words(
    tmp_path: Path, vr: str, shape: tuple[int, ...]
) -> None:
    pixels = noise("u1", 0, 255, shape)
    item = made.dataset(pixels)
    item["PixelData"].VR = vr
    frames = made.frames(made.save(item, tmp_path / "a.dcm", uid.ExplicitVRBigEndian))
    np.testing.assert_array_equal(read_stored(frames), slices(pixels))


def test_big_endian_pixels_under_a_little_endian_header_are_turned(tmp_path: Path) -> None:
    pixels = noise("i2", -2048, 2047)
    item = made.dataset(pixels, PixelData=pixels.byteswap().tobytes())
    item.file_meta.TransferSyntaxUID = uid.UID("1.2.840.113619.5.2")  # GE's own
    pydicom.dcmwrite(tmp_path / "a.dcm", item, implicit_vr=True, little_endian=True, force_encoding=True)
    np.testing.assert_array_equal(read_stored(made.frames(tmp_path / "a.dcm")), slices(pixels))


@pytest.mark.parametrize("syntax", NATIVE)
def test_single_bits_run_on_from_frame_to_frame(tmp_path: Path, syntax: str) -> None:
    pixels = noise("u1", 0, 1, (5, 3, 7))  # 21 bits per frame
    packed = np.packbits(pixels.ravel(), bitorder="little").tobytes()
    packed += bytes(len(packed) % 2)
    item = made.dataset(pixels, BitsAllocated=1, BitsStored=1, PixelData=packed)
    frames = made.frames(made.save(item, tmp_path / "a.dcm", syntax))
    found = read_stored([frames[n] for n in (3, 0, 4, 2)])
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, slices(pixels[[3, 0, 4, 2]]))


def test_colour_by_plane_and_by_pixel_are_the_same(tmp_path: Path) -> None:
    pixels = noise("u1", 0, 255, (2, *SHAPE, 3))
    by_pixel = made.save(made.dataset(pixels, SamplesPerPixel=3), tmp_path / "a.dcm")
    planes = np.ascontiguousarray(np.moveaxis(pixels, -1, 1)).tobytes()
    item = made.dataset(pixels, SamplesPerPixel=3, PixelData=planes, PlanarConfiguration=1)
    by_plane = made.save(item, tmp_path / "b.dcm")
    for path in (by_pixel, by_plane):
        found = read_frames(made.frames(path))
        assert found.shape == (3, SHAPE[1], SHAPE[0], 2)
        np.testing.assert_array_equal(found, pixels.transpose(3, 2, 1, 0))


@pytest.mark.parametrize("photometric", ["YBR_FULL", "YBR_FULL_422"])
def test_luminance_and_chrominance_become_rgb_as_pydicom_has_it(tmp_path: Path, photometric: str) -> None:
    pixels = noise("u1", 0, 255, (*SHAPE, 3))
    stored = pixels
    if photometric == "YBR_FULL_422":
        stored = np.concatenate([pixels[:, ::2, 0:1], pixels[:, 1::2, 0:1], pixels[:, ::2, 1:]], -1)
    item = made.dataset(
        pixels, SamplesPerPixel=3, PhotometricInterpretation=photometric, PixelData=stored.tobytes()
    )
    path = made.save(item, tmp_path / "a.dcm")
    expected = pydicom.pixels.pixel_array(path, raw=False).astype(int)
    found = read_frames(made.frames(path)).astype(int)
    assert np.abs(found[..., 0] - expected.transpose(2, 1, 0)).max() <= 1  # it rounds otherwise


def test_tiles_are_cut_from_one_frame(tmp_path: Path) -> None:
    pixels = noise("i2", -500, 500, (12, 20))
    frame = made.frames(made.save(made.dataset(pixels), tmp_path / "a.dcm"))[0]
    tiles = [replace(frame, tile=(top, left, 6, 5), slope=2.5) for top in (0, 6) for left in (0, 5, 15)]
    expected = [pixels[t[0] : t[0] + 6, t[1] : t[1] + 5] for t in (tile.tile for tile in tiles) if t]
    np.testing.assert_array_equal(read_stored(tiles), slices(np.array(expected)))
    np.testing.assert_array_equal(read_frames(tiles), slices(np.array(expected) * np.float32(2.5)))


def test_members_of_archives_are_read_as_files_are(tmp_path: Path) -> None:
    pixels = noise("i2", -999, 999, (4, *SHAPE))
    native = made.save(made.dataset(pixels), tmp_path / "native.dcm")
    item = made.dataset(pixels)
    item.compress(uid.RLELossless)
    item.SeriesInstanceUID = "1.2.3.5"
    item.save_as(tmp_path / "rle.dcm", enforce_file_format=True)
    with zipfile.ZipFile(tmp_path / "scans.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(native, "deep/native.dcm")
        archive.write(tmp_path / "rle.dcm", "deep/rle.dcm")
    found = scan(tmp_path / "scans.zip").frames
    assert len({frame.image.sop_uid for frame in found}) == 2
    for first in found:
        frames = [replace(first, number=n) for n in range(4)]
        np.testing.assert_array_equal(read_stored(frames), slices(pixels))


# --- compressed ---


@pytest.mark.parametrize(
    ("syntax", "dtype", "stored"),
    [
        (syntax, dtype, stored)
        for syntax in (uid.RLELossless, uid.JPEG2000Lossless, uid.JPEGLSLossless)
        for dtype, stored in (("u1", 8), ("u2", 12), ("u2", 16), ("i1", 8), ("i2", 12), ("i2", 16))
        if dtype[0] == "u" or syntax != uid.JPEGLSLossless  # which pydicom does not encode
    ],
)
def test_lossless_syntaxes_keep_every_value(tmp_path: Path, syntax: str, dtype: str, stored: int) -> None:
    low = -(1 << stored - 1) if dtype[0] == "i" else 0
    pixels = np.stack([noise(dtype, low, low + (1 << stored) - 1), smooth(low, low + 99, dtype)])
    item = made.dataset(pixels, BitsStored=stored)
    item.compress(uid.UID(syntax))
    item.save_as(tmp_path / "a.dcm", enforce_file_format=True)
    frames = made.frames(tmp_path / "a.dcm")
    check_frames(frames)
    np.testing.assert_array_equal(read_stored(frames), slices(pixels))


@pytest.mark.parametrize("stored", [8, 12, 16])
def test_lossless_jpeg_keeps_every_value(tmp_path: Path, stored: int) -> None:
    pixels = noise("u1" if stored == 8 else "u2", 0, (1 << stored) - 1)
    stream = made.lossless_jpeg(pixels, tmp_path)
    item = made.dataset(pixels, BitsStored=stored)
    path = made.save_streams(item, tmp_path / "a.dcm", uid.JPEGLosslessSV1, [stream])
    np.testing.assert_array_equal(read_stored(made.frames(path)), slices(pixels))


def test_signed_values_survive_a_stream_that_does_not_know_of_signs(tmp_path: Path) -> None:
    pixels = noise("i2", -2048, 2047)
    stream = made.lossless_jpeg(pixels.view("u2") & 0xFFF, tmp_path)
    item = made.dataset(pixels, BitsStored=12)
    path = made.save_streams(item, tmp_path / "a.dcm", uid.JPEGLossless, [stream])
    np.testing.assert_array_equal(read_stored(made.frames(path)), slices(pixels))


def test_high_throughput_jpeg_2000_is_decoded(tmp_path: Path) -> None:
    pixels = (np.add.outer(np.arange(20) * 37 % 256, np.arange(24) * 11 % 200) * 7).astype("u2")
    path = made.save_streams(made.dataset(pixels), tmp_path / "a.dcm", uid.HTJ2KLossless, [HTJ2K])
    np.testing.assert_array_equal(read_stored(made.frames(path)), slices(pixels))


@pytest.mark.parametrize("syntax", [uid.JPEG2000, uid.JPEGLSNearLossless])
def test_lossy_syntaxes_give_what_pydicom_gives(tmp_path: Path, syntax: str) -> None:
    item = made.dataset(smooth(), BitsStored=12)
    options: dict[str, Any] = {"j2k_cr": [8]} if syntax == uid.JPEG2000 else {"jls_error": 3}
    item.compress(uid.UID(syntax), **options)
    item.save_as(tmp_path / "a.dcm", enforce_file_format=True)
    found = read_stored(made.frames(tmp_path / "a.dcm"))
    np.testing.assert_array_equal(found, slices(pydicom.dcmread(tmp_path / "a.dcm").pixel_array))
    assert not np.array_equal(found, slices(smooth()))


def _jpeg(pixels: NDArray[Any], **options: Any) -> bytes:
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, "JPEG", quality=90, **options)
    return content.getvalue()


def test_baseline_jpeg_gives_what_libjpeg_gives(tmp_path: Path) -> None:
    grey = smooth(0, 255, "u1")
    path = made.save_streams(made.dataset(grey), tmp_path / "a.dcm", uid.JPEGBaseline8Bit, [_jpeg(grey)])
    expected = np.asarray(Image.open(io.BytesIO(_jpeg(grey))))
    np.testing.assert_array_equal(read_stored(made.frames(path)), slices(expected))


@pytest.mark.parametrize("subsampling", [0, 1])
def test_colours_of_baseline_jpeg_become_rgb(tmp_path: Path, subsampling: int) -> None:
    colour = np.stack([smooth(0, 255, "u1"), smooth(0, 99, "u1"), noise("u1", 0, 9)], -1)
    stream = _jpeg(colour, subsampling=subsampling)
    item = made.dataset(colour, SamplesPerPixel=3, PhotometricInterpretation="YBR_FULL_422")
    path = made.save_streams(item, tmp_path / "a.dcm", uid.JPEGBaseline8Bit, [stream])
    expected = np.asarray(Image.open(io.BytesIO(stream)))
    np.testing.assert_array_equal(read_frames(made.frames(path))[..., 0], expected.transpose(2, 1, 0))


def test_unmarked_rgb_in_baseline_jpeg_stays_as_it_is(tmp_path: Path) -> None:
    colour = np.stack([smooth(0, 255, "u1"), smooth(0, 99, "u1"), noise("u1", 0, 9)], -1)
    content = io.BytesIO()
    Image.fromarray(colour).save(content, "JPEG", quality=95, keep_rgb=True)
    stream = content.getvalue()
    # Take the mark of Adobe out, and name the samples 1, 2, 3: now only DICOM tells what they are.
    at = stream.index(b"\xff\xee")
    stream = stream[:at] + stream[at + 2 + struct.unpack(">H", stream[at + 2 : at + 4])[0] :]
    for number, letter in enumerate(b"RGB", 1):
        stream = stream.replace(bytes([letter]) + b"\x11", bytes([number]) + b"\x11", 1)
    scan_at = stream.index(b"\xff\xda") + 5
    stream = stream[:scan_at] + b"\1\0\2\0\3\0" + stream[scan_at + 6 :]
    item = made.dataset(colour, SamplesPerPixel=3)
    path = made.save_streams(item, tmp_path / "a.dcm", uid.JPEGBaseline8Bit, [stream])
    found = read_frames(made.frames(path))[..., 0].transpose(2, 1, 0).astype(int)
    assert np.abs(found - colour).max() < 12


@pytest.mark.parametrize("syntax", [uid.JPEG2000Lossless, uid.JPEGLSLossless, uid.RLELossless])
def test_colours_of_lossless_syntaxes_are_kept(tmp_path: Path, syntax: str) -> None:
    pixels = noise("u1", 0, 255, (2, *SHAPE, 3))
    item = made.dataset(pixels, SamplesPerPixel=3)
    item.compress(uid.UID(syntax))
    item.save_as(tmp_path / "a.dcm", enforce_file_format=True)
    np.testing.assert_array_equal(read_frames(made.frames(tmp_path / "a.dcm")), pixels.transpose(3, 2, 1, 0))


@pytest.mark.parametrize("interleave", [0, 1, 2])
def test_every_order_of_samples_in_jpeg_ls_is_known(tmp_path: Path, interleave: int) -> None:
    import jpeg_ls

    pixels = noise("u1", 0, 255, (*SHAPE, 3))
    ordered = np.ascontiguousarray(pixels.transpose(2, 0, 1)) if interleave == 0 else pixels
    stream = bytes(jpeg_ls.encode_array(ordered, interleave_mode=interleave))
    item = made.dataset(pixels, SamplesPerPixel=3)
    path = made.save_streams(item, tmp_path / "a.dcm", uid.JPEGLSLossless, [stream])
    np.testing.assert_array_equal(read_frames(made.frames(path))[..., 0], pixels.transpose(2, 1, 0))


@pytest.mark.skipif(shutil.which("dcmcjpeg") is None, reason="dcmtk is not installed")
@pytest.mark.parametrize("option", ["+eb", "+ee", "+el", "+e1"])
def test_what_dcmtk_encodes_reads_as_dcmtk_decodes_it(tmp_path: Path, option: str) -> None:
    item = made.dataset(smooth(), BitsStored=12)
    path = made.save(item, tmp_path / "raw.dcm")
    for command in (
        ["dcmcjpeg", option, path, tmp_path / "jpeg.dcm"],
        ["dcmdjpeg", tmp_path / "jpeg.dcm", tmp_path / "back.dcm"],
    ):
        subprocess.run(command, check=True, capture_output=True)
    found = read_frames(made.frames(tmp_path / "jpeg.dcm"))
    np.testing.assert_array_equal(found, read_frames(made.frames(tmp_path / "back.dcm")))


def test_frames_are_gathered_from_fragments_by_table_or_by_their_marks(tmp_path: Path) -> None:
    pixels = noise("u2", 0, 4095, (3, *SHAPE))
    item = made.dataset(pixels, BitsStored=12)
    item.compress(uid.JPEG2000Lossless)
    streams = list(generate_frames(item.PixelData, number_of_frames=3))
    for number, has_table in enumerate((True, False)):
        path = tmp_path / f"{number}.dcm"
        made.save_streams(item, path, uid.JPEG2000Lossless, streams, fragments_per_frame=4, has_bot=has_table)
        frames = made.frames(path)
        check_frames(frames)
        np.testing.assert_array_equal(read_stored(frames[::-1]), slices(pixels[::-1]))


@pytest.mark.parametrize("syntax", ["1.2.840.10008.1.2.1.98", "1.2.840.10008.1.2.8.1"])
def test_plain_and_deflated_frames_in_fragments_are_read(tmp_path: Path, syntax: str) -> None:
    import zlib

    pixels = noise("i2", -2048, 2047, (3, *SHAPE))
    streams = [frame.tobytes() for frame in pixels]
    if syntax.endswith("8.1"):
        deflate = [zlib.compressobj(wbits=-15) for _ in streams]
        streams = [d.compress(s) + d.flush() for d, s in zip(deflate, streams, strict=True)]
        streams = [s + bytes(len(s) % 2) for s in streams]
    path = made.save_streams(made.dataset(pixels), tmp_path / "a.dcm", syntax, streams)
    np.testing.assert_array_equal(read_stored(made.frames(path)), slices(pixels))


@pytest.mark.parametrize("syntax", [None, uid.JPEG2000Lossless])
@pytest.mark.parametrize("slope", [1, 0.5])
def test_memory_holds_the_result_and_a_frame_per_thread(
    tmp_path: Path, syntax: str | None, slope: float
) -> None:
    item = made.dataset(np.tile(smooth(), (40, 4, 4)), BitsStored=12, RescaleSlope=slope)
    if syntax is not None:
        item.compress(uid.UID(syntax))
    item.save_as(tmp_path / "a.dcm", enforce_file_format=True)
    frames = made.frames(tmp_path / "a.dcm")
    read_frames(frames[:1])
    tracemalloc.start()
    found = read_frames(frames)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    threads = 2 if syntax is None else os.cpu_count() or 1
    in_float64 = 8 * found[..., 0].size
    assert peak < found.nbytes + 2.5 * in_float64 * min(threads, 8) + 500_000


# --- values ---


@pytest.mark.parametrize(
    ("bits", "signed", "rescales", "dtype"),
    [
        (12, False, [(1, -1024)], "i2"),
        (12, False, [(1, 0)], "i2"),
        (16, False, [(1, 0)], "u2"),
        (16, False, [(1, -1024)], "i4"),
        (16, True, [(1, 0)], "i2"),
        (8, False, [(1, 0)], "u1"),
        (12, True, [(1, 2048)], "i2"),
        (12, False, [(1, -1024), (1, -1000)], "i2"),
        (12, False, [(2, -1024), (3, 7)], "i2"),
        (16, False, [(-1, 0)], "i4"),
        (12, False, [(1, 0.5)], "f4"),
        (12, False, [(0.25, -3), (1.75, 0.125)], "f4"),
    ],
)
def test_values_are_rescaled_slice_by_slice_and_stay_whole_where_they_can(
    tmp_path: Path, bits: int, signed: bool, rescales: list[tuple[float, float]], dtype: str
) -> None:
    low = -(1 << bits - 1) if signed else 0
    stored = noise("i2" if signed else "u2", low, low + (1 << bits) - 1, (len(rescales), *SHAPE))
    paths = [
        made.save(
            made.dataset(pixels, BitsStored=bits, RescaleSlope=slope, RescaleIntercept=intercept),
            tmp_path / f"{n}.dcm",
        )
        for n, (pixels, (slope, intercept)) in enumerate(zip(stored, rescales, strict=True))
    ]
    found = read_frames(mixed_frames(paths))
    expected = np.array([p * np.float64(a) + b for p, (a, b) in zip(stored, rescales, strict=True)])
    assert found.dtype == np.dtype(dtype)
    np.testing.assert_array_equal(found, slices(expected.astype(dtype)))


def test_monochrome1_is_a_matter_of_display(tmp_path: Path) -> None:
    pixels = smooth()
    path = made.save(made.dataset(pixels, PhotometricInterpretation="MONOCHROME1"), tmp_path / "a.dcm")
    np.testing.assert_array_equal(read_frames(made.frames(path)), slices(pixels))
    np.testing.assert_array_equal(read_frames(made.frames(path)), slices(pydicom.dcmread(path).pixel_array))


def test_palettes_are_indices_or_nothing(tmp_path: Path) -> None:
    pixels = noise("u1", 0, 255)
    path = made.save(made.dataset(pixels, PhotometricInterpretation="PALETTE COLOR"), tmp_path / "a.dcm")
    np.testing.assert_array_equal(read_stored(made.frames(path)), slices(pixels))
    with pytest.raises(InputRefused) as refusal:
        read_frames(made.frames(path))
    assert refusal.value.code == "colour"


# --- real ones ---


def test_real_compressed_twins_hold_the_same_values(real_data: Path) -> None:
    folders = [real_data / "dicom" / f"generic_compressed_{kind}" / "001" for kind in _KINDS]
    found = [read_frames(mixed_frames(sorted(folder.glob("*.dcm")))) for folder in folders]
    expected = [pydicom.dcmread(path).pixel_array for path in sorted(folders[0].glob("*.dcm"))]
    for twin in found:
        np.testing.assert_array_equal(twin, slices(np.array(expected)))


@pytest.mark.skipif(shutil.which("dcmdjpeg") is None, reason="dcmtk is not installed")
def test_nine_real_syntaxes_hold_what_dcmtk_finds_in_them(real_data: Path, tmp_path: Path) -> None:
    tools = {"4.57": "dcmdjpeg", "4.70": "dcmdjpeg", "4.80": "dcmdjpls", "5": "dcmdrle"}
    seen = set()
    for path in sorted((real_data / "dicom" / "nine_transfer_syntaxes" / "In").glob("*.dcm")):
        first = made.first(path)
        whole = replace(first, tile=None)
        tool = tools.get(first.image.transfer_syntax.removeprefix("1.2.840.10008.1.2."))
        plain = tmp_path / path.name
        if tool is None:
            shutil.copy(path, plain)
        else:
            subprocess.run([tool, path, plain], check=True, capture_output=True)
        expected = pydicom.dcmread(plain).pixel_array
        np.testing.assert_array_equal(read_stored([whole]), slices(expected))
        seen.add(first.image.transfer_syntax)
    assert len(seen) == 7
