"""PNG and TIFF pictures to and from rasters.

Array axis i is the column, j the row, k always 0; the affine is diag(-1, -1, 1, 1) in the picture's own
units, unless the file says reliably how large a pixel is (ImageJ's calibrated TIFF; the resolution of
other pictures speaks of screens and paper).
"""

from __future__ import annotations

import struct
import warnings
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medseg.errors import FormatCannotHold, InputRefused, MedsegError, UsageError
from medseg.geometry import Geometry
from medseg.io.quiet import quiet
from medseg.io.raster import Raster
from medseg.verdict import OK, Verdict

_PNG_MARK = b"\x89PNG\r\n\x1a\n"
_GREY, _RGB, _PALETTE, _GREY_ALPHA, _RGB_ALPHA = 0, 2, 3, 4, 6
_CHANNELS = {_GREY: 1, _RGB: 3, _PALETTE: 1, _GREY_ALPHA: 2, _RGB_ALPHA: 4}
_LARGEST_PIXELS = 1 << 28
# No compression of pictures shrinks more than this; a page that asks for more lies.
_LARGEST_RATIO = 4096
_MM_PER_UNIT = {"mm": 1.0, "micron": 1e-3, "um": 1e-3, "µm": 1e-3, "\\u00B5m": 1e-3, "nm": 1e-6, "cm": 10.0}
_ALPHA_SAMPLES = ("ASSOCALPHA", "UNASSALPHA")
# Pixels (row, column, channel), whether the last channel is transparency, findings, mm along i and j.
_Picture = tuple[NDArray[Any], bool, Verdict, tuple[float, float] | None]
_TIFF_FAULTS = (ValueError, TypeError, AttributeError, ArithmeticError, EOFError, struct.error, zlib.error)
_IMAGEJ_TYPES = ("u1", "u2", "f4")


def read(path: Path, *, series: int | None = None) -> Raster:
    """Read one picture.

    Parameters
    ----------
    path
        A PNG or TIFF file.
    series
        In a TIFF with several pages, the page, counted from 1.

    Raises
    ------
    InputRefused
        ``corrupt``, ``truncated``, ``bad-header``, ``several-pages``, ``too-large``,
        ``unsupported-encoding``.
    """
    with path.open("rb") as file:
        is_png = file.read(8) == _PNG_MARK
    if is_png and series not in (None, 1):
        raise UsageError(f"{path.name}: series={series}, a PNG holds one picture")
    pixels, has_alpha, verdict, spacing = _read_png(path) if is_png else _read_tiff(path, series)
    if pixels.dtype.kind not in "iuf":
        raise _refused(path, "unsupported-encoding", f"{pixels.dtype} pixels, expected integers or floats")
    if has_alpha:
        pixels, lost = _without_alpha(pixels)
        verdict += lost
    along, down = spacing or (1.0, 1.0)
    return Raster(
        data=pixels.transpose(2, 1, 0)[..., None],
        affine=np.diag([-along, -down, 1.0, 1.0]),
        path=path,
        paths=(path,),
        format="image",
        verdict=verdict,
        is_2d=True,
        spacing_known=spacing is not None,
    )


def _without_alpha(pixels: NDArray[Any]) -> tuple[NDArray[Any], Verdict]:
    """All but the last channel of (row, column, channel); a warning where transparency is lost."""
    opaque = np.iinfo(pixels.dtype).max if pixels.dtype.kind in "iu" else 1.0
    if (pixels[..., -1] == opaque).all():
        return pixels[..., :-1], OK
    return pixels[..., :-1], Verdict.of("warning", "alpha-ignored", "the picture's transparency is left out")


def _read_png(path: Path) -> _Picture:
    """Pixels (row, column, channel) as they are stored: greys of 1, 2, 4 bits and palette indices too."""
    width, height, depth, colour = _check_png(path)
    if depth == 16 and colour != _GREY:
        pixels = _read_with_itk(path)  # Pillow would cut 16-bit colours to 8
    else:
        from PIL import Image

        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            try:
                with Image.open(path, formats=["PNG"]) as image:
                    pixels = np.array(image)
            except (OSError, SyntaxError, ValueError, zlib.error) as error:
                raise _refused(path, "corrupt", f"its pixels cannot be decoded ({error})") from None
    if colour == _GREY and depth in (2, 4) and pixels.dtype == np.uint8:
        pixels = pixels // (255 // ((1 << depth) - 1))  # Pillow spreads them over 0 to 255
    if pixels.dtype == bool:
        pixels = pixels.astype(np.uint8)
    pixels = pixels.reshape((height, width, -1))
    if pixels.shape[2] != _CHANNELS[colour]:
        raise _refused(
            path, "unsupported-encoding", f"{pixels.shape[2]} channels decoded of {_CHANNELS[colour]}"
        )
    verdict = OK
    if colour == _PALETTE:
        verdict = Verdict.of(
            "warning", "palette", "a picture with a palette: its indices are taken as values"
        )
    return pixels, colour in (_GREY_ALPHA, _RGB_ALPHA), verdict, None


