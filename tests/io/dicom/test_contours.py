"""Contours to masks: which voxel centres a polygon holds, against exact arithmetic and matplotlib."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.path import Path as Outline
from numpy.typing import NDArray

from medseg.io.dicom.contours import ON_CONTOUR, crossings, fill

SHAPE = (9, 6)
WHOLE = st.tuples(st.integers(-3, 12), st.integers(-3, 9))


def _exact(polygons: list[list[tuple[int, int]]], shape: tuple[int, int]) -> NDArray[np.bool_]:
    """Every voxel tried by itself, in fractions: on an edge, or an odd number of edges to its right."""
    mask = np.zeros(shape, bool)
    for i, j in np.ndindex(shape):
        inside = False
        for polygon in polygons:
            for (x0, y0), (x1, y1) in pairwise([*polygon, polygon[0]]):
                on_line = (x1 - x0) * (j - y0) == (y1 - y0) * (i - x0)
                if on_line and min(x0, x1) <= i <= max(x0, x1) and min(y0, y1) <= j <= max(y0, y1):
                    mask[i, j] = True
                if (y0 <= j) != (y1 <= j):
                    inside ^= i < x0 + Fraction((j - y0) * (x1 - x0), y1 - y0)
        mask[i, j] |= inside
    return mask


@given(st.lists(st.lists(WHOLE, min_size=1, max_size=8), min_size=1, max_size=4, unique_by=tuple))
def test_polygons_through_voxel_centres_hold_what_exact_arithmetic_says(
    polygons: list[list[tuple[int, int]]],
) -> None:
    found = fill([np.array(polygon, float) for polygon in polygons], SHAPE)
    assert np.array_equal(found, _exact(polygons, SHAPE))


@pytest.mark.parametrize("seed", range(20))
def test_polygons_of_any_shape_hold_what_matplotlib_says(seed: int) -> None:
    random = np.random.default_rng(seed)
    shape = (37, 23)
    polygons = [random.uniform(-8, 40, (random.integers(3, 40), 2)) for _ in range(random.integers(1, 4))]
    centres = np.indices(shape).reshape(2, -1).T
    expected = np.zeros(len(centres), bool)
    near = np.zeros(len(centres), bool)
    for polygon in polygons:
        # matplotlib winds; one edge crossing at a time makes it even-odd
        expected ^= _even_odd(polygon, centres)
        near |= _distance(polygon, centres) < 2 * ON_CONTOUR
    found = fill(polygons, shape).reshape(-1)
    assert np.array_equal(found[~near], expected[~near])
    assert near.sum() < 20  # of 851: the oracle is asked about nearly all


def _even_odd(polygon: NDArray[np.float64], points: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Even-odd by fans of triangles: each triangle flips what it holds (matplotlib decides a triangle)."""
    flips = np.zeros(len(points), bool)
    for first, second in pairwise(polygon[1:]):
        flips ^= Outline([polygon[0], first, second, polygon[0]], closed=True).contains_points(points)
    return flips


def _distance(polygon: NDArray[np.float64], points: NDArray[np.int64]) -> NDArray[np.float64]:
    """Distance to the edges, and to the fan's inner edges, where the oracle itself is not sure."""
    ends = [*pairwise([*polygon, polygon[0]]), *((polygon[0], corner) for corner in polygon[1:])]
    nearest = np.full(len(points), np.inf)
    for start, end in ends:
        along = (end - start) / max(1e-12, float((end - start) @ (end - start)))
        foot = start + ((points - start) @ along).clip(0, 1)[:, None] * (end - start)
        nearest = np.minimum(nearest, np.linalg.norm(points - foot, axis=1))
    return nearest


def test_a_polygon_within_another_is_a_hole_and_a_keyhole_is_the_same() -> None:
    outer = [(0.5, 0.5), (7.5, 0.5), (7.5, 4.5), (0.5, 4.5)]
    inner = [(2.5, 1.5), (5.5, 1.5), (5.5, 3.5), (2.5, 3.5)]
    keyhole = [*outer, outer[0], inner[0], *reversed(inner[1:]), inner[0], outer[0]]
    holed = fill([np.array(outer), np.array(inner)], SHAPE)
    assert holed.sum() == 7 * 4 - 3 * 2
    assert np.array_equal(fill([np.array(keyhole)], SHAPE), holed)


def test_a_contour_traced_along_the_centres_of_a_mask_gives_the_mask() -> None:
    mask = np.zeros(SHAPE, bool)
    mask[2:7, 1:5] = True
    traced = np.array([(2, 1), (6, 1), (6, 4), (2, 4)], float)
    noisy = traced + np.random.default_rng(1).uniform(-0.5, 0.5, traced.shape) * ON_CONTOUR
    assert np.array_equal(fill([traced], SHAPE), mask)
    assert np.array_equal(fill([noisy], SHAPE), mask)


def test_the_same_contour_twice_is_one() -> None:
    square = np.array([(1.5, 1.5), (4.5, 1.5), (4.5, 4.5), (1.5, 4.5)])
    assert fill([square, square.copy()], SHAPE).sum() == 9


def test_far_and_many_points_cost_what_lies_on_the_grid() -> None:
    random = np.random.default_rng(3)
    polygon = random.uniform(-1e6, 1e6, (100_000, 2))
    assert crossings([polygon], SHAPE[1]) <= 100_000 * (SHAPE[1] + 1)
    assert fill([polygon], SHAPE).shape == SHAPE
    assert crossings([], 5) == 0
    assert not fill([], SHAPE).any()
