"""PNG and TIFF: axes, depths, colours, and pixel sizes that can be trusted."""

from __future__ import annotations

import struct
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import tifffile
from PIL import Image

import medseg
from medseg import Geometry, LabelMap, LabelSet, Volume
from medseg.errors import WriteFailed

PLANE = np.diag([-1.0, -1.0, 1.0, 1.0])
GREY = np.arange(35, dtype=np.uint8).reshape(5, 7)  # row, column


def _refused(path: Path, code: str) -> None:
    with pytest.raises(medseg.InputRefused) as refusal:
        medseg.read(path)
    assert refusal.value.code == code


@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize("factor", [1, 1000])
def test_i_is_the_column_and_j_the_row(tmp_path: Path, suffix: str, factor: int) -> None:
    pixels = GREY.astype(np.uint16) * factor if factor > 1 else GREY
    path = tmp_path / f"image{suffix}"
    Image.fromarray(pixels).save(path)
    found = medseg.read(path)
    assert found.data.shape == (1, 7, 5, 1)
    assert found.data.dtype == pixels.dtype
    assert found.data[0, 6, 2, 0] == pixels[2, 6]
    assert np.array_equal(found.geometry.affine, PLANE)
    assert found.geometry.is_2d
    assert not found.geometry.spacing_known
    assert found.verdict.status == "ok"


@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_colours_are_three_channels_in_full_depth(tmp_path: Path, suffix: str, dtype: type) -> None:
    pixels = (np.random.default_rng(0).random((5, 7, 3)) * np.iinfo(dtype).max).astype(dtype)
    path = tmp_path / f"colour{suffix}"
    sitk.WriteImage(sitk.GetImageFromArray(pixels, isVector=True), str(path))
    found = medseg.read(path)
    assert found.data.dtype == dtype
    assert np.array_equal(found.data[..., 0].transpose(2, 1, 0), pixels)


def test_planar_tiff_has_the_same_channels(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (3, 5, 7)).astype(np.uint8)
    tifffile.imwrite(tmp_path / "planar.tif", pixels, photometric="rgb", planarconfig="separate")
    found = medseg.read(tmp_path / "planar.tif")
    assert np.array_equal(found.data[..., 0].transpose(0, 2, 1), pixels)
    assert found.verdict.codes == ("colour-planes",)
    tifffile.imwrite(
        tmp_path / "plain.tif", pixels, photometric="rgb", planarconfig="separate", metadata=None
    )
    assert medseg.read(tmp_path / "plain.tif").verdict.status == "ok"


def test_transparency_is_left_out_and_said_unless_opaque(tmp_path: Path) -> None:
    pixels = np.dstack([GREY, GREY, GREY, np.full_like(GREY, 255)])
    Image.fromarray(pixels).save(tmp_path / "a.png")
    assert medseg.read(tmp_path / "a.png").verdict.status == "ok"
    pixels[2, 3, 3] = 10
    Image.fromarray(pixels).save(tmp_path / "a.png")
    found = medseg.read(tmp_path / "a.png")
    assert found.data.shape[0] == 3
    assert found.verdict.codes == ("alpha-ignored",)


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_few_bits_are_values_not_shades(tmp_path: Path, bits: int) -> None:
    values = GREY % (1 << bits)
    image = Image.fromarray(values).convert("L")
    image.putpalette([c for n in range(256) for c in (n, n, n)])
    image.save(tmp_path / "few.png", bits=bits)
    found = medseg.read_labels(tmp_path / "few.png")
    assert np.array_equal(found.data[..., 0].T, values)
    assert found.verdict.codes == ("palette",)
    if bits == 1:
        Image.fromarray(values.astype(bool)).save(tmp_path / "mask.png")
        assert np.array_equal(medseg.read_labels(tmp_path / "mask.png").data[..., 0].T, values)


def test_label_255_stays_255(tmp_path: Path) -> None:
    data = np.where(GREY.T > 20, 255, 0).astype(np.uint8)[..., None]
    labels = LabelMap(data, Geometry((7, 5, 1), PLANE, True, False), LabelSet.from_names({255: "cell"}))
    path = medseg.write(labels, tmp_path / "seg.png")
    assert np.array_equal(np.asarray(Image.open(path)), data[..., 0].T)
    assert medseg.read_labels(path).labels.ids == (255,)


