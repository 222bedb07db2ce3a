"""NRRD files (``.nrrd``, ``.nhdr`` with its data file, ``.seg.nrrd``) to and from rasters.

Format: http://teem.sourceforge.net/nrrd/format.html. Segment names follow 3D Slicer's ``.seg.nrrd``.
SimpleITK is the oracle in the tests.
"""

from __future__ import annotations

import gzip
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medseg.errors import InputRefused
from medseg.geometry import Geometry
from medseg.io.raster import Raster
from medseg.io.segments import check_segments, has_segments, pack_segments, unpack_segments
from medseg.io.streams import ByteStream, read_text_header
from medseg.labels import LabelSet
from medseg.verdict import OK, Verdict

_TYPES = {
    "i1": "signed char|int8|int8_t", "u1": "uchar|unsigned char|uint8|uint8_t",
    "i2": "short|short int|signed short|signed short int|int16|int16_t",
    "u2": "ushort|unsigned short|unsigned short int|uint16|uint16_t",
    "i4": "int|signed int|int32|int32_t", "u4": "uint|unsigned int|uint32|uint32_t",
    "i8": "longlong|long long|long long int|signed long long|signed long long int|int64|int64_t",
    "u8": "ulonglong|unsigned long long|unsigned long long int|uint64|uint64_t",
    "f4": "float", "f8": "double",
}  # fmt: skip
_TYPE_OF_NAME = {name: code for code, names in _TYPES.items() for name in names.split("|")}
_NAME_OF_TYPE = {
    "u1": "uint8", "i1": "int8", "u2": "uint16", "i2": "int16", "u4": "uint32", "i4": "int32",
    "u8": "uint64", "i8": "int64", "f4": "float", "f8": "double",
}  # fmt: skip
# Signs that turn a named space into RAS.
_SPACES = {
    "right-anterior-superior": (1, 1, 1), "ras": (1, 1, 1),
    "left-anterior-superior": (-1, 1, 1), "las": (-1, 1, 1),
    "left-posterior-superior": (-1, -1, 1), "lps": (-1, -1, 1),
}  # fmt: skip
_MM_PER_UNIT = {"mm": 1.0, "um": 1e-3, "µm": 1e-3, "cm": 10.0, "m": 1000.0, "": 1.0}
_COLOUR_KINDS = ("rgb-color", "rgba-color", "3-color", "4-color")
_SPATIAL_KINDS = ("domain", "space", "???", "none", "")
# Ours: axes that hold channels, and facts that NRRD has no field for.
_OURS = "medseg"
_COMPRESSION_LEVEL = 4


@dataclass(frozen=True, slots=True)
class _Header:
    fields: dict[str, str]
    pairs: dict[str, str]
    size: int


def read(path: Path) -> Raster:
    """Read one NRRD image.

    Raises
    ------
    InputRefused
        ``bad-header``, ``truncated``, ``corrupt``, ``size-mismatch``, ``four-dimensional``,
        ``not-an-image`` (vectors, tensors), ``unsupported-encoding``, and what `check_segments` names.
    """
    try:
        header = _parse(path)
        return _read(path, header)
    except InputRefused:
        raise
    except (ValueError, KeyError) as error:
        detail = f"the field {error} is missing" if isinstance(error, KeyError) else str(error)
        raise _refused(path, "bad-header", f"{detail}. The header is damaged or not NRRD's") from None


def _parse(path: Path) -> _Header:
    text, size = read_text_header(path, lambda line: line == "")
    lines = text.splitlines()
    if not lines or not lines[0].startswith("NRRD000"):
        raise _refused(path, "bad-header", "no NRRD header found, expected the mark NRRD0001 to NRRD0005")
    fields, pairs = {}, {}
    for line in lines[1:]:
        if line.startswith("#") or not line:
            continue
        key, separator, value = line.partition(":")
        if not separator:
            raise ValueError(f"the header line {line[:40]!r} has no colon")
        if value.startswith("="):
            pairs[key] = _unescape(value[1:])
        else:
            name = key.strip().lower()
            fields[
                {"datafile": "data file", "lineskip": "line skip", "byteskip": "byte skip"}.get(name, name)
            ] = value.strip()
    return _Header(fields, pairs, size)


def _read(path: Path, header: _Header) -> Raster:
    fields = header.fields
    sizes = tuple(int(n) for n in fields["sizes"].split())
    if len(sizes) != int(fields["dimension"]) or min(sizes) < 1:
        raise ValueError(f"sizes {sizes} for dimension {fields['dimension']}")
    channel_axis = _channel_axis(path, header, sizes)
    spatial = tuple(n for axis, n in enumerate(sizes) if axis != channel_axis)
    check_segments(path, header.pairs, spatial)
    affine, verdict, known = _affine(fields, channel_axis, spatial)
    data_path, flat = _voxels(path, header, sizes)
    data = flat.reshape(sizes, order="F")
    data = data[None] if channel_axis is None else np.moveaxis(data, channel_axis, 0)
    if len(spatial) == 2:
        data = data[..., None]
    if channel_axis is not None and _kinds(fields, len(sizes))[channel_axis] in ("rgba-color", "4-color"):
        data = data[:3]
        verdict += Verdict.of("warning", "alpha-ignored", "the alpha channel of the colours is left out")
    ours = header.pairs.get(_OURS, "")
    layers, settled = unpack_segments(header.pairs, data.shape[0])
    return Raster(
        data=data,
        affine=affine,
        path=path,
        paths=(path,) if data_path == path else (path, data_path),
        format="nrrd",
        verdict=verdict + settled,
        is_2d=len(spatial) == 2 or "2d" in ours,
        spacing_known=known and "spacing-unknown" not in ours,
        labels=layers[0] if len(layers) == 1 else None,
        layers=layers if len(layers) > 1 else (),
    )


