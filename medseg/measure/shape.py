"""Shape of a structure in mm: its surface, how it spreads, how far it reaches.

Definitions are those of pyradiomics (van Griethuysen et al. 2017, doi:10.1158/0008-5472.CAN-17-0339), which
knows spacings only; here all follows from the affine, so that oblique and sheared voxels count rightly. Where
neighbouring voxels leave open how marching cubes joins them, pyradiomics' table and `mesh`'s choose
differently: surfaces and volumes within them differ by up to 1 % (hippocampi drawn by hand).
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from medseg.measure.mesh import Floats, block_areas, block_codes, block_shares
from medseg.measure.moments import Moments
from medseg.volume import count_ids

_AXES = ("major_axis_mm", "minor_axis_mm", "least_axis_mm")
_RATIOS = ("elongation", "flatness")
_SPANNED = ("in one point", "on one line", "in one plane")


def surface(mask: NDArray[np.bool_], steps: Floats) -> dict[str, float]:
    """Area and volume of the marching-cubes surface, their ratio, and sphericity, by column.

    Parameters
    ----------
    mask
        (I, J, K), not empty. What lies outside counts as empty.
    steps
        (3, 3), one column per axis of the array: a step along it in mm.
    """
    codes = count_ids(block_codes(mask))
    area = _added_up(codes, block_areas(steps))
    volume = _added_up(codes, block_shares()) * abs(float(np.linalg.det(steps)))
    return {
        "surface_mm2": area,
        "mesh_volume_ml": volume / 1000,
        "surface_to_volume_per_mm": area / volume,
        "sphericity": (36 * math.pi * volume**2) ** (1 / 3) / area,
    }


def perimeter_mm(mask: NDArray[np.bool_], steps: Floats) -> float:
    """Length of the contour of a mask (I, J) by marching squares; ``steps`` is (3, 2), as in `surface`."""
    return _added_up(count_ids(block_codes(mask)), block_areas(steps))


def axes(moments: Moments, steps: Floats) -> dict[str, float | str]:
    """Lengths of the principal axes, elongation and flatness, by column; a text says why one is missing.

    An axis is 4 times the standard deviation of the voxels' centres along it. Where all centres lie in a
    plane, on a line or in a point, the axes across are missing, not 0: a slice of voxels has a thickness.

    Parameters
    ----------
    moments
        Of the structure's voxels.
    steps
        One column per axis of the array: a step along it in mm.
    """
    told = len(moments.spanning_axes)
    variances = np.linalg.eigvalsh(moments.covariance(steps))[::-1][:told]
    lengths = (4 * np.sqrt(variances)).tolist()
    ratios = [length / lengths[0] for length in lengths[1:]]
    found = {**dict(zip(_AXES, lengths, strict=False)), **dict(zip(_RATIOS, ratios, strict=False))}
    reason = f"the centres of its voxels lie {_SPANNED[min(told, 2)]}"
    return {name: found.get(name, reason) for name in (*_AXES, *_RATIOS)}


def _added_up(codes: Mapping[int, int], of_each: Floats) -> float:
    """A number of each block, over all of them; ``codes`` says how many there are of each code."""
    return math.fsum(count * of_each[code] for code, count in codes.items())
