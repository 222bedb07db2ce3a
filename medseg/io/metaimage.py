"""MetaImage files (``.mha``, ``.mhd`` with its data file) to and from rasters.

Format: https://itk.org/Wiki/ITK/MetaIO/Documentation. SimpleITK is the oracle in the tests.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medseg.errors import InputRefused
from medseg.geometry import Geometry
from medseg.io.nrrd import beside
from medseg.io.raster import Raster
from medseg.io.streams import ByteStream, read_text_header
from medseg.verdict import OK, Verdict

_TYPES = {
    "MET_CHAR": "i1", "MET_UCHAR": "u1", "MET_SHORT": "i2", "MET_USHORT": "u2", "MET_INT": "i4",
    "MET_UINT": "u4", "MET_LONG": "i4", "MET_ULONG": "u4", "MET_LONG_LONG": "i8", "MET_ULONG_LONG": "u8",
    "MET_FLOAT": "f4", "MET_DOUBLE": "f8",
}  # fmt: skip
_NAME_OF_TYPE = {code: name for name, code in reversed(_TYPES.items())}
_LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
_CHANNELS_MARK = "medseg channels"
_COMPRESSION_LEVEL = 4
_GRID_KEYS = ("TransformMatrix", "Offset", "ElementSpacing")
_SYNONYMS = {
    "Rotation": "TransformMatrix", "Orientation": "TransformMatrix", "Position": "Offset", "Origin": "Offset",
    "ElementByteOrderMSB": "BinaryDataByteOrderMSB",
}  # fmt: skip


def read(path: Path) -> Raster:
    """Read one MetaImage.

    Raises
    ------
    InputRefused
        ``bad-header``, ``truncated``, ``corrupt``, ``size-mismatch``, ``four-dimensional``,
        ``not-an-image`` (vectors), ``unsupported-encoding`` (text, several data files).
    """
    try:
        return _read(path)
    except InputRefused:
        raise
    except (ValueError, KeyError) as error:
        detail = f"the field {error} is missing" if isinstance(error, KeyError) else str(error)
        raise _refused(path, "bad-header", f"{detail}. The header is damaged or not MetaImage's") from None


def _read(path: Path) -> Raster:
    text, size = read_text_header(path, lambda line: line.partition("=")[0].strip() == "ElementDataFile")
    fields = {}
    for line in text.splitlines():
        key, _, value = line.partition("=")
        fields[_SYNONYMS.get(key.strip(), key.strip())] = value.strip()
    sizes = tuple(int(n) for n in fields["DimSize"].split())
    dimensions = int(fields["NDims"])
    if len(sizes) != dimensions or min(sizes) < 1 or dimensions < 2:
        raise ValueError(f"DimSize {sizes} for NDims {dimensions}")
    if any(n > 1 for n in sizes[3:]):
        raise _refused(path, "four-dimensional", f"{' x '.join(map(str, sizes))} values, expected one volume")
    channels = _channels(path, fields)
    i, j, k = (*sizes, 1)[:3]
    affine, verdict, known = _affine(fields, dimensions)
    data_path, flat = _voxels(path, fields, size, i * j * k * channels)
    data = flat.reshape((channels, i, j, k), order="F")
    return Raster(
        data=data[:3] if channels == 4 and fields.get("Comment") != _CHANNELS_MARK else data,
        affine=affine,
        path=path,
        paths=(path,) if data_path == path else (path, data_path),
        format="metaimage",
        header={
            "metaimage": {key: fields[key] for key in _GRID_KEYS if key in fields} | {"NDims": dimensions}
        },
        verdict=verdict,
        is_2d=dimensions == 2,
        spacing_known=known,
    )


def _channels(path: Path, fields: Mapping[str, str]) -> int:
    channels = int(fields.get("ElementNumberOfChannels", "1"))
    colours = channels == 3 and fields["ElementType"].removesuffix("_ARRAY") == "MET_UCHAR"
    if channels == 1 or colours or fields.get("Comment") == _CHANNELS_MARK:
        return channels
    raise _refused(path, "not-an-image", f"{channels} numbers at every voxel, expected a scan")


def _affine(fields: Mapping[str, str], dimensions: int) -> tuple[NDArray[np.float64], Verdict, bool]:
    """Index to world RAS+ mm, findings, and whether voxel sizes are known."""
    count = min(dimensions, 3)
    steps = _floats(fields, "ElementSpacing", dimensions) or _floats(fields, "ElementSize", dimensions)
    known = steps is not None
    steps = steps or [1.0] * dimensions
    if not all(np.isfinite(steps)) or min(steps) <= 0:
        raise ValueError(f"ElementSpacing {steps}: expected positive numbers")
    centre = _floats(fields, "CenterOfRotation", dimensions)
    if centre is not None and any(centre):
        raise ValueError(f"CenterOfRotation {centre}: medseg reads only 0")
    rotation = _floats(fields, "TransformMatrix", dimensions**2)
    verdict = OK
    if rotation is None:
        guess = "no TransformMatrix: taken as left-posterior-superior"
        verdict = Verdict.of("warning", "orientation-unknown", guess)
    matrix = np.eye(4)
    # A row of the file is the direction of one array axis, hence the transposition.
    directions = np.eye(dimensions) if rotation is None else np.reshape(rotation, (dimensions, dimensions)).T
    matrix[:count, :count] = directions[:count, :count] * steps[:count]
    matrix[:count, 3] = (_floats(fields, "Offset", dimensions) or [0.0] * dimensions)[:count]
    return np.asarray(_LPS_TO_RAS @ matrix), verdict, known


def _floats(fields: Mapping[str, str], key: str, count: int) -> list[float] | None:
    if key not in fields:
        return None
    numbers = [float(word) for word in fields[key].split()]
    if len(numbers) != count:
        raise ValueError(f"{key} has {len(numbers)} numbers, expected {count}")
    return numbers


def _voxels(path: Path, fields: Mapping[str, str], size: int, count: int) -> tuple[Path, NDArray[Any]]:
    name = fields["ElementDataFile"]
    if name.upper().startswith("LIST") or "%" in name or not _true(fields, "BinaryData", "True"):
        raise _refused(
            path, "unsupported-encoding", "voxels as text or in several files; save it as one binary file"
        )
    code = _TYPES.get(fields["ElementType"].removesuffix("_ARRAY"))
    if code is None:
        raise ValueError(f"ElementType {fields['ElementType']!r} cannot be read as a scan")
    number = np.dtype((">" if _true(fields, "BinaryDataByteOrderMSB", "False") else "<") + code)
    local = name.upper() == "LOCAL"
    data_path, offset = (path, size) if local else (beside(path, name), 0)
    compression = "zlib" if _true(fields, "CompressedData", "False") else "none"
    skip = int(fields.get("HeaderSize", "0"))
    if skip == -1 and compression == "none":
        offset = max(offset, data_path.stat().st_size - count * number.itemsize)
    with ByteStream(data_path, offset=offset, compression=compression) as stream:
        stream.skip(max(0, skip))
        flat = stream.read_array(count, number)
        stream.finish()
    return data_path, flat.astype(number.newbyteorder("="), copy=False)


def _true(fields: Mapping[str, str], key: str, default: str) -> bool:
    return fields.get(key, default).lower() in ("true", "1")


def write(
    path: Path, data: NDArray[Any], geometry: Geometry, *, facts: Mapping[str, Any] | None = None
) -> None:
    """Write voxels (C, I, J, K) as a compressed MetaImage in one file.

    ``facts`` is `Source.header` of the scan that the grid comes from: where it is the same grid, its
    numbers are copied as they stood, so that the affine is bit-equal.
    """
    data = data.astype(np.float32) if data.dtype == np.float16 else data
    channels, code = data.shape[0], data.dtype.str[1:]
    grid = _grid_fields(geometry, (facts or {}).get("metaimage"))
    data = data.astype(data.dtype.newbyteorder("<"), copy=False)
    packer = zlib.compressobj(_COMPRESSION_LEVEL)
    blocks = [packer.compress(data[..., k].tobytes(order="F")) for k in range(data.shape[3])]
    blocks.append(packer.flush())
    lines = [
        "ObjectType = Image",
        f"NDims = {grid['NDims']}",
        *([f"Comment = {_CHANNELS_MARK}"] if channels > 1 else []),
        "BinaryData = True",
        "BinaryDataByteOrderMSB = False",
        "CompressedData = True",
        f"CompressedDataSize = {sum(map(len, blocks))}",
        *(f"{key} = {grid[key]}" for key in _GRID_KEYS if key in grid),
        f"DimSize = {' '.join(map(str, geometry.shape[: grid['NDims']]))}",
        *([f"ElementNumberOfChannels = {channels}"] if channels > 1 else []),
        f"ElementType = {_NAME_OF_TYPE[code]}",
        "ElementDataFile = LOCAL",
        "",
    ]
    with path.open("wb") as file:
        file.write("\n".join(lines).encode())
        file.writelines(blocks)


def _grid_fields(geometry: Geometry, stored: Mapping[str, Any] | None) -> dict[str, Any]:
    if stored is not None:
        affine, _, known = _affine(stored, stored["NDims"])
        same = np.array_equal(affine, geometry.affine) and known == geometry.spacing_known
        if same and (stored["NDims"] == 2) == geometry.is_2d:
            return dict(stored)
    matrix = _LPS_TO_RAS @ geometry.affine
    steps = np.array(geometry.spacing)
    # A plane in the file's own two axes; any other plane is kept as a slab of one slice.
    flat = (
        geometry.is_2d and np.array_equal(matrix[2], (0, 0, 1, 0)) and np.array_equal(matrix[:2, 2], (0, 0))
    )
    count = 2 if flat else 3
    fields: dict[str, Any] = {
        "NDims": count,
        "TransformMatrix": _words((matrix[:3, :3] / steps)[:count, :count].T.ravel()),
        "Offset": _words(matrix[:count, 3]),
    }
    if geometry.spacing_known:
        fields["ElementSpacing"] = _words(steps[:count])
    return fields


def _words(numbers: NDArray[np.float64]) -> str:
    return " ".join(repr(float(n) + 0.0) for n in numbers)


def _refused(path: Path, code: str, message: str) -> InputRefused:
    return InputRefused(f"{path.name}: {message}", code=code, path=path)