def test_resolution_for_paper_is_no_pixel_size_but_a_calibration_is(tmp_path: Path) -> None:
    Image.fromarray(GREY).save(tmp_path / "dpi.png", dpi=(300, 300))
    tifffile.imwrite(tmp_path / "dpi.tif", GREY, resolution=(300, 300), resolutionunit="INCH")
    assert not medseg.read(tmp_path / "dpi.png").geometry.spacing_known
    assert not medseg.read(tmp_path / "dpi.tif").geometry.spacing_known
    tifffile.imwrite(tmp_path / "ij.tif", GREY, imagej=True, resolution=(4, 2), metadata={"unit": "um"})
    found = medseg.read(tmp_path / "ij.tif")
    assert found.geometry.spacing_known
    assert found.geometry.spacing[:2] == pytest.approx((0.00025, 0.0005))
    again = medseg.read(medseg.write(found, tmp_path / "again.tif"))
    assert again.geometry.spacing == pytest.approx(found.geometry.spacing)
    assert again.geometry.spacing_known


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int16, np.float32, np.float64])
def test_tiff_keeps_every_type(tmp_path: Path, dtype: type) -> None:
    data = np.random.default_rng(1).integers(0, 99, (2, 7, 5, 1)).astype(dtype)
    for channels in (1, 2):
        volume = Volume(data[:channels], Geometry((7, 5, 1), PLANE, True, False))
        path = medseg.write(volume, tmp_path / f"{channels}.tif")
        stored = tifffile.imread(path)
        assert stored.dtype == dtype
        assert np.array_equal(stored.reshape(5, 7, channels), data[:channels, ..., 0].transpose(2, 1, 0))


def test_a_grid_in_space_is_not_thrown_away_in_a_picture(
    tmp_path: Path, oblique: Callable[..., Volume]
) -> None:
    with pytest.raises(WriteFailed, match="no grid in space"):
        medseg.write(oblique(), tmp_path / "scan.png")
    calibrated = Volume(GREY.T[None, ..., None], Geometry((7, 5, 1), np.diag([-0.5, -0.5, 1, 1]), True))
    with pytest.raises(WriteFailed, match="pixel size"):
        medseg.write(calibrated, tmp_path / "scan.png")


@pytest.mark.parametrize("suffix", [".nii.gz", ".nrrd", ".mha"])
def test_a_picture_keeps_its_nature_in_other_formats(tmp_path: Path, suffix: str) -> None:
    Image.fromarray(GREY).save(tmp_path / "image.png")
    picture = medseg.read(tmp_path / "image.png")
    again = medseg.read(medseg.write(picture, tmp_path / f"image{suffix}"))
    assert again.geometry.same_grid(picture.geometry, 1e-6)
    assert again.geometry.is_2d
    assert not again.geometry.spacing_known


