"""Grids in one file as nibabel, SimpleITK, Pillow and tifffile read them."""

from __future__ import annotations

import math
import struct
import zlib
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
    if isinstance(image, nibabel.MGHImage):
        return data, image.affine if _has_place(path) else _freesurfers_place(image)
    unit = int(image.header["xyzt_units"]) & 7 if "xyzt_units" in image.header else 2
    return data, np.diag([_MM_PER_UNIT[unit]] * 3 + [1.0]) @ image.affine


def _has_place(path: Path) -> bool:
    """MGH's goodRASFlag, as it stands in the file."""
    content = path.read_bytes()
    content = zlib.decompressobj(47).decompress(content, 64) if content[:2] == b"\x1f\x8b" else content
    return bool(struct.unpack_from(">h", content, 28)[0] > 0)


def _freesurfers_place(image: nibabel.MGHImage) -> NDArray[np.float64]:
    """Coronal slices of 1 mm: i leftwards, j down, k forwards (FreeSurfer); nibabel turns j and k."""
    affine = np.array([[-1.0, 0, 0, 0], [0, 0, 1, 0], [0, -1, 0, 0], [0, 0, 0, 1]])
    affine[:3, 3] = -affine[:3, :3] @ (np.array(image.shape[:3]) / 2)
    return affine


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


_NUMPY = {
    "signed char": "i1", "int8": "i1", "uchar": "u1", "unsigned char": "u1", "uint8": "u1", "short": "i2",
    "int16": "i2", "ushort": "u2", "unsigned short": "u2", "uint16": "u2", "int": "i4", "int32": "i4",
    "uint": "u4", "unsigned int": "u4", "uint32": "u4", "float": "f4", "double": "f8",
    "MET_SHORT": "i2", "MET_UCHAR": "u1", "MET_USHORT": "u2", "MET_FLOAT": "f4", "MET_DOUBLE": "f8",
    "MET_INT": "i4", "MET_CHAR": "i1", "MET_UINT": "u4",
}  # fmt: skip


def _numbers(content: bytes, kind: str, order: str, sizes: list[int]) -> NDArray[Any]:
    flat = np.frombuffer(content, np.dtype(kind).newbyteorder(order), count=math.prod(sizes))
    return flat.reshape(sizes, order="F")


def _plain_nrrd(path: Path, options: dict[str, Any]) -> Grid:
    """Three axes in space, raw or gzip, by the letter of the format and nothing else."""
    head, _, body = path.read_bytes().replace(b"\r\n", b"\n").partition(b"\n\n")
    fields = {}
    for line in head.decode("latin-1").split("\n")[1:]:
        if not line.startswith("#") and ":=" not in line:
            key, value = line.split(":", 1)
            fields[key.lower()] = value.strip()
    if "data file" in fields:
        body = (path.parent / fields["data file"]).read_bytes()
    sizes = [int(n) for n in fields["sizes"].split()]
    if fields["encoding"].lower() in ("gzip", "gz"):
        body = zlib.decompress(body, 31)
    elif fields["encoding"].lower() != "raw":
        raise ValueError("another encoding")
    order = {"little": "<", "big": ">"}[fields.get("endian", "little").lower()]
    data = _numbers(body, _NUMPY[fields["type"]], order, sizes)
    signs = {"left-posterior-superior": (-1, -1, 1), "right-anterior-superior": (1, 1, 1)}[
        fields["space"].lower()
    ]
    affine = np.eye(4)
    affine[:3, :3] = np.array([_vector(word) for word in fields["space directions"].split()]).T
    affine[:3, 3] = _vector(fields["space origin"])
    return data.reshape((1, *sizes)), np.diag([*signs, 1]) @ affine


def _vector(word: str) -> list[float]:
    return [float(number) for number in word.strip("()").split(",")]


def _plain_metaimage(path: Path, options: dict[str, Any]) -> Grid:
    """Three axes, raw or zlib, by the letter of the format and nothing else."""
    head, _, rest = path.read_bytes().partition(b"ElementDataFile = ")
    name, _, body = rest.partition(b"\n")
    fields = dict(line.split(" = ", 1) for line in head.decode("latin-1").split("\n") if line)
    if name.strip() != b"LOCAL":
        body = (path.parent / name.decode().strip()).read_bytes()
    if fields["CompressedData"].strip() == "True":
        body = zlib.decompress(body)
    sizes = [int(n) for n in fields["DimSize"].split()]
    order = ">" if fields.get("BinaryDataByteOrderMSB") == "True" else "<"
    data = _numbers(body, _NUMPY[fields["ElementType"].strip()], order, sizes)
    matrix = np.array(fields.get("TransformMatrix", "1 0 0 0 1 0 0 0 1").split(), float).reshape(3, 3).T
    affine = np.eye(4)
    affine[:3, :3] = matrix * np.array(fields.get("ElementSpacing", "1 1 1").split(), float)
    affine[:3, 3] = np.array(fields.get("Offset", "0 0 0").split(), float)
    return data.reshape((1, *sizes)), _LPS_TO_RAS @ affine


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
        if page.axes == "SYX":  # plane by plane
            data = np.moveaxis(data, 0, -1)
        steps = np.ones(2)
        if tiff.is_imagej and tiff.imagej_metadata and tiff.imagej_metadata.get("unit") == "mm":
            tags = [page.tags.get(name) for name in ("XResolution", "YResolution")]
            steps = np.array([tag.value[1] / tag.value[0] for tag in tags]) if all(tags) else steps
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
    "nrrd": (("SimpleITK", _simpleitk), ("plain NRRD", _plain_nrrd)),
    "metaimage": (("SimpleITK", _simpleitk), ("plain MetaImage", _plain_metaimage)),
    "pictures": (("Pillow", _pillow), ("tifffile", _tifffile), ("SimpleITK", _itk_picture)),
}
