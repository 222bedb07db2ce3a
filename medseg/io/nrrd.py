"""NRRD files (``.nrrd``, ``.nhdr`` with its data files, ``.seg.nrrd``) to rasters.

Format: http://teem.sourceforge.net/nrrd/format.html. Segment names follow 3D Slicer's ``.seg.nrrd``.
SimpleITK is the oracle in the tests.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from medseg.io.data_files import DataFiles, Encoding, beside, lines_after, listed, read_data_files
from medseg.io.nrrd_grid import read_grid, vectors, without_time
from medseg.io.raster import Raster
from medseg.io.refusals import HeaderFault, header_of, refused
from medseg.io.segments import check_segments, has_segments, unpack_segments
from medseg.io.text_headers import Fields, read_text_header, whole, wholes
from medseg.io.time_series import choose_volume
from medseg.verdict import Verdict

# Ours: axes that hold channels, and facts that NRRD has no field for.
OURS = "medseg"
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
_ENCODINGS: dict[str, Encoding] = {
    "raw": "none", "gzip": "gzip", "gz": "gzip", "bzip2": "bzip2", "bz2": "bzip2", "hex": "hex",
    "ascii": "text", "text": "text", "txt": "text",
}  # fmt: skip
_SYNONYMS = {
    "datafile": "data file",
    "lineskip": "line skip",
    "byteskip": "byte skip",
    "centerings": "centers",
}
_FIELDS = {
    "content", "number", "type", "block size", "blocksize", "dimension", "space", "space dimension", "sizes",
    "spacings", "thicknesses", "axis mins", "axismins", "axis maxs", "axismaxs", "centers", "labels", "units",
    "kinds", "min", "max", "old min", "oldmin", "old max", "oldmax", "data file", "endian", "encoding",
    "line skip", "byte skip", "sample units", "sampleunits", "space units", "space origin",
    "space directions", "measurement frame",
}  # fmt: skip
_KINDS = {
    "domain", "space", "time", "list", "point", "vector", "covariant-vector", "normal", "stub", "scalar",
    "complex", "2-vector", "3-color", "rgb-color", "hsv-color", "xyz-color", "4-color", "rgba-color",
    "3-vector", "3-gradient", "3-normal", "4-vector", "quaternion", "2d-symmetric-matrix",
    "2d-masked-symmetric-matrix", "2d-matrix", "2d-masked-matrix", "3d-symmetric-matrix",
    "3d-masked-symmetric-matrix", "3d-matrix", "3d-masked-matrix", "???", "none",
}  # fmt: skip
_ALPHA_KINDS = ("rgba-color", "4-color")
_COLOUR_KINDS = ("rgb-color", "3-color", *_ALPHA_KINDS)
_SPATIAL_KINDS = ("domain", "space", "???", "none", "")
_VOLUME_KINDS = ("list", "time", *_SPATIAL_KINDS)
_MOST_DIMENSIONS = 16


@dataclass(frozen=True, slots=True)
class _Header:
    """``size`` is the position after the header, ``names`` the data files of a LIST."""

    fields: Fields
    pairs: dict[str, str]
    size: int
    names: tuple[str, ...] = ()


def read(path: Path, *, series: int | None = None) -> Raster:
    """Read one NRRD image.

    Parameters
    ----------
    path
        The file; of a pair the header.
    series
        Of a file with an axis of time or a list, the volume to take, counted from 1.

    Raises
    ------
    InputRefused
        ``bad-header``, ``truncated``, ``corrupt``, ``size-mismatch``, ``too-large``, ``four-dimensional``,
        ``not-an-image`` (vectors, tensors), ``unsupported-encoding``, and what `check_segments` names.
    """
    with header_of(path, "NRRD"):
        return _read(path, _parse(path), series)


def _parse(path: Path) -> _Header:
    lines, size = read_text_header(path, lambda line: line == "")
    if not lines or not lines[0].startswith("NRRD000"):
        raise refused(path, "bad-header", "no NRRD header found, expected the mark NRRD0001 to NRRD0005")
    fields, pairs = Fields(), {}
    for n, line in enumerate(lines[1:], 1):
        if line.startswith("#") or not line:
            continue
        key, separator, value = line.partition(":")
        if not separator:
            raise HeaderFault(f"line {n + 1} of the header has no colon")
        if value.startswith("="):
            pairs[key] = _unescape(value[1:])
            continue
        name = key.strip().lower()
        name = _SYNONYMS.get(name, name)
        if name not in _FIELDS:
            raise HeaderFault(f"line {n + 1} of the header is no field of NRRD")
        if name in fields:
            raise HeaderFault(f"line {n + 1} of the header says again what another has said")
        fields[name] = value.strip()
        if name == "data file" and value.split()[:1] == ["LIST"]:
            names = [name.strip() for name in lines[n + 1 :] if name.strip()]
            return _Header(fields, pairs, size, (*names, *lines_after(path, size)))
    return _Header(fields, pairs, size)


def _read(path: Path, header: _Header, series: int | None) -> Raster:
    fields, time_axis = without_time(header.fields)
    sizes = wholes(fields["sizes"], "sizes")
    if len(sizes) != whole(fields["dimension"], "dimension") or not 1 <= len(sizes) <= _MOST_DIMENSIONS:
        raise HeaderFault(f"{len(sizes)} sizes do not fit the field 'dimension'")
    if min(sizes) < 1:
        raise HeaderFault(f"sizes {sizes}: each has to be at least 1")
    kinds = _kinds(fields, len(sizes))
    if time_axis is not None and kinds[time_axis] in _SPATIAL_KINDS:
        kinds[time_axis] = "time"
    axis = _axis_without_direction(path, fields, kinds)
    spatial = tuple(n for at, n in enumerate(sizes) if at != axis)
    check_segments(path, header.pairs, spatial)
    chosen = None if axis is None else _chosen(path, header, sizes[axis], kinds[axis], series)
    if chosen is None and series not in (None, 1):
        choose_volume(path, 1, series)
    grid = read_grid(fields, axis, len(spatial))
    affine, verdict = grid.affine(len(spatial))
    files = _data_files(path, header, sizes)
    data = read_data_files(files, math.prod(sizes), _number(fields, files.encoding)).reshape(sizes, order="F")
    data = data[None] if axis is None else np.moveaxis(data, axis, 0)
    if chosen is not None:
        data = data[chosen : chosen + 1].copy(order="K")
    data = data[..., None] if len(spatial) == 2 else data
    if axis is not None and kinds[axis] in _ALPHA_KINDS and data.shape[0] == 4:
        data = data[:3]
        verdict += Verdict.of("warning", "alpha-ignored", "the alpha channel of the colours is left out")
    ours = header.pairs.get(OURS, "")
    layers, settled = unpack_segments(header.pairs, data.shape[0])
    return Raster(
        data=data,
        affine=affine,
        path=path,
        paths=tuple(dict.fromkeys((path, *files.paths))),
        format="nrrd",
        header={"nrrd": grid},
        verdict=verdict + settled,
        is_2d=len(spatial) == 2 or "2d" in ours,
        spacing_known=grid.spacing_known and "spacing-unknown" not in ours,
        labels=layers[0] if len(layers) == 1 else None,
        layers=layers if len(layers) > 1 else (),
    )


def _kinds(fields: Fields, count: int) -> list[str]:
    kinds = fields.get("kinds", "").lower().split() or ["???"] * count
    if len(kinds) != count:
        raise HeaderFault(f"{len(kinds)} kinds for {count} axes")
    if not _KINDS.issuperset(kinds):
        raise HeaderFault("the field 'kinds' holds words that are none of NRRD's kinds")
    return kinds


def _axis_without_direction(path: Path, fields: Fields, kinds: list[str]) -> int | None:
    """The axis that is no direction in space, if there is one."""
    extra = [axis for axis, kind in enumerate(kinds) if kind not in _SPATIAL_KINDS]
    if "space directions" in fields:
        directions = vectors(fields["space directions"], "space directions")
        if len(directions) != len(kinds):
            raise HeaderFault(f"{len(directions)} space directions for {len(kinds)} axes")
        extra = [axis for axis, vector in enumerate(directions) if vector is None]
    spatial = len(kinds) - len(extra)
    if spatial == 4 or (spatial == 3 and len(extra) > 1):
        raise refused(
            path, "four-dimensional", f"{len(kinds)} dimensions, expected one volume; split the file"
        )
    if spatial not in (2, 3) or len(extra) > 1:
        raise HeaderFault(f"{spatial} directions in space, expected 2 or 3")
    return extra[0] if extra else None


def _chosen(path: Path, header: _Header, size: int, kind: str, series: int | None) -> int | None:
    """Which entry of the axis without direction to take; None where all are channels."""
    is_channels = "channels" in header.pairs.get(OURS, "") or has_segments(header.pairs)
    # As ITK writes colours; MetaImage knows no other way.
    as_vector = kind == "vector" and size == 3 and _TYPE_OF_NAME.get(header.fields["type"].lower()) == "u1"
    if is_channels or kind in _COLOUR_KINDS or as_vector or (size == 1 and series is None):
        return None
    if kind in _VOLUME_KINDS:
        return choose_volume(path, size, series)
    raise refused(path, "not-an-image", f"{size} numbers at every voxel that are no colours, expected a scan")


def _number(fields: Fields, encoding: Encoding) -> np.dtype[Any]:
    """The type of one number in the file's byte order."""
    code = _TYPE_OF_NAME.get(" ".join(fields["type"].lower().split()))
    if code is None:
        raise HeaderFault("the field 'type' is none of NRRD's numbers")
    if code[1] == "1" or encoding == "text":
        return np.dtype(code)
    order = {"little": "<", "big": ">"}.get(fields.get("endian", "").lower())
    if order is None:
        raise HeaderFault("the field 'endian' is missing or neither little nor big")
    return np.dtype(order + code)


def _data_files(path: Path, header: _Header, sizes: tuple[int, ...]) -> DataFiles:
    fields = header.fields
    encoding = _ENCODINGS.get(fields["encoding"].lower())
    if encoding is None:
        known = "raw, gzip, bzip2, hex, ascii"
        raise refused(path, "unsupported-encoding", f"the field 'encoding' is none of {known}; save it so")
    lines = whole(fields.get("line skip", "0"), "line skip")
    skip = whole(fields.get("byte skip", "0"), "byte skip")
    value = fields.get("data file")
    if value is None:
        return DataFiles((path,), encoding, header.size, lines, skip)
    paths = listed(path, value, header.names, sizes) or (beside(path, value),)
    return DataFiles(paths, encoding, 0, lines, skip)


def _unescape(text: str) -> str:
    return text.replace("\\\\", "\0").replace("\\n", "\n").replace("\0", "\\")
