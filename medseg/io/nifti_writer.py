"""Rasters to NIfTI files (``.nii``, ``.nii.gz``)."""

from __future__ import annotations

import gzip
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medseg.geometry import Geometry
from medseg.io import nifti_header as headers
from medseg.io import nifti_labels
from medseg.io.nifti_header import CHANNELS_MARK
from medseg.labels import LabelSet

_LABEL_INTENT = 1002
# Label maps shrink as well at 4 as at 9, in a third of the time.
_COMPRESSION_LEVEL = 4
_LARGEST_ROUNDING_MM = 1e-4


def write(
    path: Path,
    data: NDArray[Any],
    geometry: Geometry,
    *,
    facts: Mapping[str, Any] | None = None,
    labels: LabelSet | None = None,
) -> None:
    """Write voxels (C, I, J, K) as NIfTI, compressed where the name ends in ``.gz``.

    Parameters
    ----------
    path
        The file; an existing one is overwritten, not atomically (see `medseg.io.write`).
    data, geometry
        The voxels and their grid. Three channels of uint8 become RGB; other channels a fourth dimension
        that is marked as such.
    facts
        `Source.header` of the scan that the grid comes from: where it is the same grid, its transforms
        and codes are copied bit for bit.
    labels
        Names for a label map; they travel in a header extension.
    """
    data = data.astype(np.float32) if data.dtype == np.float16 else data
    header = _new_header(data, geometry, (facts or {}).get("nifti"))
    extension = b"\0\0\0\0" if labels is None else nifti_labels.pack(labels)
    if labels is not None:
        header["intent_code"] = _LABEL_INTENT
    header["vox_offset"] = header.dtype.itemsize + len(extension)
    with path.open("wb") as raw:
        if path.suffix.lower() == ".gz":
            # No name and no time inside, so that the same labels give the same file.
            with gzip.GzipFile("", "wb", _COMPRESSION_LEVEL, raw, mtime=0) as packed:
                _write_to(packed, header, extension, data)
        else:
            _write_to(raw, header, extension, data)


def _write_to(file: Any, header: np.void, extension: bytes, data: NDArray[Any]) -> None:
    file.write(header.tobytes() + extension)
    data = data.astype(data.dtype.newbyteorder("<"), copy=False)
    if header["datatype"] == headers.RGB:
        for k in range(data.shape[3]):
            file.write(data[..., k].tobytes(order="F"))
        return
    for channel in data:
        for k in range(channel.shape[2]):
            file.write(channel[..., k].tobytes(order="F"))


def _new_header(data: NDArray[Any], geometry: Geometry, grid: Mapping[str, Any] | None) -> np.void:
    version = int(grid["version"]) if grid else 1
    if max(geometry.shape) > 32767:
        version = 2
    header = _blank(version, data, geometry)
    if grid is not None:
        headers.with_grid(header, grid)
        if np.array_equal(headers.affine(header, geometry.shape)[0], geometry.affine):
            return header
        header = _blank(version, data, geometry)
    headers.set_grid(header, geometry.affine, unit=2 if geometry.spacing_known else 0)
    if version == 1 and geometry.grid_distance_mm(_stored(header, geometry)) > _LARGEST_ROUNDING_MM:
        header = _blank(2, data, geometry)  # float32 is too coarse for coordinates this far from the origin
        headers.set_grid(header, geometry.affine, unit=2 if geometry.spacing_known else 0)
    return header


def _stored(header: np.void, geometry: Geometry) -> Geometry:
    return Geometry(geometry.shape, headers.affine(header, geometry.shape)[0])


def _blank(version: int, data: NDArray[Any], geometry: Geometry) -> np.void:
    layout = headers.LAYOUTS[version].newbyteorder("<")
    header: np.void = np.zeros(1, layout)[0]
    header["sizeof_hdr"] = layout.itemsize
    header["magic"] = headers.SINGLE_FILE[version]
    if version == 1:
        header["regular"] = b"r"
    else:
        header["eol_check"] = headers.LINE_ENDS
    channels = data.shape[0]
    colours = channels == 3 and data.dtype == np.uint8
    header["datatype"] = headers.RGB if colours else headers.CODES[data.dtype.newbyteorder("=")]
    header["bitpix"] = data.dtype.itemsize * (24 if colours else 8)
    header["scl_slope"] = 1.0
    header["dim"] = 1
    header["pixdim"][4:] = 1.0
    header["dim"][1:4] = geometry.shape
    header["dim"][0] = 2 if geometry.is_2d else 3
    if channels > 1 and not colours:
        header["dim"][0], header["dim"][4] = 4, channels
        header["intent_name"] = CHANNELS_MARK
        header["intent_p"][0] = 2 if geometry.is_2d else 3
    return header
