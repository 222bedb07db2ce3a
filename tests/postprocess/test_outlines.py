"""Contours: their points, their areas, their holes."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from medseg.errors import UsageError
from medseg.postprocess import contours
from tests.postprocess.label_data import SPACING, blobs, label_map

# Of a square between four voxel centres, what marching squares put inside, by how many of them are.
INSIDE = np.array([0, 1 / 8, 1 / 2, 7 / 8, 1])


def squares_area(mask: NDArray[np.bool_]) -> float:
    """Area in pixels, square by square; two voxels that touch at a corner are apart."""
    padded = np.pad(mask, 1)
    corners = np.stack([padded[:-1, :-1], padded[1:, :-1], padded[:-1, 1:], padded[1:, 1:]])
    area = INSIDE[corners.sum(0)]
    across = (corners.sum(0) == 2) & (corners[0] == corners[3])
    return float(np.where(across, 1 / 4, area).sum())


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_areas_are_those_of_marching_squares_in_every_slice(axis: int) -> None:
    data = blobs(3, (19, 15, 11), blur=0.9)
    before = label_map(data)
    lines = contours(before, 3, axis)
    first, second = (n for n in range(3) if n != axis)
    areas = np.zeros(data.shape[axis])
    for line in lines:
        np.testing.assert_array_equal(line[0], line[-1])
        index = before.geometry.world_to_index(line)
        np.testing.assert_allclose(index * 2, np.round(index * 2), atol=1e-9)
        position = round(float(index[0, axis]))
        np.testing.assert_allclose(index[:, axis], position, atol=1e-9)
        x, y = index[:, first], index[:, second]
        areas[position] += 0.5 * float(np.sum(x[:-1] * y[1:] - x[1:] * y[:-1]))
    expected = [squares_area(plane == 3) for plane in np.moveaxis(data, axis, 0)]
    np.testing.assert_allclose(areas, expected, atol=1e-9)


def test_the_contour_of_a_disc_encloses_its_area_in_square_millimetres() -> None:
    i, j = np.indices((61, 41))
    centre, radius = (24.3, 31.1), 17.0
    away = np.hypot(i * SPACING[0] - centre[0], j * SPACING[1] - centre[1])
    (line,) = contours(label_map(np.where(away <= radius, 2, 0).astype(np.uint16)[:, :, None], is_2d=True), 2)
    steps = np.cross(line[:-1] - line[0], line[1:] - line[0])
    assert np.linalg.norm(steps.sum(0)) / 2 == pytest.approx(np.pi * radius**2, rel=0.01)


def test_what_ends_at_the_edge_of_the_grid_is_closed_and_an_absent_label_has_no_contour() -> None:
    before = label_map(np.full((4, 5, 2), 2, np.uint16))
    lines = contours(before, 2)
    assert len(lines) == 2
    index = before.geometry.world_to_index(lines[0])
    np.testing.assert_allclose(index.min(0), (-0.5, -0.5, 0), atol=1e-9)
    np.testing.assert_allclose(index.max(0), (3.5, 4.5, 0), atol=1e-9)
    assert contours(before, 200) == []


def test_what_has_no_contours_is_refused() -> None:
    data = np.ones((4, 5, 1), np.uint16) * 2
    for label, axis, options, message in (
        (9, 2, {}, "label 9 is not in the label set; there are 2, 3, 200"),
        (2, 3, {}, "axis 3: expected 0, 1 or 2"),
        (2, 0, {"is_2d": True}, "axis 0: expected 2 in a 2D image"),
        (2, 2, {"spacing_known": False}, "spacing is unknown"),
    ):
        with pytest.raises(UsageError, match=message):
            contours(label_map(data, **options), label, axis)
