"""Borders that follow the edges of the scan: a guided filter on every label's mask."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
from numpy.typing import NDArray

from medseg.errors import UsageError
from medseg.postprocess.boxes import Box, box_of_all, grown
from medseg.postprocess.groups import require_spacing
from medseg.postprocess.smoothing import in_voxels
from medseg.postprocess.votes import elect
from medseg.volume import LabelMap

_SAMPLED = 1 << 20


def refine_edges(
    labelmap: LabelMap,
    image: NDArray[np.number],
    radius_mm: float,
    *,
    edge: float = 0.05,
    ids: Collection[int] | None = None,
) -> LabelMap:
    """Move borders to edges of the scan nearby: each voxel gets the class whose filtered mask is largest.

    Each class's mask p is filtered with the scan I as the guide (He, Sun, Tang: Guided image filtering, IEEE
    TPAMI 35, 2013): in every window q = a I + b with a = cov(I, p) / (var(I) + eps) and
    b = mean(p) - a mean(I), and a voxel takes the mean of a and b over the windows that hold it. Where the
    scan is flat that is a blur, across an edge p follows the scan. On a tie a voxel keeps its label.

    Parameters
    ----------
    labelmap
        The segmentation; not changed.
    image
        One channel of the scan (I, J, K) on the same grid, finite.
    radius_mm
        Half the width of the windows, rounded to whole voxels along each axis of the grid. An axis with
        voxels larger than twice that is not filtered along; a border moves by at most twice the radius.
    edge
        A contrast that counts as an edge, above 0, as a share of the scan's range in the box round all
        labels (1st to 99th percentile, the box wider by the reach of the filter); eps is its square.
    ids
        Labels whose borders may move; None means all. The others take part in the comparison.

    Raises
    ------
    UsageError
        If the grid's spacing is unknown, the image has another shape, or holds values that are not finite.
    """
    from scipy.ndimage import uniform_filter

    geometry = labelmap.geometry
    require_spacing(geometry, f"radius {radius_mm:g} mm")
    if image.shape != geometry.shape:
        raise UsageError(f"image has shape {image.shape}, the label map {geometry.shape}: give one channel")
    radius = [round(size) for size in in_voxels(geometry, radius_mm)]
    widths = [2 * n + 1 for n in radius]
    reach = (2 * radius[0], 2 * radius[1], 2 * radius[2])
    middle, spread = _range(image, labelmap, reach)
    if spread == 0:  # the scan is flat: no edge to move to
        return labelmap
    eps = (edge * spread) ** 2

    def mean(values: NDArray[np.float64]) -> NDArray[np.float64]:
        means: NDArray[np.float64] = uniform_filter(values, widths, mode="nearest")
        return means

    def filtered(mask: NDArray[np.bool_], box: Box) -> NDArray[np.float64]:
        # Less the middle: variances are differences of squares, which should not be large.
        guide = image[box].astype(np.float64) - middle
        p = mask.astype(np.float64)
        mean_guide, mean_p = mean(guide), mean(p)
        variance = mean(guide * guide) - mean_guide**2
        a = (mean(guide * p) - mean_guide * mean_p) / (variance + eps)
        return mean(a) * guide + mean(mean_p - a * mean_guide)

    return elect(labelmap, ids, reach, filtered)


def _range(image: NDArray[np.number], labelmap: LabelMap, reach: tuple[int, int, int]) -> tuple[float, float]:
    """Middle and width of the scan's range round the labels; 0, 0 where there are none."""
    box = box_of_all(labelmap.data)
    if box[0].start == box[0].stop:
        return 0.0, 0.0
    values = image[grown(box, reach, image.shape)]
    if not np.isfinite(values).all():
        raise UsageError("the image holds values that are not finite: refinement needs a whole scan")
    every = max(1, round((values.size / _SAMPLED) ** (1 / 3)))
    low, high = np.percentile(values[::every, ::every, ::every], (1, 99))
    return float(low + high) / 2, float(high - low)
