"""TIFF pictures: tifffile finds the pixels, within limits that we check first.

Format: TIFF 6.0; ImageJ's and tifffile's habits of keeping stacks.
"""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medseg.errors import MedsegError, UsageError
from medseg.io.pictures import Picture, check_size, decode_outside, orientation_warning, palette_warning
from medseg.io.quiet import quiet
from medseg.io.refusals import refused
from medseg.io.tiff_directories import MOST_PAGES, check_directories
from medseg.verdict import Verdict

MARKS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_NONE, _DEFLATE, _PACKBITS = 1, (8, 32946), 32773
# No compression of pictures shrinks more than this; a page that asks for more lies.
_LARGEST_RATIO = 4096
# Some writers pad the last strip.
_SLACK = 1 << 16
_MM_PER_UNIT = {"mm": 1.0, "micron": 1e-3, "um": 1e-3, "µm": 1e-3, "\\u00B5m": 1e-3, "nm": 1e-6, "cm": 10.0}
_ALPHA_SAMPLES = ("ASSOCALPHA", "UNASSALPHA")
# What tifffile raises on damaged files.
_FAULTS = (
    ValueError, TypeError, AttributeError, ArithmeticError, LookupError, EOFError, RuntimeError, OSError,
    AssertionError, struct.error, zlib.error,
)  # fmt: skip


def read(path: Path, series: int | None) -> Picture:
    """Pixels of the one page there is, or of page ``series``, counted from 1.

    Raises
    ------
    InputRefused
        ``truncated``, ``corrupt``, ``bad-header``, ``too-large``, ``several-pages``,
        ``unsupported-encoding``.
    """
    from tifffile import TiffFile

    check_directories(path)
    try:
        with quiet("tifffile"), TiffFile(path) as tiff:
            pages = _pages(path, tiff, series)
            page = pages[(series or 1) - 1]
            _check_page(path, page)
            pixels = _pixels(path, page, alone=len(pages) == 1)
            pixels, verdict = _judge_planes(path, tiff, page, pixels)
            return Picture(pixels, _has_alpha(page), verdict, _imagej_spacing(tiff, page))
    except MedsegError:
        raise
    except _FAULTS:
        raise refused(path, "corrupt", "it cannot be decoded; copy it again") from None


def _pages(path: Path, tiff: Any, series: int | None) -> list[Any]:
    """The pages that are neither thumbnails nor pyramid levels."""
    pages: list[Any] = []
    for n, page in enumerate(tiff.pages):
        if n >= MOST_PAGES:
            raise refused(path, "too-large", f"more than {MOST_PAGES} pages; save it as NRRD or NIfTI")
        if not page.aspage().is_reduced:
            pages.append(page.aspage())
    count = len(pages)
    if count == 0:
        raise refused(path, "bad-header", "no page in it")
    if count == 1 and _hidden_pages(tiff, pages[0]):
        raise refused(
            path, "several-pages", "a stack behind one page; save it as NRRD or NIfTI with voxel sizes"
        )
    if count > 1 and series is None:
        raise refused(
            path,
            "several-pages",
            f"{count} pages, expected one picture. Choose one with series=1 to series={count}, "
            "or save a stack as NRRD or NIfTI with its voxel sizes",
        )
    if not 1 <= (series or 1) <= count:
        raise UsageError(f"{path.name}: series={series}, the file has pages 1 to {count}")
    return pages


def _hidden_pages(tiff: Any, page: Any) -> bool:
    """Whether pixels follow those of the only page: ImageJ and tifffile may describe a stack by its first."""
    return bool((tiff.is_imagej or tiff.is_shaped) and tiff.series[0].size > page.size)


