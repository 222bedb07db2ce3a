"""MetaImage files (``.mha``, ``.mhd`` with its data files) to and from rasters.

Format: https://itk.org/Wiki/ITK/MetaIO/Documentation and MetaIO's ``metaTypes.h`` (a MET_LONG has 4 bytes).
SimpleITK is the oracle in the tests.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medseg.geometry import Geometry
from medseg.io.data_files import DataFiles, Encoding, beside, lines_after, listed, read_data_files
from medseg.io.raster import Raster
from medseg.io.refusals import HeaderFault, header_of, refused
from medseg.io.streams import PADDING, PADDING_ALLOWED
from medseg.io.text_headers import Fields, numbers, read_text_header, whole, wholes
from medseg.io.time_series import choose_volume
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
_KNOWN = {
    *_GRID_KEYS, "ElementSize", "CenterOfRotation", "NDims", "DimSize", "ElementType", "ElementDataFile",
    "ElementNumberOfChannels", "BinaryData", "BinaryDataByteOrderMSB", "CompressedData", "HeaderSize",
}  # fmt: skip
_MOST_DIMENSIONS = 10


def read(path: Path, *, series: int | None = None) -> Raster:
    """Read one MetaImage.

    Parameters
    ----------
    path
        The file; of a pair the header.
    series
        Of a file with a fourth dimension, the volume to take, counted from 1.

    Raises
    ------
    InputRefused
        ``bad-header``, ``truncated``, ``corrupt``, ``size-mismatch``, ``too-large``, ``four-dimensional``,
        ``not-an-image`` (vectors), ``unsupported-encoding`` (several compressed data files).
    """
    with header_of(path, "MetaImage"):
        return _read(path, series)


def _read(path: Path, series: int | None) -> Raster:
    lines, size = read_text_header(path, lambda line: line.partition("=")[0].strip() == "ElementDataFile")
    fields = Fields()
    for n, line in enumerate(lines, 1):
        key, separator, value = line.partition("=")
        key = _SYNONYMS.get(key.strip(), key.strip())
        if not separator or not key.isprintable() or not key.isascii():
            raise HeaderFault(f"line {n} of the header is not a name, an equals sign and a value")
        if key in fields and key in _KNOWN:
            raise HeaderFault(f"line {n} of the header says again what another has said")
        fields[key] = value.strip()
    dimensions = whole(fields["NDims"], "NDims")
    sizes = wholes(fields["DimSize"], "DimSize")
    if len(sizes) != dimensions or not 2 <= dimensions <= _MOST_DIMENSIONS or min(sizes) < 1:
        raise HeaderFault(f"{len(sizes)} sizes (DimSize) for {dimensions} dimensions (NDims), of at least 1")
    channels = _channels(path, fields)
    i, j, k = (*sizes, 1)[:3]
    if any(n > 1 for n in sizes[4:]):
        raise refused(path, "not-an-image", f"{' x '.join(map(str, sizes))} values, expected a scan")
    count = sizes[3] if dimensions > 3 else 1
    chosen = choose_volume(path, count, series)
    affine, verdict, known = _affine(fields, dimensions)
    files = _data_files(path, fields, size, sizes)
    flat = read_data_files(files, i * j * k * channels * count, _number(fields, files.encoding))
    data = flat.reshape((channels, i, j, k, count), order="F")
    data = data[..., 0] if count == 1 else data[..., chosen].copy(order="K")
    if channels == 4 and fields.get("Comment") != _CHANNELS_MARK:
        data = data[:3]
        verdict += Verdict.of("warning", "alpha-ignored", "the alpha channel of the colours is left out")
    return Raster(
        data=data,
        affine=affine,
        path=path,
        paths=tuple(dict.fromkeys((path, *files.paths))),
        format="metaimage",
        header={"metaimage": _grid_facts(fields, dimensions)},
        verdict=verdict,
        is_2d=dimensions == 2,
        spacing_known=known,
    )


def _channels(path: Path, fields: Fields) -> int:
    channels = whole(fields.get("ElementNumberOfChannels", "1"), "ElementNumberOfChannels")
    if not 1 <= channels <= 1 << 16:
        raise HeaderFault(f"{channels} channels, expected at least one")
    colours = channels in (3, 4) and fields["ElementType"].removesuffix("_ARRAY") == "MET_UCHAR"
    if channels == 1 or colours or fields.get("Comment") == _CHANNELS_MARK:
        return channels
    raise refused(path, "not-an-image", f"{channels} numbers at every voxel, expected a scan")


def _affine(fields: Mapping[str, str], dimensions: int) -> tuple[NDArray[np.float64], Verdict, bool]:
    """Index to world RAS+ mm, findings, and whether voxel sizes are known."""
    count = min(dimensions, 3)
    steps = _floats(fields, "ElementSpacing", dimensions) or _floats(fields, "ElementSize", dimensions)
    known = steps is not None
    steps = steps or (1.0,) * dimensions
    if not all(np.isfinite(steps)) or min(steps) <= 0:
        raise HeaderFault(f"ElementSpacing {steps}: expected positive numbers")
    centre = _floats(fields, "CenterOfRotation", dimensions)
    if centre is not None and any(centre):
        raise HeaderFault(f"CenterOfRotation {centre}: medseg reads only 0")
    rotation = _floats(fields, "TransformMatrix", dimensions**2)
    verdict = OK
    if rotation is None:
        guess = "no TransformMatrix: taken as left-posterior-superior"
        verdict = Verdict.of("warning", "orientation-unknown", guess)
    elif "Offset" not in fields:
        finding = "no Offset: the first voxel is taken to lie at 0, 0, 0"
        verdict = Verdict.of("warning", "position-unknown", finding)
    if not known and dimensions > 2:
        verdict += Verdict.of("warning", "spacing-unknown", "no ElementSpacing: taken as 1 mm")
    matrix = np.eye(4)
    # A row of the file is the direction of one array axis, hence the transposition.
    directions = np.eye(dimensions) if rotation is None else np.reshape(rotation, (dimensions, dimensions)).T
    matrix[:count, :count] = directions[:count, :count] * steps[:count]
    matrix[:count, 3] = (_floats(fields, "Offset", dimensions) or (0.0,) * dimensions)[:count]
    return np.asarray(_LPS_TO_RAS @ matrix), verdict, known


def _floats(fields: Mapping[str, str], key: str, count: int) -> tuple[float, ...] | None:
    if key not in fields:
        return None
    found = numbers(fields[key], key)
    if len(found) != count:
        raise HeaderFault(f"{key} has {len(found)} numbers, expected {count}")
    return found


def _grid_facts(fields: Fields, dimensions: int) -> dict[str, Any]:
    """The fields of the grid in the file's own numbers, for three dimensions at most."""
    count = min(dimensions, 3)
    facts: dict[str, Any] = {"NDims": count}
    rotation = _floats(fields, "TransformMatrix", dimensions**2)
    if rotation is not None:
        square = np.reshape(rotation, (dimensions, dimensions))
        facts["TransformMatrix"] = _words(square[:count, :count].ravel())
    for key, synonym in (("Offset", "Offset"), ("ElementSpacing", "ElementSize")):
        found = _floats(fields, key, dimensions) or _floats(fields, synonym, dimensions)
        if found is not None:
            facts[key] = _words(found[:count])
    return facts


