"""Statistics of the intensities of a structure."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

# Names of the statistics; each percentile's share of the voxels lies below it.
PERCENTILES = {"median": 0.5, "p05": 0.05, "p25": 0.25, "p75": 0.75, "p95": 0.95}
STATISTICS = ("mean", "sd", *PERCENTILES, "min", "max")


def finite(values: NDArray[np.generic]) -> NDArray[np.generic]:
    """Those of some voxels' intensities that are numbers: neither NaN nor infinite."""
    return values[np.isfinite(values)] if values.dtype.kind == "f" else values


def statistics(values: NDArray[np.generic]) -> dict[str, float]:
    """The statistics of finite intensities, by name, in their own unit.

    They do not depend on the order of the voxels. The standard deviation is that of the voxels as the whole
    population (``ddof`` 0). Percentiles are interpolated linearly between the two nearest voxels (definition
    7 of Hyndman and Fan 1996, doi:10.1080/00031305.1996.10473566; numpy's own). Both as in pyradiomics.
    Infinite where intensities are too large to be squared.

    Parameters
    ----------
    values
        (n,), at least one.
    """
    # Sorted once: percentiles are read off, and sums of floats come out alike whatever the scan's layout.
    # Adding 0.0 makes one zero of the two that floats have.
    ordered = np.sort(values, axis=None).astype(np.float64) + 0.0
    with np.errstate(over="ignore", invalid="ignore"):
        mean = float(ordered.mean())
        sd = float(np.sqrt(((ordered - mean) ** 2).mean()))
    return {
        "mean": mean,
        "sd": sd,
        **{name: _percentile(ordered, share) for name, share in PERCENTILES.items()},
        "min": float(ordered[0]),
        "max": float(ordered[-1]),
    }


def _percentile(ordered: NDArray[np.float64], share: float) -> float:
    place = share * (len(ordered) - 1)
    low = int(place)
    high = min(low + 1, len(ordered) - 1)
    below, above = float(ordered[low]), float(ordered[high])
    return below + (above - below) * (place - low)
