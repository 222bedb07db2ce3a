"""NIfTI files (``.nii``, ``.nii.gz``, ``.hdr`` with ``.img``) to rasters."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medseg.io import analyze, nifti_labels
from medseg.io import nifti_header as headers
from medseg.io.nifti_header import CHANNELS_MARK
from medseg.io.raster import Raster
from medseg.io.refusals import HeaderFault, header_of, refused
from medseg.io.scaling import scaled
from medseg.io.streams import ByteStream
from medseg.io.time_series import choose_volume, read_volume
from medseg.labels import LabelSet
from medseg.verdict import OK, Verdict

_LARGEST_OFFSET = 1 << 28


def read(path: Path, *, series: int | None = None) -> Raster:
    """Read one NIfTI image, or an Analyze pair.

    Parameters
    ----------
    path
        The file; of a pair either half.
    series
        Of a file with a fourth dimension, the volume to take, counted from 1; the others are passed over.

    Raises
    ------
    InputRefused
        ``bad-header``, ``truncated``, ``corrupt``, ``size-mismatch``, ``too-large``, ``four-dimensional``,
        ``not-an-image`` (vector fields, complex numbers), ``unsupported-encoding`` (128-bit floats, single
        bits), ``orientation-unknown`` (Analyze with its place in space elsewhere).
    """
    header_path, data_path = _pair(path)
    with header_of(path, "NIfTI"):
        return _read(path, header_path, data_path, series)


def _read(path: Path, header_path: Path, data_path: Path, series: int | None) -> Raster:
    with ByteStream(header_path) as stream:
        block = stream.read(max(headers.SIZES))
        parsed = headers.parse(block)
        if parsed is None:
            return _read_analyze(path, header_path, data_path, block, series)
        header, version = parsed
        alone = header["magic"] == headers.SINGLE_FILE[version]
        offset = _offset(header, header.dtype.itemsize + 4 if alone else 0)
        if alone:
            stream.unread(block[header.dtype.itemsize :])
            between = offset - header.dtype.itemsize
            labels = nifti_labels.read_extensions(stream, between, _byte_order(header))
            return _raster(path, (header_path,), (header, version), stream, series, labels)
    _check_halves(path, header_path, data_path)
    with ByteStream(data_path) as stream:
        stream.skip(offset)
        return _raster(path, (header_path, data_path), (header, version), stream, series, None)


def _offset(header: np.void, least: int) -> int:
    """Where the voxels begin in their file."""
    offset = float(header["vox_offset"])
    if not (least <= offset <= _LARGEST_OFFSET and offset.is_integer()):
        raise HeaderFault(
            f"vox_offset is {offset}, expected a whole number from {least} to {_LARGEST_OFFSET}"
        )
    return int(offset)


def _raster(
    path: Path,
    paths: tuple[Path, ...],
    parsed: tuple[np.void, int],
    stream: ByteStream,
    series: int | None,
    labels: LabelSet | None,
) -> Raster:
    header, version = parsed
    _check_kind(path, header)
    sizes = headers.shape(header)
    number, per_voxel = headers.dtype(header)
    scaling = headers.scaling(header)
    if per_voxel > 1 and scaling is not None:
        raise HeaderFault("colours with a slope or an intercept")
    i, j, k = (*sizes, 1, 1)[:3]
    affine, verdict = headers.affine(header, (i, j, k))
    if any(n > 1 for n in sizes[4:]):
        values = " x ".join(map(str, sizes))
        finding = f"{values} values: a vector at every voxel (a deformation field?), expected a scan"
        raise refused(path, "not-an-image", finding)
    count = sizes[3] if len(sizes) > 3 else 1
    marked = bytes(header["intent_name"]) == CHANNELS_MARK
    if marked and per_voxel == 1:
        data = read_volume(stream, (i, j, k, count), 1, choose_volume(path, 1, series), number)
        data = data.transpose(3, 0, 1, 2)
    else:
        chosen = choose_volume(path, count, series)
        data = read_volume(stream, (per_voxel, i, j, k), count, chosen, number)
    if per_voxel == 4:
        data, lost = without_alpha(data)
        verdict += lost
    is_2d = len(sizes) == 2 or (marked and int(header["intent_p"][0]) == 2)
    return Raster(
        data=scaled(data, scaling),
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


def _check_kind(path: Path, header: np.void) -> None:
    code = int(header["datatype"])
    kind = headers.UNREADABLE.get(code)
    if kind is not None:
        name = "not-an-image" if "complex" in kind else "unsupported-encoding"
        raise refused(path, name, f"{kind} (data type {code}); save it as real numbers or integers")


def _byte_order(header: np.void) -> str:
    big = header.dtype["sizeof_hdr"].newbyteorder("=") != header.dtype["sizeof_hdr"]
    return ">" if big == (sys.byteorder == "little") else "<"


def _pair(path: Path) -> tuple[Path, Path]:
    """The files that hold header and voxels: one file twice, or the two halves of a pair."""
    name = path.name
    packed = ".gz" if name.lower().endswith(".gz") else ""
    plain = name[: len(name) - len(packed)]
    if plain[-4:].lower() not in (".hdr", ".img"):
        return path, path
    base = plain[:-4]
    suffixes = (".HDR", ".IMG") if plain[-4:].isupper() else (".hdr", ".img")
    header, data = (_existing(path.parent, base, suffix, packed) for suffix in suffixes)
    if not header.is_file():
        raise refused(path, "bad-header", f"its header should be in {header.name}, which is not there")
    return header, data


def _existing(folder: Path, base: str, suffix: str, packed: str) -> Path:
    """A half of a pair; it may be compressed where the other half is not."""
    wanted, other = folder / f"{base}{suffix}{packed}", folder / f"{base}{suffix}{'' if packed else '.gz'}"
    return other if other.is_file() and not wanted.is_file() else wanted


def _check_halves(path: Path, header_path: Path, data_path: Path) -> None:
    if header_path == data_path:
        raise HeaderFault("its mark says that the voxels are in another file, its name that they are here")
    if not data_path.is_file():
        raise refused(path, "truncated", f"its voxels should be in {data_path.name}, which is not there")


def _read_analyze(path: Path, header_path: Path, data_path: Path, block: bytes, series: int | None) -> Raster:
    if len(block) < min(headers.SIZES):
        raise refused(path, "truncated", f"{len(block)} bytes, shorter than any NIfTI header")
    header = analyze.parse(block)
    if header is None or header_path == data_path:
        raise refused(path, "bad-header", "no NIfTI header found, expected the mark n+1, ni1, n+2 or ni2")
    _check_halves(path, header_path, data_path)
    return analyze.read(path, header_path, data_path, header, series)


def without_alpha(data: NDArray[Any]) -> tuple[NDArray[Any], Verdict]:
    """The first three of four channels (C, I, J, K); a warning where transparency is lost."""
    if data.dtype.kind == "u" and (data[3] == np.iinfo(data.dtype).max).all():
        return data[:3], OK
    return data[:3], Verdict.of("warning", "alpha-ignored", "the alpha channel of the colours is left out")
