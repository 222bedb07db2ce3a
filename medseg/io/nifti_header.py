"""NIfTI-1 and NIfTI-2 headers: from bytes to a grid in space and back.

Our own, because reading a scan has to be strict and quick: importing nibabel costs more time than
reading most scans. The field layout is that of ``nifti1.h`` and ``nifti2.h``
(https://nifti.nimh.nih.gov); nibabel is the oracle in the tests.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from medseg.io.refusals import HeaderFault
from medseg.verdict import OK, Verdict

_START_1 = [
    ("sizeof_hdr", "i4"), ("data_type", "V10"), ("db_name", "V18"), ("extents", "i4"),
    ("session_error", "i2"), ("regular", "S1"), ("dim_info", "u1"), ("dim", "i2", (8,)),
    ("intent_p", "f4", (3,)), ("intent_code", "i2"), ("datatype", "i2"), ("bitpix", "i2"),
    ("slice_start", "i2"), ("pixdim", "f4", (8,)), ("vox_offset", "f4"), ("scl_slope", "f4"),
    ("scl_inter", "f4"), ("slice_end", "i2"), ("slice_code", "u1"), ("xyzt_units", "u1"),
    ("cal_max", "f4"), ("cal_min", "f4"), ("slice_duration", "f4"), ("toffset", "f4"),
    ("glmax", "i4"), ("glmin", "i4"), ("descrip", "V80"), ("aux_file", "V24"), ("qform_code", "i2"),
    ("sform_code", "i2"), ("quatern", "f4", (3,)), ("qoffset", "f4", (3,)), ("srow", "f4", (3, 4)),
    ("intent_name", "S16"), ("magic", "S4"),
]  # fmt: skip
_START_2 = [
    ("sizeof_hdr", "i4"), ("magic", "S4"), ("eol_check", "V4"), ("datatype", "i2"), ("bitpix", "i2"),
    ("dim", "i8", (8,)), ("intent_p", "f8", (3,)), ("pixdim", "f8", (8,)), ("vox_offset", "i8"),
    ("scl_slope", "f8"), ("scl_inter", "f8"), ("cal_max", "f8"), ("cal_min", "f8"),
    ("slice_duration", "f8"), ("toffset", "f8"), ("slice_start", "i8"), ("slice_end", "i8"),
    ("descrip", "V80"), ("aux_file", "V24"), ("qform_code", "i4"), ("sform_code", "i4"),
    ("quatern", "f8", (3,)), ("qoffset", "f8", (3,)), ("srow", "f8", (3, 4)), ("slice_code", "i4"),
    ("xyzt_units", "i4"), ("intent_code", "i4"), ("intent_name", "S16"), ("dim_info", "u1"),
    ("unused", "V15"),
]  # fmt: skip
LAYOUTS: dict[int, np.dtype[np.void]] = {1: np.dtype(_START_1), 2: np.dtype(_START_2)}
SIZES = {348: 1, 540: 2}
SINGLE_FILE = {1: b"n+1", 2: b"n+2"}
PAIR = {1: b"ni1", 2: b"ni2"}
RGB, RGBA = 128, 2304
# Marks a fourth dimension that counts channels; without the mark it is time, and refused.
CHANNELS_MARK = b"medseg channels"
LINE_ENDS = b"\r\n\x1a\n"
DATATYPES: dict[int, str] = {
    2: "u1", 4: "i2", 8: "i4", 16: "f4", 64: "f8", 256: "i1", 512: "u2", 768: "u4", 1024: "i8", 1280: "u8",
}  # fmt: skip
CODES = {np.dtype(name): code for code, name in DATATYPES.items()}
# Known types that medseg does not read; nifti1.h leaves the order of single bits open.
UNREADABLE = {1: "single bits", 32: "complex numbers", 1536: "128-bit floats", 1792: "complex numbers",
              2048: "complex numbers"}  # fmt: skip
_MM_PER_UNIT = {0: 1.0, 1: 1000.0, 2: 1.0, 3: 0.001}
_UNIT_NAMES = {1: "metres", 3: "micrometres"}
_LARGEST_CODE = 5
# What places the grid in space; copied when the same grid is written again, so that it is bit-equal.
_GRID_FIELDS = ("pixdim", "qform_code", "sform_code", "quatern", "qoffset", "srow", "xyzt_units", "dim_info")
# sform and qform that differ by less than this share of a voxel differ by rounding.
_DISAGREEMENT = 0.1


def parse(block: bytes) -> tuple[np.void, int] | None:
    """A header record in the file's byte order and its version (1, 2), or None if it is not NIfTI."""
    orders: tuple[Literal["<", ">"], ...] = ("<", ">")
    for order in orders:
        size = int(np.frombuffer(block[:4], order + "i4")[0]) if len(block) >= 4 else 0
        version = SIZES.get(size)
        if version is None or len(block) < size:
            continue
        header: np.void = np.frombuffer(block[:size], LAYOUTS[version].newbyteorder(order))[0]
        if header["magic"] in (SINGLE_FILE[version], PAIR[version]):
            if version == 2 and bytes(header["eol_check"]) not in (LINE_ENDS, bytes(4)):
                raise HeaderFault("its line ends were translated, as a transfer in text mode does")
            return header, version
    return None


