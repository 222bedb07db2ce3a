"""Rasters to PNG and TIFF pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medseg.errors import FormatCannotHold
from medseg.geometry import Geometry

_IMAGEJ_TYPES = ("u1", "u2", "f4")


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