def test_a_jpeg_is_read_as_pillow_decodes_it(tmp_path: Path) -> None:
    smooth = np.add.outer(np.arange(40), np.arange(56)).astype(np.uint8)
    for mode, progressive in (("L", False), ("RGB", False), ("RGB", True)):
        path = tmp_path / f"{mode}{progressive}.jpg"
        Image.fromarray(smooth).convert(mode).save(path, progressive=progressive)
        found = medseg.read(path)
        expected = np.asarray(Image.open(path)).reshape(40, 56, -1)
        assert np.array_equal(found.data[..., 0].transpose(2, 1, 0), expected)
        assert found.verdict.codes == ("lossy",)
        assert found.geometry.is_2d


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".tif"])
def test_a_picture_that_asks_to_be_turned_is_taken_as_stored_and_says_so(tmp_path: Path, suffix: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    path = tmp_path / f"turned{suffix}"
    Image.fromarray(GREY).save(path, exif=exif)
    found = medseg.read(path)
    assert found.data.shape == (1, 7, 5, 1)
    assert "exif-orientation" in found.verdict.codes


@pytest.mark.parametrize("damage", ["cut", "no end", "cmyk", "12 bits", "lossless", "empty", "huge", "scans"])
def test_jpegs_that_are_not_plainly_right_are_refused(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "bad.jpg"
    Image.fromarray(np.dstack([GREY] * 4), "CMYK" if damage == "cmyk" else "RGBA").convert(
        "CMYK" if damage == "cmyk" else "RGB"
    ).save(path)
    good = path.read_bytes()
    frame, scan = good.index(b"\xff\xc0"), good.index(b"\xff\xda")
    content, code = {
        "cut": (good[:-20], "truncated"),
        "no end": (good[:-2], "truncated"),
        "cmyk": (good, "unsupported-encoding"),
        "12 bits": (good[: frame + 4] + b"\x0c" + good[frame + 5 :], "unsupported-encoding"),
        "lossless": (good[: frame + 1] + b"\xc3" + good[frame + 2 :], "unsupported-encoding"),
        "empty": (good[: frame + 5] + bytes(4) + good[frame + 9 :], "bad-header"),
        "huge": (good[: frame + 5] + b"\xff\xff\xff\xff" + good[frame + 9 :], "too-large"),
        "scans": (good[:-2] + good[scan:-2] * 200 + good[-2:], "too-large"),
    }[damage]
    path.write_bytes(content)
    _refused(path, code)


@pytest.mark.parametrize("compression", ["zlib", "packbits", "tiff_lzw", "tiff_jpeg"])
@pytest.mark.parametrize("predictor", [False, True])
def test_compressed_tiff_is_read_as_pillow_decodes_it(
    tmp_path: Path, compression: str, predictor: bool
) -> None:
    path = tmp_path / "packed.tif"
    if compression == "zlib":
        tifffile.imwrite(path, GREY, compression=compression, predictor=predictor)
    else:
        Image.fromarray(GREY).save(path, compression=compression)
    assert np.array_equal(medseg.read(path).data[0, ..., 0].T, np.asarray(Image.open(path)))


def test_transparency_of_16_bit_tiff_is_said(tmp_path: Path) -> None:
    pixels = np.dstack([GREY.astype(np.uint16) * 100] * 4)
    for name, extra in (("tagged.tif", ["unassalpha"]), ("untagged.tif", ["unspecified"])):
        tifffile.imwrite(tmp_path / name, pixels, photometric="rgb", extrasamples=extra)
        found = medseg.read(tmp_path / name)
        assert found.data.shape == (3, 7, 5, 1)
        assert found.verdict.codes == ("alpha-ignored",)
        assert np.array_equal(found.data[0, ..., 0].T, pixels[..., 0])


def test_a_stack_of_three_is_no_colour_picture(tmp_path: Path) -> None:
    stack = np.stack([GREY.astype(np.uint16)] * 3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        tifffile.imwrite(tmp_path / "guessed.tif", stack)  # tifffile marks it as planes of colour
    tifffile.imwrite(tmp_path / "pages.tif", stack, photometric="minisblack")
    tifffile.imwrite(tmp_path / "imagej.tif", stack, imagej=True)
    for name in ("guessed.tif", "pages.tif", "imagej.tif"):
        _refused(tmp_path / name, "several-pages")
    assert np.array_equal(medseg.read(tmp_path / "imagej.tif", series=3).data[0, ..., 0].T, stack[2])


def test_colours_for_print_are_refused(tmp_path: Path) -> None:
    Image.fromarray(np.dstack([GREY] * 4), "CMYK").save(tmp_path / "print.tif")
    _refused(tmp_path / "print.tif", "unsupported-encoding")


def test_every_damaged_byte_of_a_png_is_noticed(tmp_path: Path) -> None:
    Image.fromarray(GREY).save(tmp_path / "image.png")
    good = (tmp_path / "image.png").read_bytes()
    for position in range(8, len(good)):
        (tmp_path / "bad.png").write_bytes(
            good[:position] + bytes([good[position] ^ 1]) + good[position + 1 :]
        )
        with pytest.raises(medseg.InputRefused):
            medseg.read(tmp_path / "bad.png")


@pytest.mark.parametrize("name", ["image.png", "image.tif"])
def test_a_truncated_picture_is_refused(
    tmp_path: Path, name: str, truncate: Callable[[Path, int], Path]
) -> None:
    if name.endswith("png"):
        Image.fromarray(GREY).save(tmp_path / name)
    else:
        tifffile.imwrite(tmp_path / name, GREY)
    with pytest.raises(medseg.InputRefused) as refusal:
        medseg.read(truncate(tmp_path / name, 15))
    assert refusal.value.code in ("truncated", "corrupt")


def test_a_stack_of_pages_is_refused_or_chosen_from(tmp_path: Path) -> None:
    tifffile.imwrite(
        tmp_path / "stack.tif", np.stack([GREY, GREY + 1]), photometric="minisblack", metadata=None
    )
    _refused(tmp_path / "stack.tif", "several-pages")
    assert medseg.read(tmp_path / "stack.tif", series=2).data[0, 0, 0, 0] == 1


def test_real_pictures_of_every_kind_are_read(real_data: Path) -> None:
    found = sorted((real_data / "nifti" / "bids_spine" / "data_test_png_tif").rglob("*SEM.[pt]*"))
    assert len(found) == 14
    for path in found:
        volume = medseg.read(path)
        assert volume.data.dtype == (np.uint16 if "16" in path.name else np.uint8)
        assert volume.data.shape[0] == (3 if "rgb" in path.name else volume.data.shape[0])


def _png(path: Path, width: int, height: int, body: bytes, depth: int = 8, colour: int = 0) -> Path:
    def chunk(kind: bytes, content: bytes) -> bytes:
        return (
            struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        )

    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    chunks = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(body, 9)) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunks)
    return path


@pytest.mark.parametrize(
    ("width", "height", "depth", "colour", "code"),
    [
        (0, 5, 8, 0, "bad-header"),
        (7, 5, 3, 0, "bad-header"),
        (7, 5, 8, 5, "bad-header"),
        (7, 5, 16, 3, "bad-header"),
        (1 << 30, 1 << 30, 8, 0, "too-large"),
        (16000, 16000, 8, 2, "too-large"),
        (7, 500, 8, 0, "corrupt"),  # more rows than there are
        (7, 500, 16, 2, "corrupt"),
        (7, 4, 8, 0, "corrupt"),  # fewer
    ],
)
def test_png_headers_that_lie_are_refused(
    tmp_path: Path, width: int, height: int, depth: int, colour: int, code: str
) -> None:
    _refused(_png(tmp_path / "lie.png", width, height, bytes(40), depth, colour), code)


def test_an_interlaced_picture_is_read(tmp_path: Path) -> None:
    # Adam7 of 3 x 2: pass 1 holds (0,0), pass 4 (2,0), pass 6 (1,0), pass 7 row 1; a filter byte each row
    body = bytes([0, 10, 0, 12, 0, 11, 0, 20, 21, 22])
    path = _png(tmp_path / "interlaced.png", 3, 2, body)
    content = bytearray(path.read_bytes())
    content[28] = 1
    content[29:33] = struct.pack(">I", zlib.crc32(bytes(content[12:29])))
    path.write_bytes(bytes(content))
    assert medseg.read(path).data[0, ..., 0].T.tolist() == [[10, 11, 12], [20, 21, 22]]


def test_an_animation_is_no_picture(tmp_path: Path) -> None:
    frames = [Image.fromarray(GREY), Image.fromarray(GREY + 9)]
    frames[0].save(tmp_path / "moving.png", save_all=True, append_images=frames[1:])
    _refused(tmp_path / "moving.png", "several-pages")


def test_a_tiff_strip_that_unpacks_to_more_than_its_picture_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "bomb.tif"
    tifffile.imwrite(
        path, np.random.default_rng(0).integers(0, 255, (64, 64)).astype(np.uint8), compression="zlib"
    )
    with tifffile.TiffFile(path) as tiff:
        start, count = tiff.pages[0].dataoffsets[0], tiff.pages[0].databytecounts[0]
    bomb = zlib.compress(bytes(1 << 20), 9)
    assert len(bomb) < count
    content = bytearray(path.read_bytes())
    content[start : start + len(bomb)] = bomb
    path.write_bytes(bytes(content))
    _refused(path, "too-large")


def test_samples_laid_out_as_tiff_knows_no_way_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "colours.tif"
    tifffile.imwrite(path, np.zeros((5, 7, 3), np.uint8), photometric="rgb", metadata=None)
    entry = struct.pack("<HHIH", 284, 3, 1, 1)  # PlanarConfiguration, one short
    content = path.read_bytes()
    assert content.count(entry) == 1
    path.write_bytes(content.replace(entry, struct.pack("<HHIH", 284, 3, 1, 3)))
    _refused(path, "bad-header")


def test_a_page_beyond_the_end_of_the_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "big.tif"
    tifffile.imwrite(path, np.zeros((5, 7), np.uint8), bigtiff=True, metadata=None)
    content = bytearray(path.read_bytes())
    content[8:16] = struct.pack("<Q", 1 << 63)
    path.write_bytes(content)
    _refused(path, "truncated")
