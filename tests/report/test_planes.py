"""Left is left: a voxel marked at a known world point shows up where a radiologist expects it."""

from __future__ import annotations

from itertools import permutations, product

import numpy as np
import pytest

from medseg.geometry import Geometry
from medseg.report.planes import (
    PLANES,
    acquisition_plane,
    largest_section,
    normal_axis,
    plane_of_axis,
    plane_view,
    planes_worth_showing,
)

_SPACING = (0.8, 1.5, 3.0)  # of world x, y, z
_SHAPE = (9, 11, 7)
_MARK_WORLD = np.array((2.4, -3.0, 6.0))  # right of, behind and above the centre of the field of view


def _grids():
    """All 48 axis orders and flips of one field of view, centred on the world's origin."""
    for order in permutations(range(3)):
        for flips in product((1, -1), repeat=3):
            shape = tuple(_SHAPE[world] for world in order)
            affine = np.zeros((4, 4))
            affine[3, 3] = 1
            for axis, world in enumerate(order):
                affine[world, axis] = flips[axis] * _SPACING[world]
            affine[:3, 3] = -affine[:3, :3] @ (np.array(shape) - 1) / 2
            yield Geometry(shape, affine)


def _rotation(degrees, axis):
    a, b = [n for n in range(3) if n != axis]
    turn = np.eye(3)
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    turn[a, a], turn[b, b], turn[a, b], turn[b, a] = c, c, -s, s
    return turn


def _marked(geometry):
    data = np.zeros(geometry.shape, np.uint8)
    index = tuple(np.rint(geometry.world_to_index(_MARK_WORLD)).astype(int))
    data[index] = 1
    return data, index


# Where the mark must be: (rows from the top, columns from the left), from the field of view alone.
_FROM_RIGHT = round((9 - 1) / 2 - 2.4 / 0.8)
_FROM_FRONT = round((11 - 1) / 2 + 3.0 / 1.5)
_FROM_TOP = round((7 - 1) / 2 - 6.0 / 3.0)
_EXPECTED = {
    "axial": ((_FROM_FRONT, _FROM_RIGHT), (11, 9), (9 * 0.8, 11 * 1.5), "RLAP"),
    "coronal": ((_FROM_TOP, _FROM_RIGHT), (7, 9), (9 * 0.8, 7 * 3.0), "RLSI"),
    "sagittal": ((_FROM_TOP, _FROM_FRONT), (7, 11), (11 * 1.5, 7 * 3.0), "APSI"),
}


@pytest.mark.parametrize("plane", PLANES)
@pytest.mark.parametrize("geometry", list(_grids()), ids=lambda g: g.orientation)
def test_a_marked_voxel_is_shown_in_radiological_convention_for_every_orientation(plane, geometry):
    data, index = _marked(geometry)
    view = plane_view(data, geometry, plane, index[normal_axis(geometry, plane)])
    pixel, shape, extents, letters = _EXPECTED[plane]
    assert view.pixels.shape == shape
    assert [tuple(map(int, p)) for p in np.argwhere(view.pixels)] == [pixel]
    assert view.extents_mm == pytest.approx(extents)
    assert "".join(view.letters) == letters


@pytest.mark.parametrize("plane", PLANES)
@pytest.mark.parametrize("geometry", list(_grids())[::5], ids=lambda g: g.orientation)
def test_an_oblique_grid_keeps_the_sides_of_its_closest_planes(plane, geometry):
    affine = geometry.affine.copy()
    affine[:3] = _rotation(17, 2) @ _rotation(-12, 0) @ affine[:3]
    oblique = Geometry(geometry.shape, affine)
    data, index = _marked(geometry)  # the same voxel, now turned with the patient
    view = plane_view(data, oblique, plane, index[normal_axis(oblique, plane)])
    assert [tuple(map(int, p)) for p in np.argwhere(view.pixels)] == [_EXPECTED[plane][0]]
    assert "".join(view.letters) == _EXPECTED[plane][3]


def test_a_picture_is_shown_as_it_is_stored():
    stored = np.arange(12).reshape(3, 4)  # rows, columns of the file
    geometry = Geometry((4, 3, 1), np.diag((-1.0, -1.0, 1.0, 1.0)), is_2d=True, spacing_known=False)
    (plane,) = planes_worth_showing(geometry)
    assert plane == "axial"
    np.testing.assert_array_equal(plane_view(stored.T[:, :, None], geometry, plane, 0).pixels, stored)


def test_a_single_slice_is_worth_its_own_plane_only():
    for axis, plane in ((0, "coronal"), (1, "axial"), (2, "sagittal")):
        shape = [5, 6, 7]
        shape[axis] = 1
        affine = np.zeros((4, 4))
        affine[1, 0], affine[2, 1], affine[0, 2], affine[3, 3] = 1, 2, 3, 1
        geometry = Geometry(tuple(shape), affine)
        assert planes_worth_showing(geometry) == (plane,) == (plane_of_axis(geometry, axis),)
    assert planes_worth_showing(Geometry((5, 6, 7), np.eye(4))) == PLANES


@pytest.mark.parametrize(
    ("spacing", "shape", "plane"),  # both of world x, y, z
    [
        ((4.0, 0.7, 0.8), (15, 90, 80), "sagittal"),
        ((0.9, 3.0, 0.9), (40, 30, 50), "coronal"),
        ((0.8, 1.5, 3.0), (9, 11, 7), "axial"),
        ((1.05, 1.0, 1.0), (35, 50, 36), "axial"),  # as good as cubes
        ((8.5, 8.0, 8.0), (6, 33, 32), "sagittal"),  # cubes too, but a slab
    ],
)
@pytest.mark.parametrize("grid", list(_grids())[::7], ids=lambda g: g.orientation)
def test_the_acquisition_plane_is_that_of_the_thick_slices_however_stored(grid, spacing, shape, plane):
    order = grid.closest_world_axes
    affine = np.eye(4)
    turned = _rotation(14, 2) @ _rotation(-9, 0) @ np.sign(grid.affine[:3, :3])
    affine[:3, :3] = turned * [spacing[world] for world in order]
    assert acquisition_plane(Geometry(tuple(shape[world] for world in order), affine)) == plane


def test_the_acquisition_plane_of_a_single_slice_is_its_own():
    affine = np.diag((1.0, 0.5, 6.0, 1.0))[:, [2, 0, 1, 3]]  # its axes run S, R, A
    assert acquisition_plane(Geometry((40, 1, 30), affine)) == "sagittal"


def test_the_largest_section_is_where_most_of_the_mask_is():
    mask = np.zeros((6, 7, 8), bool)
    mask[2:5, 3, 1:7] = True
    mask[3, 3:6, 2:5] = True
    assert [largest_section(mask, axis) for axis in range(3)] == [3, 3, 3]
    assert largest_section(np.zeros((6, 7, 9), bool), 2) == 4


def test_an_array_on_another_grid_is_refused():
    with pytest.raises(ValueError, match=r"\(2, 3, 4\).*\(4, 3, 2\)"):
        plane_view(np.zeros((2, 3, 4)), Geometry((4, 3, 2), np.eye(4)), "axial", 0)
