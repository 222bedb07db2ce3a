"""NIfTI files (``.nii``, ``.nii.gz``, ``.hdr`` with ``.img``) to and from rasters."""

from __future__ import annotations

import gzip
import math
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medseg.errors import InputRefused, MedsegError, UsageError
from medseg.geometry import Geometry
from medseg.io import nifti_header as headers
from medseg.io import nifti_labels
from medseg.io.raster import Raster
from medseg.io.streams import ByteStream
from medseg.labels import LabelSet
from medseg.verdict import Verdict

# Marks a fourth dimension that counts channels; without the mark it is time, and refused.
_CHANNELS_MARK = b"medseg channels"
_LABEL_INTENT = 1002
# Label maps shrink as well at 4 as at 9, in a third of the time.
_COMPRESSION_LEVEL = 4
_LARGEST_EXTENSIONS = 1 << 20
_LARGEST_ROUNDING_MM = 1e-4


def read(path: Path, *, series: int | None = None) -> Raster:
    """Read one NIfTI image.

    Parameters
    ----------
    path
        The file; of a pair either half.
    series
        Of a file with a fourth dimension, the volume to take, counted from 1.

    Raises
    ------
    InputRefused
        ``bad-header``, ``truncated``, ``corrupt``, ``size-mismatch``, ``four-dimensional``,
        ``not-an-image`` (vector fields, complex numbers), ``analyze`` (no NIfTI mark).
    """
    header_path, data_path = _pair(path)
    try:
        return _read(path, header_path, data_path, series)
    except MedsegError:
        raise
    except (ValueError, OverflowError) as error:
        raise _refused(path, "bad-header", f"{error}. The header is damaged or not NIfTI's") from None


def _read(path: Path, header_path: Path, data_path: Path, series: int | None) -> Raster:
    with ByteStream(header_path) as stream:
        block = stream.read(max(headers.SIZES))
        parsed = headers.parse(block)
        if parsed is None:
            raise _not_nifti(path, block)
        header, version = parsed
        if header["magic"] == headers.SINGLE_FILE[version]:
            stream.unread(block[header.dtype.itemsize :])
            between = int(header["vox_offset"]) - header.dtype.itemsize
            if between < 4:
                raise ValueError(f"vox_offset is {header['vox_offset']}, inside the header")
            extensions = stream.read(min(between, _LARGEST_EXTENSIONS))
            stream.skip(between - len(extensions))
            labels = _labels_in(extensions, header)
            return _raster(path, (header_path,), (header, version), stream, series, labels)
    if not data_path.is_file():
        raise _refused(path, "truncated", f"its voxels should be in {data_path.name}, which is not there")
    with ByteStream(data_path) as stream:
        stream.skip(max(0, int(header["vox_offset"])))
        return _raster(path, (header_path, data_path), (header, version), stream, series, None)


def _raster(
    path: Path,
    paths: tuple[Path, ...],
    parsed: tuple[np.void, int],
    stream: ByteStream,
    series: int | None,
    labels: LabelSet | None,
) -> Raster:
    header, version = parsed
    sizes = headers.shape(header)
    number, per_voxel = headers.dtype(header)
    scaling = headers.scaling(header)
    i, j, k = (*sizes, 1, 1)[:3]
    spatial = (i, j, k)
    affine, verdict = headers.affine(header, spatial)
    times = _fourth_dimension(path, sizes)
    marked = bytes(header["intent_name"]) == _CHANNELS_MARK
    chosen = 0 if marked else _choose(path, times, series)
    flat = stream.read_array(math.prod(spatial) * times * per_voxel, number)
    stream.finish()
    data = flat.reshape((per_voxel, *spatial, times), order="F").transpose(4, 0, 1, 2, 3)
    if not marked:
        data = data[chosen : chosen + 1]
    data = data[:, 0] if per_voxel == 1 else data[0]
    if per_voxel == 4:
        data = data[:3]
        verdict += Verdict.of("warning", "alpha-ignored", "the alpha channel of the colours is left out")
    is_2d = len(sizes) == 2 or (marked and int(header["intent_p"][0]) == 2)
    return Raster(
        data=_scaled(_native(data), scaling if per_voxel == 1 else None),
        affine=affine,
        path=path,
        paths=paths,
        format="nifti",
        header={"nifti": headers.grid_facts(header, version)},
        verdict=verdict,
        is_2d=is_2d,
        spacing_known=not (is_2d and int(header["xyzt_units"]) & 7 == 0),
        labels=labels,
    )


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
        header["eol_check"] = b"\r\n\x1a\n"
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
        header["intent_name"] = _CHANNELS_MARK
        header["intent_p"][0] = 2 if geometry.is_2d else 3
    return header


