"""The area of a mask's surface in a block of 2x2x2 neighbouring voxels, by which of them are inside.

It is that of the marching-cubes surface in the block. The case table is derived, not copied: corners of the
rarer state are cut off from each other; where a cut is not flat it is fanned out from the vertex that gives
the largest area on the unit cube. That equals the table of Nikolov et al. (2021, doi:10.2196/26151) in all
256 cases wherever axes are at right angles. On sheared grids the fans from several such vertices differ; the
area is then their mean, so that turning an array round changes nothing. In two dimensions blocks are 2x2 and
areas are lengths of the contour.

A block's code has bit n set where its corner n is inside, corners in C order.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache, lru_cache
from itertools import pairwise, product

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
_Corner = tuple[int, ...]
_Edge = frozenset[_Corner]


def block_areas(steps: Floats) -> Floats:
    """Area in mm2 (2D: length in mm) of the surface in a block, by the block's code.

    ``steps`` has one column per axis of the array: a step along it in mm.
    """
    return _areas(tuple(map(tuple, steps.tolist())))


@lru_cache(maxsize=16)
def _areas(matrix: tuple[tuple[float, ...], ...]) -> Floats:
    steps = np.array(matrix)
    codes, shares, pieces = _pieces(steps.shape[1])
    first, *others = np.moveaxis(pieces @ steps.T, 1, 0)
    sides = [other - first for other in others]
    areas = np.linalg.norm(sides[0] if len(sides) == 1 else np.cross(*sides) / 2, axis=-1)
    weighed = np.bincount(codes, weights=areas * shares, minlength=2**2 ** steps.shape[1])
    table = weighed.astype(np.float64)
    table.setflags(write=False)  # it is shared
    return table


@cache
def _pieces(ndim: int) -> tuple[NDArray[np.int64], Floats, Floats]:
    """The surface in every block of unit voxels: codes (n,), shares (n,) by which each piece counts, and the
    corners (n, ndim, ndim) of a triangle each, in two dimensions of a segment."""
    cuts = _segments() if ndim == 2 else _triangles()
    pieces = [(code, share, corners) for code, cut in enumerate(cuts) for share, corners in cut]
    codes, shares, corners = zip(*pieces, strict=True)
    return np.array(codes), np.array(shares), np.array(corners)


def _segments() -> list[list[tuple[float, Floats]]]:
    """The contour in a unit square as segments (2 ends, 2 coordinates) that count fully, by code."""
    square = list(product((0, 1), repeat=2))
    ring: list[_Corner] = [square[n] for n in (0, 1, 3, 2)]
    cuts = []
    for code in range(16):
        crossings = _cut(ring, _minority(code, square))
        cuts.append([(1.0, np.array((_middle(a), _middle(b)))) for a, b in crossings])
    return cuts


def _triangles() -> list[list[tuple[float, Floats]]]:
    """The surface in a unit cube as triangles (3 corners, 3 coordinates) with their shares, by code."""
    cube = list(product((0, 1), repeat=3))
    cuts = []
    for code in range(256):
        polygons = _polygons(_minority(code, cube))
        cuts.append([triangle for polygon in polygons for triangle in _largest_fans(polygon)])
    return cuts


def _minority(code: int, corners: Sequence[_Corner]) -> set[_Corner]:
    """The corners of the rarer state, so that a mask and its complement have one surface."""
    inside = {corner for bit, corner in enumerate(corners) if code >> bit & 1}
    return inside if len(inside) * 2 <= len(corners) else set(corners) - inside


def _cut(ring: Sequence[_Corner], inside: set[_Corner]) -> list[tuple[_Edge, _Edge]]:
    """How the contour crosses a square whose corners are given in order round it: pairs of edges."""
    edges = [frozenset((ring[n - 1], ring[n])) for n in range(4)]
    crossed = [edge for edge in edges if len(edge & inside) == 1]
    if len(crossed) < 4:
        return [(crossed[0], crossed[1])] if crossed else []
    return [(edges[n], edges[(n + 1) % 4]) for n in range(4) if ring[n] in inside]


def _polygons(inside: set[_Corner]) -> list[list[Floats]]:
    """Closed polygons that cut ``inside`` off in the unit cube, joined from the cuts of its six faces."""
    neighbours: dict[_Edge, list[_Edge]] = {}
    for axis, side in product(range(3), (0, 1)):
        ring: list[_Corner] = []
        for u, v in ((0, 0), (0, 1), (1, 1), (1, 0)):
            corner = [u, v]
            corner.insert(axis, side)
            ring.append(tuple(corner))
        for a, b in _cut(ring, inside):
            neighbours.setdefault(a, []).append(b)
            neighbours.setdefault(b, []).append(a)
    polygons = []
    while neighbours:
        edge = next(iter(neighbours))
        polygon = []
        while edge in neighbours:
            polygon.append(_middle(edge))
            onward = [n for n in neighbours.pop(edge) if n in neighbours]
            edge = onward[0] if onward else edge
        polygons.append(polygon)
    return polygons


def _middle(edge: _Edge) -> Floats:
    a, b = sorted(edge)
    return (np.array(a, np.float64) + np.array(b, np.float64)) / 2


def _largest_fans(polygon: list[Floats]) -> list[tuple[float, Floats]]:
    """The polygon as triangles round one of its corners, of all such fans the one of largest area.

    Of several that are equally large each counts by its share.
    """
    fans = []
    for n in range(len(polygon)):
        hub, *rim = polygon[n:] + polygon[:n]
        fans.append([np.array((hub, a, b)) for a, b in pairwise(rim)])
    areas = np.array([sum(_triangle_area(triangle) for triangle in fan) for fan in fans])
    largest = np.flatnonzero(areas > areas.max() - 1e-9).tolist()
    if np.linalg.matrix_rank(np.array(polygon) - polygon[0]) < 3:  # flat: any fan is all of them
        largest = largest[:1]
    return [(1 / len(largest), triangle) for n in largest for triangle in fans[n]]


def _triangle_area(triangle: Floats) -> float:
    a, b, c = triangle
    return float(np.linalg.norm(np.cross(b - a, c - a)) / 2)