def _check_page(path: Path, page: Any) -> None:
    """Refuse what tifffile would fill up with zeros, and what would take more memory than it shows."""
    if page.imagedepth > 1:
        raise refused(path, "several-pages", f"a stack {page.imagedepth} deep, expected one picture")
    if int(page.planarconfig) not in (1, 2) or len(page.extrasamples) >= page.samplesperpixel:
        raise refused(path, "bad-header", "the samples of a pixel are laid out as TIFF knows no way")
    starts, counts, size = page.dataoffsets, page.databytecounts, path.stat().st_size
    per_pixel = -(-page.bitspersample * page.samplesperpixel // 8)
    plain = int(page.compression) == _NONE
    check_size(path, page.imagewidth, page.imagelength, per_pixel, compressed=not plain)
    whole = 0 < len(starts) == len(counts)
    if not whole or max(map(sum, zip(starts, counts, strict=True))) > size:
        raise refused(path, "truncated", "its pixels lie beyond its end; copy it again")
    row_bits = page.imagewidth * page.bitspersample  # of one sample per pixel, at least
    needed = -(-row_bits // 8) * page.imagelength if plain else 1
    fits = needed <= sum(counts) <= size and min(counts) > 0
    if not fits or page.nbytes > sum(counts) * _LARGEST_RATIO:
        raise refused(path, "bad-header", "the length of its pixels does not fit its size")
    segment = int(np.prod(page.chunks)) * (page.dtype.itemsize if page.dtype is not None else 1)
    if segment > max(1 << 26, 2 * page.nbytes):
        raise refused(path, "bad-header", "its tiles are larger than the picture")
    _check_segments(path, page, segment)


def _check_segments(path: Path, page: Any, largest: int) -> None:
    """Refuse compressed segments that unpack to more than they may: tifffile unpacks without a limit."""
    compression = int(page.compression)
    if compression not in (*_DEFLATE, _PACKBITS):
        return
    with path.open("rb") as file:
        for start, count in zip(page.dataoffsets, page.databytecounts, strict=True):
            file.seek(start)
            block = file.read(count)
            if compression == _PACKBITS:
                found = _packbits_size(block)
            else:
                found = len(zlib.decompressobj().decompress(block, largest + _SLACK + 1))
            if found > largest + _SLACK:
                raise refused(path, "too-large", "a strip or tile unpacks to more than the picture has")


def _packbits_size(block: bytes) -> int:
    """How many bytes a PackBits stream unpacks to."""
    size, at = 0, 0
    while at < len(block):
        code = block[at]
        if code < 128:
            size, at = size + code + 1, at + code + 2
        else:
            size, at = size + (257 - code if code > 128 else 0), at + (2 if code > 128 else 1)
    return size


def _pixels(path: Path, page: Any, *, alone: bool) -> NDArray[Any]:
    """Pixels (row, column, channel)."""
    compression = int(page.compression)
    separate = _name(page.planarconfig) == "SEPARATE" and page.samplesperpixel > 1
    shape = (page.imagelength, page.imagewidth, page.samplesperpixel)
    if page.dtype is None or page.dtype.kind not in "biuf":
        raise refused(path, "unsupported-encoding", "pixels that are neither integers nor floats")
    if compression in (_NONE, *_DEFLATE, _PACKBITS):
        pixels = page.asarray()
    elif alone and not separate and _name(page.photometric) != "PALETTE":
        pixels = decode_outside(path, shape, page.dtype)  # compressed in a way that tifffile leaves to others
    else:
        raise refused(path, "unsupported-encoding", "its compression is not read here; save it uncompressed")
    pixels = pixels.astype(np.uint8) if pixels.dtype == bool else pixels
    if separate:
        pixels = np.moveaxis(pixels.reshape(page.samplesperpixel, *shape[:2]), 0, -1)
    native: NDArray[Any] = pixels.reshape(shape).astype(pixels.dtype.newbyteorder("="), copy=False)
    return native


def _judge_planes(path: Path, tiff: Any, page: Any, pixels: NDArray[Any]) -> tuple[NDArray[Any], Verdict]:
    """What has to be said about the meaning of the values."""
    tag = page.tags.get("Orientation")
    verdict = orientation_warning(int(tag.value) if tag is not None else 1)
    kind = _name(page.photometric)
    if kind == "MINISWHITE":
        verdict += Verdict.of("warning", "white-is-zero", "small values mean bright in this picture")
    if kind == "PALETTE":
        verdict += palette_warning()
    if kind in ("SEPARATED", "CIELAB", "ICCLAB", "ITULAB"):
        raise refused(
            path, "unsupported-encoding", "CMYK or Lab colours, expected grey or RGB; save it as RGB"
        )
    if kind == "RGB" and _name(page.planarconfig) == "SEPARATE" and tiff.is_shaped:
        finding = "three planes marked as colours, as tifffile marks a stack of three slices too"
        if pixels.dtype.itemsize > 1:
            cure = "save a stack as NRRD or NIfTI, true colours with planarconfig='contig'"
            raise refused(path, "several-pages", f"{finding}; {cure}")
        verdict += Verdict.of("warning", "colour-planes", finding)
    return pixels, verdict


def _has_alpha(page: Any) -> bool:
    """Whether the last sample is transparency: by its tag, or as a fourth one beside three colours."""
    if any(_name(kind) in _ALPHA_SAMPLES for kind in page.extrasamples):
        return True
    return _name(page.photometric) == "RGB" and page.samplesperpixel == 4


def _name(value: Any) -> str:
    return str(getattr(value, "name", value))  # tifffile gives codes that it does not know as numbers


def _imagej_spacing(tiff: Any, page: Any) -> tuple[float, float] | None:
    """(along i, along j) in mm where ImageJ calibrated the picture, else None."""
    if not tiff.is_imagej:
        return None
    unit = _MM_PER_UNIT.get(str((tiff.imagej_metadata or {}).get("unit", "")))
    tags = [page.tags.get(name) for name in ("XResolution", "YResolution")]
    if unit is None or None in tags:
        return None
    (x, x_per), (y, y_per) = (tag.value for tag in tags)
    if min(x, y, x_per, y_per) <= 0:
        return None
    return unit * x_per / x, unit * y_per / y
