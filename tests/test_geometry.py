"""Geometry against nibabel's orientation functions and plain arithmetic."""

from __future__ import annotations

from itertools import permutations, product

import nibabel
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medseg import Geometry

ANGLES = st.floats(-3, 3)
STEPS = st.floats(0.2, 6)
SHAPE = (5, 7, 4)


def _rotation(a: float, b: float, c: float) -> np.ndarray:
    about_z = np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]])
    about_y = np.array([[np.cos(b), 0, np.sin(b)], [0, 1, 0], [-np.sin(b), 0, np.cos(b)]])
    about_x = np.array([[1, 0, 0], [0, np.cos(c), -np.sin(c)], [0, np.sin(c), np.cos(c)]])
    return about_z @ about_y @ about_x


@st.composite
def affines(draw: st.DrawFn) -> np.ndarray:
    affine = np.eye(4)
    affine[:3, :3] = _rotation(draw(ANGLES), draw(ANGLES), draw(ANGLES)) * [draw(STEPS) for _ in range(3)]
    if draw(st.booleans()):
        affine[:3, 0] *= -1
    affine[:3, 3] = [draw(st.floats(-300, 300)) for _ in range(3)]
    return affine


TURNED = np.eye(4)
TURNED[:3, :3] = _rotation(0.3, -0.2, 0.1) * (0.7, 1.1, 2.3)
TURNED[:3, 3] = (-31.4, 12.7, 55.9)


@given(affines())
def test_spacing_and_volume_are_nibabels(affine: np.ndarray) -> None:
    geometry = Geometry(SHAPE, affine)
    assert geometry.spacing == pytest.approx(nibabel.affines.voxel_sizes(affine))
    assert geometry.voxel_volume_mm3 == pytest.approx(np.prod(nibabel.affines.voxel_sizes(affine)))
    assert geometry.shear_degrees < 1e-5


@given(affines())
def test_index_and_world_are_each_others_inverse(affine: np.ndarray) -> None:
    geometry = Geometry(SHAPE, affine)
    index = np.array([[0, 0, 0], [4, 6, 3], [1.5, 2.25, -1]])
    world = geometry.index_to_world(index)
    assert np.allclose(world, nibabel.affines.apply_affine(affine, index))
    assert np.allclose(geometry.world_to_index(world), index, atol=1e-8)


@pytest.mark.parametrize("flipped", list(product((False, True), repeat=3)))
@pytest.mark.parametrize("axes", list(permutations(range(3))))
def test_permuting_keeps_every_voxel_at_its_world_point(axes: tuple, flipped: tuple) -> None:
    geometry = Geometry(SHAPE, TURNED)
    where = np.moveaxis(geometry.index_to_world(np.moveaxis(np.indices(SHAPE), 0, -1)), -1, 0)
    turned = geometry.permuted(axes, flipped)
    moved = np.flip(where.transpose(0, *(a + 1 for a in axes)), [n + 1 for n in range(3) if flipped[n]])
    expected = np.moveaxis(turned.index_to_world(np.moveaxis(np.indices(turned.shape), 0, -1)), -1, 0)
    assert np.allclose(moved, expected)
    assert turned.orientation == "".join(nibabel.aff2axcodes(turned.affine))
    assert turned.spacing == pytest.approx([geometry.spacing[a] for a in axes])


def test_cropping_moves_the_origin_and_padding_moves_it_back() -> None:
    geometry = Geometry(SHAPE, TURNED)
    cropped = geometry.cropped((1, 2, 1), (3, 4, 2))
    assert np.allclose(cropped.index_to_world((0, 0, 0)), geometry.index_to_world((1, 2, 1)))
    padded = cropped.cropped((-1, -2, -1), SHAPE)
    assert padded.grid_distance_mm(geometry) < 1e-9


@pytest.mark.parametrize(("voxel_mm", "accepted_mm"), [(1.0, 0.01), (0.002, 0.0002)])
def test_grids_that_differ_by_rounding_are_one(voxel_mm: float, accepted_mm: float) -> None:
    affine = TURNED.copy()
    affine[:3, :3] *= voxel_mm / Geometry(SHAPE, TURNED).spacing[0]
    geometry = Geometry(SHAPE, affine)
    assert min(geometry.spacing) == pytest.approx(voxel_mm)
    for share, same in ((0.99, True), (1.01, False)):
        moved = affine.copy()
        moved[:3, 3] += share * accepted_mm * np.array([0.6, 0.0, -0.8])
        assert geometry.same_grid(Geometry(SHAPE, moved)) == same


