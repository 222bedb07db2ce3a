"""A scan at a few millimetres per voxel, in anatomical order: quick to look at."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from medseg.geometry import Geometry
from medseg.quality.features import Floats, in_ras_order

_SAMPLES = 4  # voxels along an axis that a mean is taken of, at least; more are left out


def coarse_grid(
    channel: NDArray[Any], geometry: Geometry, size_mm: float
) -> tuple[Floats, tuple[float, ...]]:
    """Means of blocks about ``size_mm`` wide, along right, anterior, superior.

    Parameters
    ----------
    channel
        (I, J, K). Values that are not finite count as the lowest.
    geometry
        Its grid. Axes are taken to be the world axes that they are closest to.
    size_mm
        Width of a block. An axis whose voxels are larger than two thirds of it stays as it is.

    Returns
    -------
    tuple
        The means, float64 (R, A, S), and the spacing in mm. What is left over at an axis's end is cut off.
    """
    turned = in_ras_order(channel, geometry)
    world = geometry.closest_world_axes
    spacing = [geometry.spacing[world.index(axis)] for axis in range(3)]
    widths = [min(n, max(1, round(size_mm / mm))) for n, mm in zip(turned.shape, spacing, strict=True)]
    steps = [max(1, width // _SAMPLES) for width in widths]
    used = [n // width * width for n, width in zip(turned.shape, widths, strict=True)]
    values = turned[tuple(slice(None, end, step) for end, step in zip(used, steps, strict=True))]
    values = values.astype(np.float64)
    good = np.isfinite(values)
    if not good.all():
        values[~good] = values[good].min() if good.any() else 0.0
    for axis, (width, step) in enumerate(zip(widths, steps, strict=True)):
        # A width that the step does not divide: blocks start at multiples of the width all the same.
        at = np.arange(0, used[axis], step)
        first = np.searchsorted(at, np.arange(0, used[axis], width))
        counts = np.diff([*first, len(at)])
        shape = [1, 1, 1]
        shape[axis] = len(counts)
        values = np.add.reduceat(values, first, axis=axis) / counts.reshape(shape)
    return values, tuple(mm * width for mm, width in zip(spacing, widths, strict=True))
