"""MGH and MGZ files (FreeSurfer) to rasters.

Format: https://surfer.nmr.mgh.harvard.edu/fswiki/FsTutorial/MghFormat. Always big-endian; what follows the
voxels (scan parameters, command lines) is passed over. nibabel is the oracle in the tests.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from medseg.io.raster import Raster
from medseg.io.refusals import HeaderFault, header_of, refused
from medseg.io.streams import ByteStream
from medseg.io.time_series import choose_volume, read_volume
from medseg.verdict import OK, Verdict

_LAYOUT = np.dtype([
    ("version", ">i4"), ("dims", ">i4", (4,)), ("type", ">i4"), ("dof", ">i4"), ("is_placed", ">i2"),
    ("steps", ">f4", (3,)), ("directions", ">f4", (3, 3)), ("centre", ">f4", (3,)), ("unused", "V194"),
])  # fmt: skip
_TYPES = {0: ">u1", 1: ">i4", 3: ">f4", 4: ">i2", 10: ">u2"}
_UNREADABLE = {2: "long numbers", 5: "single bits", 6: "tensors"}
# Scan parameters, transforms, colour tables and command lines may follow the voxels.
_LARGEST_FOOTER = 1 << 24
# FreeSurfer's own for a file that places the volume nowhere: coronal slices, 1 mm.
_COMMON_DIRECTIONS = np.array([[-1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, -1.0, 0.0]])


def read(path: Path, *, series: int | None = None) -> Raster:
    """Read one MGH or MGZ volume.

    Parameters
    ----------
    path
        The file.
    series
        Of a file with several frames, the one to take, counted from 1.

    Raises
    ------
    InputRefused
        ``bad-header``, ``truncated``, ``corrupt``, ``size-mismatch``, ``too-large``, ``four-dimensional``,
        ``unsupported-encoding``.
    """
    with header_of(path, "MGH"), ByteStream(path) as stream:
        block = stream.read(_LAYOUT.itemsize)
        if len(block) < _LAYOUT.itemsize:
            raise refused(path, "truncated", f"{len(block)} bytes, shorter than an MGH header")
        header: np.void = np.frombuffer(block, _LAYOUT)[0]
        i, j, k, frames = _shape(header)
        number = _number(path, header)
        affine, verdict = _affine(header, (i, j, k))
        chosen = choose_volume(path, frames, series)
        data = read_volume(stream, (i, j, k), frames, chosen, number, surplus=_LARGEST_FOOTER)
    return Raster(
        data=data[None],
        affine=affine,
        path=path,
        paths=(path,),
        format="mgh",
        verdict=verdict,
        spacing_known=int(header["is_placed"]) > 0,
    )


def _shape(header: np.void) -> tuple[int, int, int, int]:
    if int(header["version"]) != 1:
        raise HeaderFault(f"the version is {int(header['version'])}, expected 1")
    i, j, k, frames = (int(n) for n in header["dims"])
    if min(i, j, k, frames) < 1:
        raise HeaderFault(f"dimensions {(i, j, k, frames)}: each has to be at least 1")
    return i, j, k, frames


def _number(path: Path, header: np.void) -> np.dtype[np.generic]:
    code = int(header["type"])
    if code in _UNREADABLE:
        kind = f"{_UNREADABLE[code]} (type {code})"
        raise refused(path, "unsupported-encoding", f"{kind}; save it as float, int, short or uchar")
    if code not in _TYPES:
        raise HeaderFault(f"type {code} is none of MGH's")
    return np.dtype(_TYPES[code])


def _affine(header: np.void, size: tuple[int, int, int]) -> tuple[NDArray[np.float64], Verdict]:
    """Index to world RAS+ mm: directions and steps about the centre, which is at half the size."""
    steps, centre = header["steps"].astype(np.float64), header["centre"].astype(np.float64)
    directions = header["directions"].astype(np.float64).T  # a row of the file is one array axis
    verdict = OK
    if int(header["is_placed"]) <= 0:
        steps, directions, centre = np.ones(3), _COMMON_DIRECTIONS, np.zeros(3)
        finding = "the file places the volume nowhere; taken as coronal slices of 1 mm, as FreeSurfer does"
        verdict = Verdict.of("warning", "orientation-unknown", finding)
    if not (np.isfinite(steps).all() and (steps > 0).all()):
        raise HeaderFault(f"voxel sizes {steps.tolist()}: expected positive numbers")
    matrix = np.eye(4)
    matrix[:3, :3] = directions * steps
    with np.errstate(all="ignore"):  # what is not finite is refused with the grid
        matrix[:3, 3] = centre - matrix[:3, :3] @ (np.array(size) / 2)
    return matrix, verdict
