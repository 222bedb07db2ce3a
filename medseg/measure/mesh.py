"""The surface of a mask, block by block.

A block is 2x2x2 neighbouring voxels. Which of them are inside decides how much surface it holds, and how much
of it lies within.

The surface is that of marching cubes. The case table is derived, not copied: corners of the
rarer state are cut off from each other; where a cut is not flat it is fanned out from the vertex that gives
the largest area on the unit cube. That equals the table of Nikolov et al. (2021, doi:10.2196/26151) in all
256 cases wherever axes are at right angles. On sheared grids the fans from several such vertices differ; the
area is then their mean, so that turning an array round changes nothing. In two dimensions blocks are 2x2 and
areas are lengths of the contour.

What lies outside the array counts as empty. A block's code has bit n set where its corner n is inside,
corners in C order.
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


def block_codes(mask: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """The code of each block, those at the border included: one more along each axis than there are voxels.

    Built axis by axis, from pairs to squares to cubes. The mask has two or three axes.
    """
    codes = np.pad(mask, 1).view(np.uint8)
    for n, axis in enumerate(reversed(range(mask.ndim))):
        here, onward = ((slice(None),) * axis + (part,) for part in (slice(None, -1), slice(1, None)))
        codes = codes[here] | (codes[onward] << np.uint8(1 << n))
    return codes


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
def block_shares() -> Floats:
    """The share of a block of 2x2x2 voxels that lies within the surface, by the block's code.

    A share is the same whatever the affine. Added up over a mask's blocks they are the volume within its
    surface in voxels: a closed surface's volume by the divergence theorem.
    """
    cube = list(product((0, 1), repeat=3))
    cut_off = np.array([_cut_off_share(_minority(code, cube)) for code in range(256)])
    rarer_is_inside = np.array([code.bit_count() * 2 <= len(cube) for code in range(256)])
    shares = np.where(rarer_is_inside, cut_off, 1 - cut_off)
    shares.setflags(write=False)  # it is shared
    return shares


@cache
def _cut_off_share(inside: frozenset[_Corner]) -> float:
    """The share of the unit cube that its surface cuts off round the corners inside."""
    # Cones from corner (0, 0, 0): over the triangles, and over what is cut off of the faces across from it.
    share = sum(_share_of_face(axis, inside) for axis in range(3)) / 3
    for polygon, fans in _surface(inside):
        weights, triangles = (np.array(part) for part in zip(*fans, strict=True))
        cones = float((weights * np.linalg.det(triangles)).sum()) / 6
        share += cones if _points_outward(polygon, inside) else -cones
    return share


def _share_of_face(axis: int, inside: frozenset[_Corner]) -> float:
    """How much of the cube's far face along an axis its contour cuts off round the corners inside."""
    corners = [corner for corner in inside if corner[axis] == 1]
    if len(corners) == 2 and sum(a != b for a, b in zip(*corners, strict=True)) == 2:
        return 2 / 8  # across from each other: cut off one by one
    return (0, 1 / 8, 1 / 2, 7 / 8, 1)[len(corners)]


def _points_outward(polygon: Sequence[Floats], inside: frozenset[_Corner]) -> bool:
    """Whether the polygon's normal, by the right hand, points away from the corners that it cuts off."""
    normal = np.cross(polygon, np.roll(polygon, -1, axis=0)).sum(axis=0)
    away = np.zeros(3)
    for middle in polygon:
        low, high = np.floor(middle), np.ceil(middle)
        away += middle - (low if tuple(low.astype(int)) in inside else high)
    return float(away @ normal) > 0


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
        cuts.append([triangle for _, fans in _surface(_minority(code, cube)) for triangle in fans])
    return cuts


def _minority(code: int, corners: Sequence[_Corner]) -> frozenset[_Corner]:
    """The corners of the rarer state, so that a mask and its complement have one surface."""
    inside = frozenset(corner for bit, corner in enumerate(corners) if code >> bit & 1)
    return inside if len(inside) * 2 <= len(corners) else frozenset(corners) - inside


@cache
def _surface(inside: frozenset[_Corner]) -> list[tuple[list[Floats], list[tuple[float, Floats]]]]:
    """Each polygon that cuts ``inside`` off in the unit cube, and its triangles with their shares."""
    return [(polygon, _largest_fans(polygon)) for polygon in _polygons(inside)]


def _cut(ring: Sequence[_Corner], inside: frozenset[_Corner]) -> list[tuple[_Edge, _Edge]]:
    """How the contour crosses a square whose corners are given in order round it: pairs of edges."""
    edges = [frozenset((ring[n - 1], ring[n])) for n in range(4)]
    crossed = [edge for edge in edges if len(edge & inside) == 1]
    if len(crossed) < 4:
        return [(crossed[0], crossed[1])] if crossed else []
    return [(edges[n], edges[(n + 1) % 4]) for n in range(4) if ring[n] in inside]


def _polygons(inside: frozenset[_Corner]) -> list[list[Floats]]:
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
    corners = np.moveaxis(np.array(fans), 2, 0)
    areas = (
        np.linalg.norm(np.cross(corners[1] - corners[0], corners[2] - corners[0]), axis=-1).sum(axis=1) / 2
    )
    largest = np.flatnonzero(areas > areas.max() - 1e-9).tolist()
    if np.linalg.matrix_rank(np.array(polygon) - polygon[0]) < 3:  # flat: any fan is all of them
        largest = largest[:1]
    return [(1 / len(largest), triangle) for n in largest for triangle in fans[n]]
