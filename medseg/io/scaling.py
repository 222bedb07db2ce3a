"""Stored numbers to values: slope and intercept."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from medseg.io.refusals import HeaderFault

# No quantity is that small in any unit; float32, which networks reckon in, ends at 1e-38.
_SMALLEST = 1e-30


def scaled(data: NDArray[Any], scaling: tuple[float, float] | None) -> NDArray[Any]:
    """Apply (slope, intercept) to (C, I, J, K) in float64, slice by slice.

    float32 comes back, float64 for types of 32 bits and more; without scaling the array itself.

    Raises
    ------
    HeaderFault
        If even the largest value would be 0 in float32, or nearly.
    """
    if scaling is None:
        return data
    slope, intercept = np.float64(scaling[0]), np.float64(scaling[1])
    _check_range(data, slope, intercept)
    wide = data.dtype.itemsize > 4 or (data.dtype.kind in "iu" and data.dtype.itemsize == 4)
    result = np.empty_like(data, dtype=np.float64 if wide else np.float32)
    with np.errstate(over="ignore", invalid="ignore"):  # what is not finite is found and named later
        for k in range(data.shape[3]):
            result[..., k] = data[..., k] * slope + intercept
    return result


def _check_range(data: NDArray[Any], slope: np.float64, intercept: np.float64) -> None:
    if data.dtype.kind in "iu" and abs(slope) >= _SMALLEST:
        return  # whole numbers do not become smaller than that
    with np.errstate(all="ignore"):
        ends = np.array([np.fmin.reduce(data, None), np.fmax.reduce(data, None)]) * slope + intercept
    largest = np.abs(ends).max()
    if 0 < largest < _SMALLEST:
        text = f"slope {slope:.3g} and intercept {intercept:.3g} make the largest value {largest:.3g}"
        raise HeaderFault(f"{text}, too small for any scan")
