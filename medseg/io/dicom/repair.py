"""Planes that no file holds, interpolated between the slices around them: only where the user allows it."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def interpolate_planes(data: NDArray[Any], planes: NDArray[np.float64], count: int) -> NDArray[Any]:
    """The slices of a scan on an even row of planes, linearly interpolated along the stack.

    Parameters
    ----------
    data
        (..., I, J, K): one slice per entry of ``planes``.
    planes
        Where on the new row each slice lies: increasing, from 0 to ``count - 1``.
    count
        Planes of the result.

    Returns
    -------
    ndarray
        (..., I, J, count), of the same type; integers are rounded to the nearest (halves to even). A slice
        that lies on a plane is there unchanged. Pixel (i, j) of one slice is joined with pixel (i, j) of the
        next, which in a tilted stack is the direction of the sheared affine.
    """
    result = np.empty((*data.shape[:-1], count), data.dtype, order="F")
    whole = data.dtype.kind in "iu"
    for k in range(count):
        below = min(int(np.searchsorted(planes, k, side="right")) - 1, len(planes) - 1)
        if planes[below] == k or below == len(planes) - 1:
            result[..., k] = data[..., below]
            continue
        share = (k - planes[below]) / (planes[below + 1] - planes[below])
        mixed = data[..., below] * (1.0 - share) + data[..., below + 1] * share
        result[..., k] = np.rint(mixed) if whole else mixed
    return result