def shape(header: np.void) -> tuple[int, ...]:
    """The dimensions that ``dim[0]`` counts. `HeaderFault` if they make no sense."""
    count = int(header["dim"][0])
    if not 1 <= count <= 7:
        raise HeaderFault(f"dim[0] is {count}, expected 1 to 7 dimensions")
    sizes = tuple(int(n) for n in header["dim"][1 : count + 1])
    if min(sizes) < 1:
        raise HeaderFault(f"dimensions {sizes}: each has to be at least 1")
    return sizes


def dtype(header: np.void) -> tuple[np.dtype[Any], int]:
    """The type of one number in the file's byte order, and how many numbers a voxel has (RGB: 3)."""
    code, bits = int(header["datatype"]), int(header["bitpix"])
    channels = {RGB: 3, RGBA: 4}.get(code, 1)
    if channels == 1 and code not in DATATYPES:
        raise HeaderFault(f"data type {code} is none of NIfTI's")
    number = np.dtype(DATATYPES.get(code, "u1")).newbyteorder(header.dtype["datatype"].byteorder)
    if bits != number.itemsize * 8 * channels:
        raise HeaderFault(f"data type {code} has {number.itemsize * 8 * channels} bits, bitpix says {bits}")
    return number, channels


def scaling(header: np.void) -> tuple[float, float] | None:
    """(slope, intercept) to apply, or None where the header asks for none."""
    slope, intercept = float(header["scl_slope"]), float(header["scl_inter"])
    if slope == 0 or np.isnan(slope):
        return None
    if not np.isfinite([slope, intercept]).all():
        raise HeaderFault(f"scl_slope {slope} and scl_inter {intercept}: expected finite numbers")
    return None if (slope, intercept) == (1.0, 0.0) else (slope, intercept)


def affine(header: np.void, size: tuple[int, int, int]) -> tuple[NDArray[np.float64], Verdict]:
    """Index to world RAS+ mm, by sform, else qform, else voxel sizes alone; and what is odd about it.

    Parameters
    ----------
    header
        As `parse` gives it.
    size
        (i, j, k), for comparing two transforms at the corners.

    Raises
    ------
    HeaderFault
        If the unit, the voxel sizes or the quaternion are impossible.
    """
    unit = int(header["xyzt_units"]) & 7
    if unit not in _MM_PER_UNIT:
        raise HeaderFault(f"xyzt_units names the unit {unit} of length, expected 0 to 3")
    mm = _MM_PER_UNIT[unit]
    verdict = OK
    if unit in _UNIT_NAMES:
        finding = f"lengths are in {_UNIT_NAMES[unit]}; converted to millimetres (some programs do not)"
        verdict = Verdict.of("warning", "units-converted", finding)
    has_sform, has_qform = _is_set(header, "sform_code"), _is_set(header, "qform_code")
    if has_sform:
        chosen = _scaled(_sform(header), mm)
        return chosen, verdict + (_disagreement(header, mm, chosen, size) if has_qform else OK)
    if has_qform:
        return _scaled(_qform(header), mm), verdict
    finding = "neither sform nor qform is set: that axis i points to the left is a guess (as in Analyze)"
    verdict += Verdict.of("warning", "orientation-unknown", finding)
    return _scaled(voxel_sizes_only(header["pixdim"], int(header["dim"][0]), size), mm), verdict


def _is_set(header: np.void, field: str) -> bool:
    """Whether a transform counts. Programs do not agree about codes that NIfTI does not know."""
    code = int(header[field])
    if not 0 <= code <= _LARGEST_CODE:
        raise HeaderFault(f"{field} is {code}, expected 0 to {_LARGEST_CODE}")
    return code > 0


def _scaled(matrix: NDArray[np.float64], mm: float) -> NDArray[np.float64]:
    return np.vstack([matrix[:3] * mm, matrix[3]])


def _sform(header: np.void) -> NDArray[np.float64]:
    return np.vstack([header["srow"].astype(np.float64), [0.0, 0.0, 0.0, 1.0]])


def _qform(header: np.void) -> NDArray[np.float64]:
    steps = _voxel_sizes(header["pixdim"], int(header["dim"][0]))
    b, c, d = header["quatern"].astype(np.float64)
    with np.errstate(all="ignore"):  # what overflows is too long
        rest = 1.0 - (b * b + c * c + d * d)
    if not rest > -1e-5:
        raise HeaderFault(f"quaternion ({b}, {c}, {d}) is longer than 1")
    # A turn by 180 degrees, but for rounding: of float32 as nifti1_io.c has it, of float64 in NIfTI-2.
    if rest < (1e-7 if header["quatern"].dtype.itemsize == 4 else 1e-15):
        b, c, d = np.array([b, c, d]) / np.sqrt(b * b + c * c + d * d)
        rest = 0.0
    a = np.sqrt(rest)
    rotation = np.array([
        [a * a + b * b - c * c - d * d, 2 * (b * c - a * d), 2 * (b * d + a * c)],
        [2 * (b * c + a * d), a * a + c * c - b * b - d * d, 2 * (c * d - a * b)],
        [2 * (b * d - a * c), 2 * (c * d + a * b), a * a + d * d - b * b - c * c],
    ])  # fmt: skip
    handedness = float(header["pixdim"][0])
    if handedness not in (-1.0, 0.0, 1.0):  # of which programs make different things
        raise HeaderFault(f"pixdim[0] is {handedness}, expected -1 or 1")
    steps[2] *= -1.0 if handedness < 0 else 1.0
    matrix = np.eye(4)
    matrix[:3, :3] = rotation * steps
    matrix[:3, 3] = header["qoffset"]
    return matrix


