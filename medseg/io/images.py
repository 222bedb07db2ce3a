"""PNG, JPEG and TIFF pictures to rasters.

Array axis i is the column, j the row, k always 0; the affine is diag(-1, -1, 1, 1) in the picture's own
units, unless the file says reliably how large a pixel is (ImageJ's calibrated TIFF; the resolution of
other pictures speaks of screens and paper).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medseg.errors import UsageError
from medseg.io import jpeg, png, tiff
from medseg.io.pictures import Picture
from medseg.io.raster import Raster
from medseg.io.refusals import refused
from medseg.verdict import OK, Verdict


def read(path: Path, *, series: int | None = None) -> Raster:
    """Read one picture.

    Parameters
    ----------
    path
        A PNG, JPEG or TIFF file.
    series
        In a TIFF with several pages, the page, counted from 1.

    Raises
    ------
    InputRefused
        ``corrupt``, ``truncated``, ``bad-header``, ``several-pages``, ``too-large``, ``undecodable``,
        ``unsupported-encoding``.
    """
    picture = _read(path, series)
    pixels, verdict = picture.pixels, picture.verdict
    if picture.has_alpha:
        pixels, lost = _without_alpha(pixels)
        verdict += lost
    along, down = picture.spacing or (1.0, 1.0)
    return Raster(
        data=pixels.transpose(2, 1, 0)[..., None],
        affine=np.diag([-along, -down, 1.0, 1.0]),
        path=path,
        paths=(path,),
        format="image",
        verdict=verdict,
        is_2d=True,
        spacing_known=picture.spacing is not None,
    )


def _read(path: Path, series: int | None) -> Picture:
    with path.open("rb") as file:
        start = file.read(8)
    if start.startswith(tiff.MARKS):
        return tiff.read(path, series)
    if series not in (None, 1):
        raise UsageError(f"{path.name}: series={series}, the file holds one picture")
    if start.startswith(jpeg.MARK):
        return jpeg.read(path)
    if start.startswith(png.MARK):
        return png.read(path)
    raise refused(path, "bad-header", "no PNG, JPEG or TIFF picture, whatever its name says")


def _without_alpha(pixels: NDArray[Any]) -> tuple[NDArray[Any], Verdict]:
    """All but the last channel of (row, column, channel); a warning where transparency is lost."""
    opaque = np.iinfo(pixels.dtype).max if pixels.dtype.kind in "iu" else 1.0
    if (pixels[..., -1] == opaque).all():
        return pixels[..., :-1], OK
    return pixels[..., :-1], Verdict.of("warning", "alpha-ignored", "the picture's transparency is left out")