def _labels_in(extensions: bytes, header: np.void) -> LabelSet | None:
    big = header.dtype["sizeof_hdr"].newbyteorder("=") != header.dtype["sizeof_hdr"]
    swapped = sys.byteorder == "little"
    return nifti_labels.unpack(extensions, ">" if big == swapped else "<")


def _fourth_dimension(path: Path, sizes: tuple[int, ...]) -> int:
    if any(n > 1 for n in sizes[4:]):
        raise _refused(
            path,
            "not-an-image",
            f"{' x '.join(map(str, sizes))} values: a vector at every voxel (a deformation field?), "
            "expected a scan",
        )
    return sizes[3] if len(sizes) > 3 else 1


def _choose(path: Path, times: int, series: int | None) -> int:
    if times == 1 and series is None:
        return 0
    if series is None:
        raise _refused(
            path,
            "four-dimensional",
            f"{times} volumes in one file, expected one. Choose one with series=1 to series={times}, "
            "or split the file",
        )
    if not 1 <= series <= times:
        raise UsageError(f"{path.name}: series={series}, the file has volumes 1 to {times}")
    return series - 1


def _native(data: NDArray[Any]) -> NDArray[Any]:
    return data.astype(data.dtype.newbyteorder("="), copy=False)


def _scaled(data: NDArray[Any], scaling: tuple[float, float] | None) -> NDArray[Any]:
    """Apply slope and intercept in float64, slice by slice, and keep float32 (float64 for wide types)."""
    if scaling is None:
        return data
    wide = data.dtype.itemsize > 4 or (data.dtype.kind in "iu" and data.dtype.itemsize == 4)
    scaled = np.empty_like(data, dtype=np.float64 if wide else np.float32)
    with np.errstate(over="ignore", invalid="ignore"):  # what is not finite is found and named later
        for k in range(data.shape[3]):
            scaled[..., k] = data[..., k] * np.float64(scaling[0]) + np.float64(scaling[1])
    return scaled


def _pair(path: Path) -> tuple[Path, Path]:
    """The files that hold header and voxels: one file twice, or the two halves of a pair."""
    suffix = path.suffix.lower()
    if suffix not in (".hdr", ".img"):
        return path, path
    upper = path.suffix.isupper()
    header, data = (path.with_suffix(s.upper() if upper else s) for s in (".hdr", ".img"))
    if not header.is_file():
        raise _refused(path, "bad-header", f"its header should be in {header.name}, which is not there")
    return header, data


def _not_nifti(path: Path, block: bytes) -> InputRefused:
    if len(block) < min(headers.SIZES):
        return _refused(path, "truncated", f"{len(block)} bytes, shorter than any NIfTI header")
    if block[:4] in (b"\x5c\x01\0\0", b"\0\0\x01\x5c"):
        return _refused(
            path, "analyze", "Analyze 7.5 does not say which side is left; convert it to NIfTI first"
        )
    return _refused(path, "bad-header", "no NIfTI header found, expected the mark n+1, ni1, n+2 or ni2")


def _refused(path: Path, code: str, message: str) -> InputRefused:
    return InputRefused(f"{path.name}: {message}", code=code, path=path)
