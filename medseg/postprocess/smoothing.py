"""Smoothing of label maps in millimetres: all labels at once, so that neither gaps nor overlaps arise."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
from numpy.typing import NDArray

from medseg.geometry import Geometry
from medseg.postprocess.ball import ball_of, count_in_ball
from medseg.postprocess.boxes import Box
from medseg.postprocess.groups import require_spacing
from medseg.postprocess.votes import elect
from medseg.volume import LabelMap

_TRUNCATE = 3.0  # a Gaussian ends at so many standard deviations


def smooth_gaussian(labelmap: LabelMap, sigma_mm: float, ids: Collection[int] | None = None) -> LabelMap:
    """Give each voxel the label, or background, whose mask blurred by a Gaussian is largest there.

    Borders straighten; details thinner than about ``sigma_mm`` go. At the edge of the grid masks go on as
    they end there. On a tie a voxel keeps its label. An empty label map stays as it is.

    Parameters
    ----------
    labelmap
        The segmentation; not changed.
    sigma_mm
        Standard deviation along each axis of the grid, cut off at three of them; in a 2D image along its two
        axes. On a sheared grid the axes are taken as if at right angles.
    ids
        Labels whose borders may move; None means all. The others take part in the comparison.

    Raises
    ------
    UsageError
        If the grid's spacing is unknown.
    """
    from scipy.ndimage import gaussian_filter

    require_spacing(labelmap.geometry, f"sigma {sigma_mm:g} mm")
    sigma = in_voxels(labelmap.geometry, sigma_mm)
    reach = (_reach(sigma[0]), _reach(sigma[1]), _reach(sigma[2]))

    def blurred(mask: NDArray[np.bool_], _: Box) -> NDArray[np.float32]:
        weights: NDArray[np.float32] = gaussian_filter(
            mask.astype(np.float32), sigma, mode="nearest", truncate=_TRUNCATE
        )
        return weights

    return elect(labelmap, ids, reach, blurred)


def smooth_median(labelmap: LabelMap, radius_mm: float, ids: Collection[int] | None = None) -> LabelMap:
    """Give each voxel the label, or background, that most voxels of a ball round it have.

    For one label that is the median of its mask. Voxels beyond the grid have no say. On a tie a voxel keeps
    its label where that is among the best, else gets the lowest id of them.

    Parameters
    ----------
    labelmap
        The segmentation; not changed.
    radius_mm
        Of the ball, which holds every voxel whose centre lies within it (a disc in a 2D image).
    ids
        As in `smooth_gaussian`.

    Raises
    ------
    UsageError
        If the grid's spacing is unknown.
    """
    ball = ball_of(labelmap.geometry, radius_mm)

    def votes(mask: NDArray[np.bool_], _: Box) -> NDArray[np.float32]:
        return count_in_ball(mask, ball).astype(np.float32)

    return elect(labelmap, ids, ball.reach, votes)


def in_voxels(geometry: Geometry, size_mm: float) -> tuple[float, float, float]:
    """A length in voxels along each axis of the grid; 0 across a 2D image."""
    i, j, k = (size_mm / step for step in geometry.spacing)
    return i, j, 0.0 if geometry.is_2d else k


def _reach(sigma: float) -> int:
    return int(_TRUNCATE * sigma + 0.5)