def _number(fields: Fields, encoding: Encoding) -> np.dtype[Any]:
    code = _TYPES.get(fields["ElementType"].removesuffix("_ARRAY"))
    if code is None:
        raise HeaderFault("the field 'ElementType' is none of MetaImage's numbers")
    big = encoding != "text" and _true(fields, "BinaryDataByteOrderMSB", "False")
    return np.dtype((">" if big else "<") + code)


def _data_files(path: Path, fields: Fields, size: int, sizes: tuple[int, ...]) -> DataFiles:
    name, encoding = fields["ElementDataFile"], _encoding(fields)
    skip = whole(fields.get("HeaderSize", "0"), "HeaderSize")
    if name.upper() == "LOCAL":
        _check_compressed_size(path, fields, path, size)
        return DataFiles((path,), encoding, size, byte_skip=skip)
    names = lines_after(path, size) if name.split()[:1] == ["LIST"] else []
    paths = listed(path, name, names, sizes) or (beside(path, name),)
    if len(paths) > 1 and encoding != "none":
        raise refused(
            path, "unsupported-encoding", "several data files that are not raw; save it as one .mha"
        )
    _check_compressed_size(path, fields, paths[0], 0)
    return DataFiles(paths, encoding, byte_skip=skip)


def _check_compressed_size(path: Path, fields: Fields, data_path: Path, start: int) -> None:
    """Refuse compressed voxels that are not as long as the header tells; padding may follow them."""
    told = whole(fields.get("CompressedDataSize", "0"), "CompressedDataSize")
    if told <= 0:
        return
    available = data_path.stat().st_size - start
    found = f"the header tells of {told} bytes of voxels, {available} are there"
    if told > available:
        raise refused(path, "truncated", found)
    with data_path.open("rb") as file:
        file.seek(start + told)
        rest = file.read(PADDING_ALLOWED + 1)
    if len(rest) > PADDING_ALLOWED or rest.strip(PADDING):
        raise refused(path, "size-mismatch", found)


def _encoding(fields: Fields) -> Encoding:
    if not _true(fields, "BinaryData", "True"):
        return "text"
    size = whole(fields.get("CompressedDataSize", "0"), "CompressedDataSize")
    if _true(fields, "CompressedData", "False"):
        return "zlib"
    if size != 0:
        raise HeaderFault("there is a CompressedDataSize, but no CompressedData")
    return "none"


def _true(fields: Fields, key: str, default: str) -> bool:
    value = fields.get(key, default).lower()
    if value not in ("true", "1", "false", "0"):
        raise HeaderFault(f"the field '{key}' is neither True nor False")
    return value in ("true", "1")


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
    if stored:
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


def _words(values: Iterable[float]) -> str:
    return " ".join(repr(float(n) + 0.0) for n in values)
