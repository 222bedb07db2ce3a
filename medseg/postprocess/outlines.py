"""Contours of a label in the slices of its grid, in millimetres."""

from __future__ import annotations

from typing import cast

import numpy as np
from numpy.typing import NDArray

from medseg.errors import UsageError
from medseg.postprocess.boxes import boxes_of_labels
from medseg.postprocess.groups import require_spacing
from medseg.volume import LabelMap


def contours(labelmap: LabelMap, label_id: int, axis: int = 2) -> list[NDArray[np.float64]]:
    """The borders of a label, slice by slice, as closed polylines of world points.

    Marching squares at the level 0.5: points lie midway between the centres of a voxel inside and one
    outside, and corners are cut. So the area that contours enclose is that of the voxels less an eighth of a
    pixel for each corner that points outwards, and plus as much for each that points inwards. Voxels that
    touch at a corner alone have contours of their own. What ends at the edge of the grid is closed half a
    voxel beyond its last voxels.

    Parameters
    ----------
    labelmap
        The segmentation.
    label_id
        Which label. One that does not occur has no contours.
    axis
        Array axis that runs across the slices: 0, 1 or 2; in a 2D image 2.

    Returns
    -------
    list of (n, 3) float64
        World points RAS+ mm, the first one repeated at the end, of slices in ascending index. Seen in array
        axes (the other two in ascending order as x and y), outer borders run counter-clockwise and those of
        holes clockwise, so that signed areas add up to the label's area in the slice.

    Raises
    ------
    UsageError
        If the label is not in the label set, the axis is none, or the grid's spacing is unknown.
    """
    from contourpy import LineType, contour_generator

    if label_id not in labelmap.labels.ids:
        known = ", ".join(map(str, labelmap.labels.ids))
        raise UsageError(f"label {label_id} is not in the label set; there are {known}")
    if axis not in ((2,) if labelmap.geometry.is_2d else (0, 1, 2)):
        expected = "2 in a 2D image" if labelmap.geometry.is_2d else "0, 1 or 2"
        raise UsageError(f"axis {axis}: expected {expected}")
    require_spacing(labelmap.geometry, "contours in mm")
    box = boxes_of_labels(labelmap.data).get(label_id)
    if box is None:
        return []
    across = np.moveaxis(labelmap.data[box] == label_id, axis, 0)
    first, second = (n for n in range(3) if n != axis)
    found = []
    for position, plane in enumerate(across):
        # contourpy's x runs along columns. The border of background closes what ends at the edge.
        values = np.pad(plane, 1).T.astype(np.float64)
        lines = cast(
            "list[NDArray[np.float64]]",
            contour_generator(z=values, line_type=LineType.Separate).lines(0.5),
        )
        for line in lines:
            index = np.empty((len(line), 3))
            index[:, axis] = box[axis].start + position
            index[:, first] = line[:, 0] + box[first].start - 1
            index[:, second] = line[:, 1] + box[second].start - 1
            found.append(labelmap.geometry.index_to_world(index))
    return found