def _kinds(fields: dict[str, str], count: int) -> list[str]:
    kinds = fields.get("kinds", "").lower().split() or ["???"] * count
    if len(kinds) != count:
        raise ValueError(f"{len(kinds)} kinds for {count} axes")
    return kinds


def _channel_axis(path: Path, header: _Header, sizes: tuple[int, ...]) -> int | None:
    """The axis that is no direction in space, if there is one; refuse what medseg cannot take as channels."""
    kinds = _kinds(header.fields, len(sizes))
    directions = _vectors(header.fields.get("space directions", ""))
    if directions and len(directions) != len(sizes):
        raise ValueError(f"{len(directions)} space directions for {len(sizes)} axes")
    extra = [axis for axis, kind in enumerate(kinds) if kind not in _SPATIAL_KINDS]
    if directions:
        extra = [axis for axis, vector in enumerate(directions) if vector is None]
    spatial = len(sizes) - len(extra)
    if spatial == 4 or (spatial == 3 and len(extra) > 1):
        raise _refused(path, "four-dimensional", f"{' x '.join(map(str, sizes))} values, expected one volume")
    if spatial not in (2, 3) or len(extra) > 1:
        raise ValueError(f"{spatial} directions in space, expected 2 or 3")
    if not extra:
        return None
    axis = extra[0]
    size, kind = sizes[axis], kinds[axis]
    if size == 1 or kind in _COLOUR_KINDS or "channels" in header.pairs.get(_OURS, ""):
        return axis
    if has_segments(header.pairs):
        return axis  # layers of segments that overlap
    if kind in ("list", "time", "domain", "space", "???", "none"):
        raise _refused(path, "four-dimensional", f"{size} volumes in one file, expected one; split the file")
    raise _refused(path, "not-an-image", f"{size} numbers ({kind}) at every voxel, expected a scan")


def _affine(
    fields: dict[str, str], channel_axis: int | None, spatial: tuple[int, ...]
) -> tuple[NDArray[np.float64], Verdict, bool]:
    """Index to world RAS+ mm, findings, and whether voxel sizes are known."""
    space = fields.get("space", "").lower().removesuffix("-time")
    matrix = np.eye(4)
    if "space directions" not in fields:
        steps = [float(s) for n, s in enumerate(fields.get("spacings", "").split()) if n != channel_axis]
        known = len(steps) == len(spatial) and all(s > 0 for s in steps)
        matrix[range(len(spatial)), range(len(spatial))] = steps if known else 1.0
        unknown = "the file places the image in no space: left and right are a guess (i to the left)"
        return (
            np.diag([-1.0, -1.0, 1.0, 1.0]) @ matrix,
            Verdict.of("warning", "orientation-unknown", unknown),
            known,
        )
    vectors = [v for v in _vectors(fields["space directions"]) if v is not None]
    if any(len(v) != 3 for v in vectors):
        raise ValueError(f"space directions {fields['space directions']}: expected three numbers each")
    matrix[:3, : len(vectors)] = np.array(vectors).T
    if len(vectors) == 2:
        normal = np.cross(vectors[0], vectors[1])
        matrix[:3, 2] = normal / np.linalg.norm(normal)
    origin = (_vectors(fields.get("space origin", "")) or [None])[0]
    matrix[:3, 3] = (0, 0, 0) if origin is None else origin
    units = fields.get("space units", "").replace('"', " ").split()
    scales = [_MM_PER_UNIT.get(unit.lower()) for unit in units] or [1.0] * 3
    if len(scales) != 3 or None in scales:
        raise ValueError(f"space units {units}: expected three of {', '.join(filter(None, _MM_PER_UNIT))}")
    verdict, signs = OK, _SPACES.get(space)
    if signs is None:
        signs = (-1, -1, 1)
        guess = f"the space {space!r} does not say where left is; taken as left-posterior-superior"
        verdict = Verdict.of("warning", "orientation-unknown", guess)
    return np.diag([*signs, 1.0]) @ np.diag([*scales, 1.0]) @ matrix, verdict, True


def _vectors(text: str) -> list[tuple[float, ...] | None]:
    """``(1,0,0) none (0,1,0)`` as tuples and None."""
    words = re.findall(r"none|\([^)]*\)", text.lower())
    return [None if w == "none" else tuple(float(n) for n in w[1:-1].split(",")) for w in words]


