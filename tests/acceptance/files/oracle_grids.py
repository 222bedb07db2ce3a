"""Grids in one file as nibabel, SimpleITK, Pillow and tifffile read them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from numpy.typing import NDArray

Grid = tuple[NDArray[Any], NDArray[np.float64]]
_MM_PER_UNIT = {0: 1.0, 1: 1000.0, 2: 1.0, 3: 0.001}
_LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
_MM_PER_SPACE_UNIT = {"mm": 1.0, "um": 1e-3, "µm": 1e-3, "cm": 10.0, "m": 1000.0}


def _nibabel(path: Path, options: dict[str, Any]) -> Grid:
    image = nibabel.load(path)
    data = np.asanyarray(image.dataobj)
    if data.dtype.names:
        data = np.stack([data[name] for name in data.dtype.names[:3]])
    else:
        data = data.reshape((*data.shape[:3], *(1,) * (3 - data.ndim), -1))
        data = data[..., options.get("series", 1) - 1][None]
    data = data.reshape((*data.shape, *(1,) * (4 - data.ndim)))
    unit = int(image.header["xyzt_units"]) & 7 if "xyzt_units" in image.header else 2
    return data, np.diag([_MM_PER_UNIT[unit]] * 3 + [1.0]) @ image.affine


def _simpleitk(path: Path, options: dict[str, Any]) -> Grid:
    import SimpleITK as sitk

    image = sitk.ReadImage(str(path))
    dimensions = image.GetDimension()
    data = sitk.GetArrayFromImage(image)
    data = data[..., None] if image.GetNumberOfComponentsPerPixel() == 1 else data
    if dimensions == 2:
        data = data[None]
    data = data.transpose(3, 2, 1, 0)
    count = min(3, dimensions)
    affine = np.eye(4)
    direction = np.reshape(image.GetDirection(), (dimensions, dimensions))
    affine[:count, :count] = (direction * image.GetSpacing())[:count, :count]
    affine[:count, 3] = image.GetOrigin()[:count]
    units = image.GetMetaData("NRRD_space units") if "NRRD_space units" in image.GetMetaDataKeys() else ""
    words = units.replace('"', " ").split()
    scale = [_MM_PER_SPACE_UNIT[word.lower()] for word in words[:3]] or [1.0] * 3
    return data, _LPS_TO_RAS @ np.diag([*scale, 1.0]) @ affine


def _pillow(path: Path, options: dict[str, Any]) -> Grid:
    from PIL import Image

    with Image.open(path) as image:
        image.load()
        return _picture(np.array(image), image.mode in ("RGBA", "LA"))


def _tifffile(path: Path, options: dict[str, Any]) -> Grid:
    import tifffile

    with tifffile.TiffFile(path) as tiff:
        page = tiff.pages.first
        data = page.asarray()
        steps = np.ones(2)
        if tiff.is_imagej and tiff.imagej_metadata and tiff.imagej_metadata.get("unit") == "mm":
            values = [page.tags[name].value for name in ("XResolution", "YResolution")]
            steps = np.array([value[1] / value[0] for value in values])
        return _picture(data, any(kind in (1, 2) for kind in page.extrasamples), steps)  # 0: not said


def _itk_picture(path: Path, options: dict[str, Any]) -> Grid:
    data, _ = _simpleitk(path, options)
    return data, np.diag([-1.0, -1.0, 1.0, 1.0])


def _picture(data: NDArray[Any], alpha: bool, steps: NDArray[np.float64] | None = None) -> Grid:
    data = data.astype(np.uint8) if data.dtype == bool else data
    data = data.reshape((*data.shape[:2], -1))
    data = data[..., :-1] if alpha else data
    along, down = (1.0, 1.0) if steps is None else steps
    return data.transpose(2, 1, 0)[..., None], np.diag([-along, -down, 1.0, 1.0])


Reader = Callable[[Path, dict[str, Any]], Grid]
READERS: dict[str, tuple[tuple[str, Reader], ...]] = {
    "nifti": (("nibabel", _nibabel),),
    "mgh": (("nibabel", _nibabel),),
    "nrrd": (("SimpleITK", _simpleitk),),
    "metaimage": (("SimpleITK", _simpleitk),),
    "pictures": (("Pillow", _pillow), ("tifffile", _tifffile), ("SimpleITK", _itk_picture)),
}
