"""Analyze 7.5 (``.hdr`` with ``.img``), as Mayo's Analyze, SPM99 and SPM2 wrote it.

Layout: ``dbh.h`` of the Mayo Clinic, and the fields that SPM found room for in it. The format does not say
which side is left: like nibabel and SPM, axis i is taken to run to the left, with a warning. nibabel is the
oracle in the tests.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from medseg.io.nifti_header import DATATYPES, UNREADABLE, shape, voxel_sizes_only
from medseg.io.raster import Raster
from medseg.io.refusals import HeaderFault, refused
from medseg.io.scaling import scaled
from medseg.io.streams import ByteStream
from medseg.io.time_series import choose_volume, read_volume
from medseg.verdict import Verdict

SIZE = 348
_LAYOUT = np.dtype([
    ("sizeof_hdr", "i4"), ("key", "V36"), ("dim", "i2", (8,)), ("vox_units", "S4"), ("cal_units", "V8"),
    ("unused1", "i2"), ("datatype", "i2"), ("bitpix", "i2"), ("dim_un0", "i2"), ("pixdim", "f4", (8,)),
    ("vox_offset", "f4"), ("scale", "f4"), ("intercept", "f4"), ("funused3", "f4"), ("cal_max", "f4"),
    ("cal_min", "f4"), ("compressed", "i4"), ("verified", "i4"), ("glmax", "i4"), ("glmin", "i4"),
    ("descrip", "V80"), ("aux_file", "V24"), ("orient", "u1"), ("origin", "i2", (5,)), ("texts", "V53"),
    ("views", "V28"), ("smin", "i4"),
])  # fmt: skip
_MM_PER_UNIT = {b"": 1.0, b"mm": 1.0, b"um": 1e-3, b"cm": 10.0, b"m": 1000.0}
_RGB = 128


def parse(block: bytes) -> np.void | None:
    """The header record in the file's byte order, or None where this is no Analyze header.

    NIfTI's mark stands where Analyze's last field is; that has to be empty, lest a damaged NIfTI header is
    taken for Analyze, which would move and mirror the scan.
    """
    orders: tuple[Literal["<", ">"], ...] = ("<", ">")
    for order in orders:
        if len(block) >= SIZE and int(np.frombuffer(block[:4], order + "i4")[0]) == SIZE:
            header: np.void = np.frombuffer(block[:SIZE], _LAYOUT.newbyteorder(order))[0]
            return header if int(header["smin"]) == 0 else None
    return None


def read(path: Path, header_path: Path, data_path: Path, header: np.void, series: int | None) -> Raster:
    """The raster of an Analyze pair whose header `parse` has read.

    Raises
    ------
    InputRefused
        ``orientation-unknown`` where the header says that slices are not transverse, or SPM's matrix lies in
        a ``.mat`` file beside it; else as `nifti.read`.
    """
    sizes = shape(header)
    if any(n > 1 for n in sizes[4:]):
        raise refused(path, "not-an-image", f"{' x '.join(map(str, sizes))} values, expected a scan")
    i, j, k = (*sizes[:3], 1, 1)[:3]
    number = _number(path, header)
    affine, verdict, centred = _affine(path, header_path, header, (i, j, k))
    offset = float(header["vox_offset"])
    if not (offset >= 0 and offset.is_integer()):
        raise HeaderFault(f"vox_offset is {offset}, expected a whole number from 0")
    count = sizes[3] if len(sizes) > 3 else 1
    chosen = choose_volume(path, count, series)
    with ByteStream(data_path) as stream:
        stream.skip(int(offset))
        data = read_volume(stream, (i, j, k), count, chosen, number)
    is_2d = len(sizes) == 2
    return Raster(
        data=scaled(data[None], _scaling(header)),
        affine=affine,
        path=path,
        paths=(header_path, data_path),
        format="analyze",
        header={"nifti": _grid_facts(header)} if centred else {},
        verdict=verdict,
        is_2d=is_2d,
    )


def _number(path: Path, header: np.void) -> np.dtype[Any]:
    code, bits = int(header["datatype"]), int(header["bitpix"])
    if code in UNREADABLE or code == _RGB:
        kind = UNREADABLE.get(code, "colours, whose order Analyze's writers do not agree on")
        raise refused(path, "unsupported-encoding", f"{kind}; save it as NIfTI with real numbers or integers")
    if code not in DATATYPES:
        raise HeaderFault(f"data type {code} is none of Analyze's")
    number = np.dtype(DATATYPES[code]).newbyteorder(header.dtype["datatype"].byteorder)
    if bits not in (0, number.itemsize * 8):
        raise HeaderFault(f"data type {code} has {number.itemsize * 8} bits, bitpix says {bits}")
    return number


def _affine(
    path: Path, header_path: Path, header: np.void, size: tuple[int, int, int]
) -> tuple[NDArray[np.float64], Verdict, bool]:
    """Index to world RAS+ mm, the warning, and whether 0 is the middle of the grid."""
    name = header_path.name
    matrix_file = header_path.with_name(name[: name.lower().rindex(".hdr")] + ".mat")
    if matrix_file.is_file():
        raise refused(
            path,
            "orientation-unknown",
            f"its place in space is in {matrix_file.name}, which medseg does not read; "
            "convert it to NIfTI in SPM",
        )
    if int(header["orient"]) != 0:
        raise refused(
            path,
            "orientation-unknown",
            f"slices of orientation {int(header['orient'])} (not transverse), on which programs disagree; "
            "convert it to NIfTI",
        )
    unit = _MM_PER_UNIT.get(bytes(header["vox_units"]).lower())
    if unit is None:
        raise HeaderFault("the unit of length (vox_units) is none of mm, cm, m, um")
    finding = "Analyze does not say which side is left: that array axis i points to the left is a guess"
    verdict = Verdict.of("warning", "orientation-unknown", finding)
    if unit != 1.0:
        verdict += Verdict.of(
            "warning", "units-converted", f"lengths are multiplied by {unit} to millimetres"
        )
    matrix = voxel_sizes_only(header["pixdim"], int(header["dim"][0]), size)
    origin = header["origin"][:3].astype(np.float64)
    # SPM counts from 1, and its rule for an origin that makes sense is this one.
    if origin.any() and (origin > -np.array(size)).all() and (origin < 2 * np.array(size)).all():
        matrix[:3, 3] = -np.diag(matrix)[:3] * (origin - 1)
        return np.diag([unit] * 3 + [1.0]) @ matrix, verdict, False
    return np.diag([unit] * 3 + [1.0]) @ matrix, verdict, unit == 1.0


def _scaling(header: np.void) -> tuple[float, float] | None:
    """(slope, intercept) by the rules of SPM2: its own fields, else the ranges before and after."""
    slope, intercept = float(header["scale"]), float(header["intercept"])
    if np.isfinite(slope) and slope != 0:
        intercept = intercept if np.isfinite(intercept) else 0.0
        return None if (slope, intercept) == (1.0, 0.0) else (slope, intercept)
    stored = int(header["glmax"]) - int(header["glmin"])
    shown = float(header["cal_max"]) - float(header["cal_min"])
    if stored == 0 or shown == 0 or not np.isfinite(shown):
        return None
    return shown / stored, float(header["cal_min"]) - shown / stored * int(header["glmin"])


def _grid_facts(header: np.void) -> dict[str, Any]:
    """The grid for a NIfTI header that leaves the orientation as unknown as it was."""
    pixdim = header["pixdim"].astype(np.float64).tolist()
    unset = {"quatern": [0.0] * 3, "qoffset": [0.0] * 3, "srow": [[0.0] * 4] * 3, "dim_info": 0}
    return {"version": 1, "pixdim": pixdim, "qform_code": 0, "sform_code": 0, "xyzt_units": 2, **unset}
