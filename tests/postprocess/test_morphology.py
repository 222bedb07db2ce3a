"""Opening and closing in millimetres, against scipy with a ball measured voxel by voxel in the world."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from medseg.postprocess import closing, opening
from medseg.volume import LabelMap
from tests.postprocess.label_data import blobs, label_map


def ball(labelmap: LabelMap, radius_mm: float) -> NDArray[np.bool_]:
    """Every offset within the radius, from world points."""
    n = 6
    offsets = np.indices((2 * n + 1,) * 3).reshape(3, -1).T - n
    origin = labelmap.geometry.index_to_world((0, 0, 0))
    inside = np.linalg.norm(labelmap.geometry.index_to_world(offsets) - origin, axis=1) <= radius_mm
    if labelmap.geometry.is_2d:
        inside &= offsets[:, 2] == 0
    return inside.reshape((2 * n + 1,) * 3)


@pytest.mark.parametrize(("radius_mm", "shear"), [(1.75, 0.0), (2.7, 0.0), (2.7, 0.4)])
@pytest.mark.parametrize("is_2d", [False, True])
def test_opening_and_closing_are_scipys_with_a_ball_in_the_world(
    radius_mm: float, shear: float, is_2d: bool
) -> None:
    data = blobs(1, (23, 17, 1) if is_2d else (23, 17, 11), blur=1.6)
    data[np.random.default_rng(0).random(data.shape) < 0.03] = 0
    before = label_map(data, shear=shear, is_2d=is_2d)
    element = ball(before, radius_mm)
    opened, closed = data.copy(), data.copy()
    for label in (2, 3, 200):
        mask = data == label
        kept = ndimage.binary_dilation(ndimage.binary_erosion(mask, element, border_value=1), element)
        opened[mask & ~kept] = 0
        whole = ndimage.binary_erosion(ndimage.binary_dilation(mask, element), element, border_value=1)
        closed[whole & (closed == 0)] = label
    assert not np.array_equal(opened, data)
    assert not np.array_equal(closed, data)
    np.testing.assert_array_equal(opening(before, radius_mm).data, opened)
    np.testing.assert_array_equal(closing(before, radius_mm).data, closed)


def test_only_the_labels_asked_for_are_opened() -> None:
    data = blobs(2, (19, 13, 7), blur=0.7)
    found = opening(label_map(data), 1.75, ids=(3,)).data
    assert (found != data).any()
    assert (data[found != data] == 3).all()
