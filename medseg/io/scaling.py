"""Stored numbers to values: slope and intercept."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def scaled(data: NDArray[Any], scaling: tuple[float, float] | None) -> NDArray[Any]:
    """Apply (slope, intercept) to (C, I, J, K) in float64, slice by slice.

    float32 comes back, float64 for types of 32 bits and more; without scaling the array itself.
    """
    if scaling is None:
        return data
    wide = data.dtype.itemsize > 4 or (data.dtype.kind in "iu" and data.dtype.itemsize == 4)
    result = np.empty_like(data, dtype=np.float64 if wide else np.float32)
    with np.errstate(over="ignore", invalid="ignore"):  # what is not finite is found and named later
        for k in range(data.shape[3]):
            result[..., k] = data[..., k] * np.float64(scaling[0]) + np.float64(scaling[1])
    return result
