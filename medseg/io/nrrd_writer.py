"""Rasters to NRRD files (``.nrrd``, ``.seg.nrrd``)."""

from __future__ import annotations

import gzip
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medseg.geometry import Geometry
from medseg.io.nrrd import OURS
from medseg.io.nrrd_grid import grid_of
from medseg.io.segments import pack_segments
from medseg.labels import LabelSet

_NAME_OF_TYPE = {
    "u1": "uint8", "i1": "int8", "u2": "uint16", "i2": "int16", "u4": "uint32", "i4": "int32",
    "u8": "uint64", "i8": "int64", "f4": "float", "f8": "double",
}  # fmt: skip
_COMPRESSION_LEVEL = 4


def write(
    path: Path,
    data: NDArray[Any],
    geometry: Geometry,
    *,
    facts: Mapping[str, Any] | None = None,
    labels: Sequence[LabelSet | None] = (),
) -> None:
    """Write voxels (C, I, J, K) as gzipped NRRD; any affine is kept exactly.

    Parameters
    ----------
    path
        The file; an existing one is overwritten, not atomically (see `medseg.io.write`).
    data, geometry
        The voxels and their grid.
    facts
        `Source.header` of the scan that the grid comes from: where it is the same grid, it is written in the
        numbers, space and units it had. Else the space is left-posterior-superior.
    labels
        For a label map its label set: names, values and colours are written as 3D Slicer does. With several
        the channels are layers of segments that overlap.
    """
    data = data.astype(np.float32) if data.dtype == np.float16 else data
    channels, layered = data.shape[0], len(labels) > 1
    colours = channels == 3 and data.dtype == np.uint8 and not layered
    grid = grid_of(geometry, (facts or {}).get("nrrd"))
    flat = geometry.is_2d and len(grid.directions or grid.spacings) == 2
    sizes = [str(n) for n in geometry.shape[: 2 if flat else 3]]
    kinds, at = ["domain"] * len(sizes), None
    if channels > 1:
        at = 0 if colours or layered else len(sizes)
        sizes.insert(at, str(channels))
        kinds.insert(at, "RGB-color" if colours else "list")
    ours = ["2d"] * geometry.is_2d + ["spacing-unknown"] * (not geometry.spacing_known)
    ours += ["channels"] * (channels > 1 and not layered)
    lines = [
        "NRRD0005",
        f"type: {_NAME_OF_TYPE[data.dtype.str[1:]]}",
        f"dimension: {len(sizes)}",
        f"sizes: {' '.join(sizes)}",
        *grid.lines(at),
        f"kinds: {' '.join(kinds)}",
        "endian: little",
        "encoding: gzip",
        *([f"{OURS}:={' '.join(ours)}"] if ours else []),
        *(f"{key}:={_escape(value)}" for key, value in pack_segments(labels, geometry.shape).items()),
    ]
    data = data.astype(data.dtype.newbyteorder("<"), copy=False)
    with path.open("wb") as raw:
        raw.write("\n".join([*lines, "", ""]).encode())
        with gzip.GzipFile("", "wb", _COMPRESSION_LEVEL, raw, mtime=0) as packed:
            for block in [data] if at == 0 else data[:, None]:
                for k in range(block.shape[3]):
                    packed.write(block[..., k].tobytes(order="F"))


def _escape(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\n", "\\n")