def _check_png(path: Path) -> tuple[int, int, int, int]:
    """Width, height, bit depth and colour type, after the checksum of every chunk has been verified."""
    with path.open("rb") as file:
        file.seek(len(_PNG_MARK))
        header: tuple[int, ...] | None = None
        while True:
            start = file.read(8)
            if len(start) < 8:
                raise _refused(path, "truncated", "the file ends before the picture does; copy it again")
            length, kind = struct.unpack(">I4s", start)
            body = file.read(min(length, path.stat().st_size))
            check = file.read(4)
            if len(check) < 4:
                raise _refused(path, "truncated", "the file ends before the picture does; copy it again")
            if zlib.crc32(kind + body) != struct.unpack(">I", check)[0]:
                raise _refused(path, "corrupt", "a checksum does not match; copy it again")
            if kind == b"IHDR" and header is None and length == 13:
                header = struct.unpack(">IIBBBBB", body)
            if kind == b"IEND":
                break
    if header is None or header[3] not in _CHANNELS or 0 in header[:2]:
        raise _refused(path, "bad-header", "no valid IHDR chunk")
    width, height, depth, colour = header[:4]
    _check_size(path, width, height)
    return width, height, depth, colour


def _check_size(path: Path, width: int, height: int) -> None:
    if width * height > _LARGEST_PIXELS:
        raise _refused(path, "too-large", f"{width} x {height} pixels, expected at most {_LARGEST_PIXELS}")


def _read_tiff(path: Path, series: int | None) -> _Picture:
    from tifffile import TiffFile, TiffFileError

    try:
        with quiet("tifffile"), TiffFile(path) as tiff:
            # Thumbnails and pyramid levels are pages too, and marked as reduced.
            pages = [page.aspage() for page in tiff.pages if not page.aspage().is_reduced]
            count = len(pages)
            if count == 0:
                raise _refused(path, "bad-header", "no page in it")
            if count > 1 and series is None:
                raise _refused(
                    path,
                    "several-pages",
                    f"{count} pages, expected one picture. Choose one with series=1 to series={count}, "
                    "or save a stack as NRRD or NIfTI with its voxel sizes",
                )
            if not 1 <= (series or 1) <= count:
                raise UsageError(f"{path.name}: series={series}, the file has pages 1 to {count}")
            page = pages[(series or 1) - 1]
            _check_page(path, page)
            pixels = _tiff_pixels(path, page, alone=count == 1)
            verdict, inverted = OK, _name(page.photometric) == "MINISWHITE"
            if inverted:
                verdict = Verdict.of("warning", "white-is-zero", "small values mean bright in this picture")
            if _name(page.photometric) == "PALETTE":
                verdict = Verdict.of(
                    "warning", "palette", "a picture with a palette: its indices are taken as values"
                )
            has_alpha = any(_name(kind) in _ALPHA_SAMPLES for kind in page.extrasamples)
            return pixels, has_alpha, verdict, _imagej_spacing(tiff, page)
    except MedsegError:
        raise
    except (TiffFileError, LookupError, *_TIFF_FAULTS) as error:
        raise _refused(
            path, "corrupt", f"it cannot be decoded ({type(error).__name__}); copy it again"
        ) from None


