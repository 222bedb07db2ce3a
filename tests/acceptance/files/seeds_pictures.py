"""Seeds of PNG, TIFF and JPEG (Pillow, tifffile)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import tifffile
from PIL import Image, PngImagePlugin, TiffImagePlugin

from tests.acceptance.files.canary import CANARY
from tests.acceptance.files.seeds import Seed, lone, voxels

_DESCRIPTION, _ARTIST = 270, 315


def pictures(folder: Path) -> Iterator[Seed]:
    """Greys of 1, 8 and 16 bits, colours with and without transparency, palettes, in each container."""
    grey, deep, colour = voxels("u1", (9, 13)), voxels("u2", (9, 13)) * 317, voxels("u1", (9, 13, 3))
    images = {
        "grey8": Image.fromarray(grey),
        "grey16": Image.fromarray(deep),
        "grey1": Image.fromarray(grey > 100),
        "rgb": Image.fromarray(colour),
        "rgba": Image.fromarray(np.dstack([colour, np.full((9, 13), 255, np.uint8)])),
        "palette": Image.fromarray(grey).convert("P"),
    }
    text = PngImagePlugin.PngInfo()
    text.add_text("Comment", CANARY)
    text.add_itxt("Patient", CANARY)
    text.add_text("Description", CANARY, zip=True)
    for name, image in images.items():
        image.save(folder / f"{name}.png", pnginfo=text)
        yield lone("pictures", folder / f"{name}.png")
    yield lone("pictures", folder / "grey8.png", verb="read_labels")
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    tags[_DESCRIPTION] = tags[_ARTIST] = CANARY
    for name, packing in (("grey8", None), ("grey16", "tiff_adobe_deflate"), ("rgb", "tiff_lzw"),
                          ("rgba", None), ("grey1", None), ("palette", None), ("rgb", "jpeg")):  # fmt: skip
        path = folder / f"{name}{packing or ''}.tif"
        images[name].save(path, tiffinfo=tags, compression=packing)
        yield lone("pictures", path)
    tifffile.imwrite(
        folder / "imagej.tif",
        deep,
        imagej=True,
        resolution=(2.0, 4.0),
        metadata={"unit": "mm", "Info": CANARY},
    )
    yield lone("pictures", folder / "imagej.tif")
    tifffile.imwrite(
        folder / "big.tif", voxels("f4", (9, 13)), bigtiff=True, byteorder=">", description=CANARY
    )
    yield lone("pictures", folder / "big.tif")
    tifffile.imwrite(folder / "tiled.tif", voxels("u2", (40, 36)), tile=(16, 16), compression="zlib")
    yield lone("pictures", folder / "tiled.tif")
    exif = Image.Exif()
    exif[_DESCRIPTION] = exif[_ARTIST] = CANARY
    for name in ("grey8", "rgb"):
        path = folder / f"{name}.jpg"
        images[name].save(path, exif=exif, comment=CANARY.encode(), quality=95)
        yield lone("pictures", path)
    images["rgb"].save(folder / "progressive.jpg", progressive=True)
    yield lone("pictures", folder / "progressive.jpg")