def test_corners_are_all_eight_and_bound_the_distance_of_grids() -> None:
    geometry = Geometry(SHAPE, TURNED)
    expected = {tuple(np.round(geometry.index_to_world(c), 6)) for c in product((0, 4), (0, 6), (0, 3))}
    assert {tuple(c) for c in np.round(geometry.corners, 6)} == expected
    tilted = TURNED.copy()
    tilted[:3, :3] = _rotation(0.301, -0.2, 0.1) * (0.7, 1.1, 2.3)
    other = Geometry(SHAPE, tilted)
    everywhere = np.moveaxis(np.indices(SHAPE), 0, -1)
    apart = np.linalg.norm(geometry.index_to_world(everywhere) - other.index_to_world(everywhere), axis=-1)
    assert geometry.grid_distance_mm(other) == pytest.approx(apart.max())
    assert geometry.same_grid(other, apart.max() * 1.001)
    assert not geometry.same_grid(other, apart.max() * 0.999)
    assert not geometry.same_grid(Geometry((5, 7, 5), TURNED), 1e9)


def test_how_a_grid_differs_is_told_by_shape_or_by_distance() -> None:
    here = Geometry((5, 7, 6), np.diag([1.0, 2.0, 3.0, 1.0]))
    shifted = np.diag([1.0, 2.0, 3.0, 1.0])
    shifted[:3, 3] = (3.0, 0.0, -4.0)
    assert Geometry((5, 7, 6), shifted).unlike(here) == "up to 5 mm away"
    smaller = Geometry((5, 7, 5), np.diag([1.0, 2.0, 3.5, 1.0]))
    assert smaller.unlike(here) == "5x7x5 voxels of 1x2x3.5 mm, not 5x7x6 voxels of 1x2x3 mm"


@pytest.mark.parametrize("degrees", [0.05, 5.0, 18.5])
def test_shear_is_the_departure_from_right_angles(degrees: float) -> None:
    affine = np.eye(4)
    affine[1, 2] = np.tan(np.radians(degrees))
    assert Geometry(SHAPE, affine).shear_degrees == pytest.approx(degrees)
    assert Geometry(SHAPE, affine).voxel_volume_mm3 == pytest.approx(1.0)


def test_oblique_means_more_than_a_tenth_of_a_degree() -> None:
    for degrees, oblique in ((0.0, False), (0.05, False), (0.2, True)):
        affine = np.eye(4)
        affine[:3, :3] = _rotation(np.radians(degrees), 0, 0)
        assert Geometry(SHAPE, affine).is_oblique is oblique


def test_extent_counts_whole_voxels() -> None:
    assert Geometry(SHAPE, np.diag([0.5, 2.0, 3.0, 1.0])).extent_mm == (2.5, 14.0, 12.0)


@pytest.mark.parametrize(
    ("shape", "affine", "message"),
    [
        ((5, 7, 0), np.eye(4), "at least 1"),
        ((5, 7), np.eye(4), "three dimensions"),
        (SHAPE, np.eye(3), "expected \\(4, 4\\)"),
        (SHAPE, np.full((4, 4), np.nan), "not finite"),
        (SHAPE, np.diag([1.0, 1, 0, 1]), "cannot be inverted"),
        (SHAPE, np.array([[1.0, 1, 0, 0], [1, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]), "cannot be inverted"),
        (SHAPE, np.eye(4) * 2, "ends in"),
    ],
)
def test_an_impossible_grid_is_never_built(shape: tuple, affine: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Geometry(shape, affine)


def test_a_plane_is_one_slice_thick() -> None:
    assert Geometry((5, 7, 1), np.eye(4), is_2d=True).is_2d
    with pytest.raises(ValueError, match="one slice thick"):
        Geometry(SHAPE, np.eye(4), is_2d=True)


def test_a_geometry_is_a_value_that_nobody_can_change() -> None:
    affine = TURNED.copy()
    geometry = Geometry(SHAPE, affine)
    affine[0, 0] = 99
    assert geometry == Geometry(SHAPE, TURNED)
    assert hash(geometry) == hash(Geometry(SHAPE, TURNED))
    assert geometry != Geometry(SHAPE, TURNED, spacing_known=False)
    with pytest.raises(ValueError, match="read-only"):
        geometry.affine[0, 0] = 1