def _check_page(path: Path, page: Any) -> None:
    """Refuse what tifffile would fill up with zeros: pages whose voxels are not all in the file."""
    _check_size(path, page.imagewidth, page.imagelength)
    starts, counts = page.dataoffsets, page.databytecounts
    whole = 0 < len(starts) == len(counts)
    if not whole or max(map(sum, zip(starts, counts, strict=True))) > path.stat().st_size:
        raise _refused(path, "truncated", "its pixels lie beyond its end; copy it again")
    row_bits = page.imagewidth * page.bitspersample  # of one sample per pixel, at least
    needed = -(-row_bits // 8) * page.imagelength if _name(page.compression) == "NONE" else 1
    unpacked = sum(counts) * _LARGEST_RATIO
    if min(counts) <= 0 or sum(counts) < needed or page.nbytes > unpacked:
        raise _refused(path, "bad-header", "the length of its pixels does not fit its size")


def _tiff_pixels(path: Path, page: Any, *, alone: bool) -> NDArray[Any]:
    """Pixels (row, column, channel)."""
    if page.imagedepth > 1:
        raise _refused(path, "several-pages", f"a stack {page.imagedepth} deep, expected one picture")
    try:
        pixels = page.asarray()
    except ValueError as error:
        if "imagecodecs" not in str(error) or not alone or _name(page.photometric) == "PALETTE":
            raise
        pixels = _read_with_itk(path)  # compressed in a way that tifffile leaves to others
    if pixels.dtype == bool:
        pixels = pixels.astype(np.uint8)
    if pixels.ndim == 3 and _name(page.planarconfig) == "SEPARATE":
        pixels = np.moveaxis(pixels, 0, -1)
    pixels = pixels.reshape((page.imagelength, page.imagewidth, -1))
    native: NDArray[Any] = pixels.astype(pixels.dtype.newbyteorder("="), copy=False)
    return native


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


def _read_with_itk(path: Path) -> NDArray[Any]:
    import SimpleITK as sitk

    try:
        pixels: NDArray[Any] = sitk.GetArrayFromImage(sitk.ReadImage(str(path)))
    except RuntimeError:
        raise _refused(
            path, "unsupported-encoding", "its pixels cannot be decoded; save it as 8-bit PNG"
        ) from None
    return pixels


def check_can_hold(path: Path, data: NDArray[Any], geometry: Geometry) -> None:
    """Refuse what a PNG (8 or 16 bit grey, 8-bit RGB) or a TIFF cannot keep.

    A PNG holds no grid, so only pictures without one are written; a TIFF can keep pixel sizes.

    Raises
    ------
    FormatCannotHold
        The format cannot hold the data or the grid.
    """
    steps = np.diag(geometry.affine)[:2]
    if (
        not geometry.is_2d
        or not np.array_equal(geometry.affine, np.diag([*steps, 1.0, 1.0]))
        or max(steps) >= 0
    ):
        raise FormatCannotHold(
            f"{path.name}: a picture holds no grid in space; write .nii.gz or .nrrd instead"
        )
    kind, channels = data.dtype.str[1:], data.shape[0]
    if path.suffix.lower() == ".png":
        if geometry.spacing_known:
            raise FormatCannotHold(
                f"{path.name}: a PNG cannot keep the pixel size; write .tif or .nii.gz instead"
            )
        if (channels, kind) not in {(1, "u1"), (1, "u2"), (3, "u1")}:
            raise FormatCannotHold(
                f"{path.name}: PNG holds 8 or 16 bit grey or 8-bit RGB, not {data.dtype}; write .tif"
            )
    elif geometry.spacing_known and (kind not in _IMAGEJ_TYPES or (channels > 1 and kind != "u1")):
        raise FormatCannotHold(
            f"{path.name}: TIFF keeps pixel sizes only with 8, 16 bit or float32 grey; write .nii.gz"
        )


def write(path: Path, data: NDArray[Any], geometry: Geometry) -> None:
    """Write a 2D image (C, I, J, 1) that `check_can_hold` lets pass as PNG or TIFF."""
    pixels = np.ascontiguousarray(data[..., 0].transpose(2, 1, 0))
    pixels = pixels[..., 0] if pixels.shape[2] == 1 else pixels
    if path.suffix.lower() == ".png":
        _write_png(path, pixels)
    else:
        _write_tiff(path, pixels, geometry)


def _write_png(path: Path, pixels: NDArray[Any]) -> None:
    from PIL import Image

    with path.open("wb") as file:
        Image.fromarray(pixels).save(file, format="PNG")


def _write_tiff(path: Path, pixels: NDArray[Any], geometry: Geometry) -> None:
    from tifffile import imwrite

    photometric = "rgb" if pixels.ndim == 3 and pixels.shape[2] == 3 else "minisblack"
    if not geometry.spacing_known:
        imwrite(
            path,
            pixels,
            photometric=photometric,
            planarconfig="contig" if pixels.ndim == 3 else None,
            metadata=None,
        )
        return
    along, down, _ = geometry.spacing
    imwrite(
        path,
        pixels,
        imagej=True,
        resolution=(1 / along, 1 / down),
        metadata={"unit": "mm"},
        photometric=photometric,
    )


def _refused(path: Path, code: str, message: str) -> InputRefused:
    return InputRefused(f"{path.name}: {message}", code=code, path=path)