def _voxels(path: Path, header: _Header, sizes: tuple[int, ...]) -> tuple[Path, NDArray[Any]]:
    fields = header.fields
    code = _TYPE_OF_NAME.get(fields["type"].lower())
    if code is None:
        raise ValueError(f"the type {fields['type']!r} cannot be read as a scan")
    order = {"little": "<", "big": ">"}.get(fields.get("endian", "").lower(), "=" if code[1] == "1" else "")
    if not order:
        raise ValueError("the field 'endian' is missing or neither little nor big")
    encoding = {"raw": "none", "gzip": "gzip", "gz": "gzip"}.get(fields["encoding"].lower())
    if encoding is None or int(fields.get("line skip", "0")) != 0:
        raise _refused(
            path,
            "unsupported-encoding",
            f"encoding {fields['encoding']!r} or skipped lines; save it as raw or gzip",
        )
    number = np.dtype(order + code)
    data_path, offset = _data_file(path, header)
    skip, count = int(fields.get("byte skip", "0")), math.prod(sizes)
    if skip == -1 and encoding == "none":
        offset = max(offset, data_path.stat().st_size - count * number.itemsize)
    with ByteStream(data_path, offset=offset, compression=encoding) as stream:
        stream.skip(max(0, skip))
        flat = stream.read_array(count, number)
        stream.finish()
    return data_path, flat.astype(number.newbyteorder("="), copy=False)


def _data_file(path: Path, header: _Header) -> tuple[Path, int]:
    name = header.fields.get("data file")
    if name is None:
        return path, header.size
    if name.startswith("LIST") or "%" in name:
        raise _refused(path, "unsupported-encoding", "voxels spread over several files; join them first")
    return beside(path, name), 0


def beside(path: Path, name: str) -> Path:
    """The data file that a header names: it has to be in the header's own folder or below it."""
    data_path = path.parent / name
    if ".." in Path(name).parts or Path(name).is_absolute():
        raise _refused(path, "bad-header", "the header names a data file outside its own folder")
    if not data_path.is_file():
        raise _refused(path, "truncated", f"its voxels should be in {name}, which is not there")
    return data_path


def write(
    path: Path, data: NDArray[Any], geometry: Geometry, *, labels: Sequence[LabelSet | None] = ()
) -> None:
    """Write voxels (C, I, J, K) as gzipped NRRD in left-posterior-superior; any affine is kept exactly.

    Label maps carry the names, values and colours of their segments as 3D Slicer writes them; with several
    label sets the channels are layers of segments that overlap.
    """
    data = data.astype(np.float32) if data.dtype == np.float16 else data
    channels = data.shape[0]
    layered = len(labels) > 1
    colours = channels == 3 and data.dtype == np.uint8 and not layered
    matrix = np.diag([-1.0, -1.0, 1.0]) @ geometry.affine[:3]
    directions = [_vector(matrix[:, axis]) for axis in range(3)]
    sizes, kinds = [str(n) for n in geometry.shape], ["domain"] * 3
    if channels > 1:
        at = 0 if colours or layered else 3
        sizes.insert(at, str(channels))
        kinds.insert(at, "RGB-color" if colours else "list")
        directions.insert(at, "none")
    ours = ["2d"] * geometry.is_2d + ["spacing-unknown"] * (not geometry.spacing_known)
    ours += ["channels"] * (channels > 1 and not layered)
    lines = [
        "NRRD0005",
        f"type: {_NAME_OF_TYPE[data.dtype.str[1:]]}",
        f"dimension: {len(sizes)}",
        "space: left-posterior-superior",
        f"sizes: {' '.join(sizes)}",
        f"space directions: {' '.join(directions)}",
        f"kinds: {' '.join(kinds)}",
        "endian: little",
        "encoding: gzip",
        f"space origin: {_vector(matrix[:, 3])}",
        *([f"{_OURS}:={' '.join(ours)}"] if ours else []),
        *(f"{key}:={_escape(value)}" for key, value in pack_segments(labels, geometry.shape).items()),
    ]
    data = data.astype(data.dtype.newbyteorder("<"), copy=False)
    with path.open("wb") as raw:
        raw.write("\n".join([*lines, "", ""]).encode())
        with gzip.GzipFile("", "wb", _COMPRESSION_LEVEL, raw, mtime=0) as packed:
            for block in [data] if colours or layered else data[:, None]:
                for k in range(block.shape[3]):
                    packed.write(block[..., k].tobytes(order="F"))


def _vector(numbers: NDArray[np.float64]) -> str:
    return "(" + ",".join(repr(float(n) + 0.0) for n in numbers) + ")"  # + 0.0: no minus before zero


def _escape(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\n", "\\n")


def _unescape(text: str) -> str:
    return text.replace("\\\\", "\0").replace("\\n", "\n").replace("\0", "\\")


def _refused(path: Path, code: str, message: str) -> InputRefused:
    return InputRefused(f"{path.name}: {message}", code=code, path=path)