def _voxel_sizes(pixdim: NDArray[Any], dimensions: int) -> NDArray[np.float64]:
    steps: NDArray[np.float64] = pixdim[1:4].astype(np.float64)
    flat = steps[min(3, dimensions) :]
    flat[~(flat > 0)] = 1.0  # a plane need not say how thick it is
    if not (np.isfinite(steps).all() and (steps > 0).all()):
        raise HeaderFault(f"voxel sizes {steps.tolist()}: expected positive numbers")
    return steps


def voxel_sizes_only(
    pixdim: NDArray[Any], dimensions: int, size: tuple[int, int, int]
) -> NDArray[np.float64]:
    """Index to world where a header gives voxel sizes alone: i to the left, the middle at 0.

    So do Analyze's readers, and nibabel. ``pixdim`` is the header's field, ``dimensions`` its dim[0].
    """
    steps = _voxel_sizes(pixdim, dimensions) * (-1.0, 1.0, 1.0)
    matrix = np.diag([*steps, 1.0])
    matrix[:3, 3] = -steps * (np.array(size) - 1) / 2
    return matrix


def _disagreement(
    header: np.void, mm: float, sform: NDArray[np.float64], size: tuple[int, int, int]
) -> Verdict:
    try:
        qform = _scaled(_qform(header), mm)
    except HeaderFault as error:
        return Verdict.of("warning", "sform-qform-disagree", f"qform: {error}; the sform is used")
    corners = np.indices((2, 2, 2)).reshape(3, 8) * (np.array(size)[:, None] - 1)
    with np.errstate(all="ignore"):  # numbers that are not finite disagree
        apart = (sform - qform)[:3]
        distance = np.linalg.norm(apart[:, :3] @ corners + apart[:, 3:], axis=0).max()
        agree = distance <= _DISAGREEMENT * np.linalg.norm(sform[:3, :3], axis=0).min()
    if agree:
        return OK
    return Verdict.of(
        "warning",
        "sform-qform-disagree",
        f"sform and qform place the corners up to {distance:.3g} mm apart; the sform is used",
    )


def grid_facts(header: np.void, version: int) -> dict[str, Any]:
    """What places the grid in space, as plain values without any text, for writing it again."""
    facts = {name: np.array(header[name]).tolist() for name in _GRID_FIELDS}
    return {"version": version, **facts}


def with_grid(header: np.void, facts: Mapping[str, Any]) -> None:
    """Copy `grid_facts` into a header that is being built."""
    for name in _GRID_FIELDS:
        header[name] = facts[name]
    header["pixdim"][4:] = 1.0  # of dimensions that the grid does not have


def set_grid(header: np.void, matrix: NDArray[np.float64], *, unit: int = 2) -> None:
    """Store an affine as sform and, where a rotation and voxel sizes can say it, as qform too."""
    steps = np.linalg.norm(matrix[:3, :3], axis=0)
    direction = matrix[:3, :3] / steps
    handedness = -1.0 if np.linalg.det(direction) < 0 else 1.0
    header["pixdim"][0] = handedness
    header["pixdim"][1:4] = steps
    header["xyzt_units"] = unit
    header["sform_code"] = 1
    header["srow"] = matrix[:3]
    rotation = direction * (1.0, 1.0, handedness)
    if np.abs(rotation.T @ rotation - np.eye(3)).max() < 1e-5:
        header["qform_code"] = 1
        header["quatern"] = _quaternion(rotation)
        header["qoffset"] = matrix[:3, 3]


def _quaternion(rotation: NDArray[np.float64]) -> NDArray[np.float64]:
    """(b, c, d) of the unit quaternion with a >= 0, from the largest eigenvector (Bar-Itzhack 2000)."""
    xx, xy, xz, yx, yy, yz, zx, zy, zz = rotation.ravel()
    symmetric = np.array([
        [xx - yy - zz, yx + xy, zx + xz, zy - yz],
        [yx + xy, yy - xx - zz, zy + yz, xz - zx],
        [zx + xz, zy + yz, zz - xx - yy, yx - xy],
        [zy - yz, xz - zx, yx - xy, xx + yy + zz],
    ])  # fmt: skip
    b, c, d, a = np.linalg.eigh(symmetric)[1][:, -1]
    sign = -1.0 if a < 0 else 1.0
    return np.array([b, c, d]) * sign
