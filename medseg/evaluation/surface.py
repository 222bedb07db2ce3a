"""Surfaces of binary masks, as surface elements with a place and an area.

Every block of 2x2x2 neighbouring voxels that a mask splits holds one element, placed at the block's
centre. Its area is that of the marching-cubes surface in the block, so a sum over elements is a
surface in mm2 whatever the spacing (Nikolov et al. 2021, doi:10.2196/26151, and their
`surface-distance`). Counting border voxels instead, as many tools do, weighs an oblique or
anisotropic surface wrongly. In two dimensions blocks are 2x2 and areas are contour lengths in mm.

The case table of the blocks is derived, not copied: corners of the rarer state are cut off from
each other; where a cut is not flat it is fanned out from the vertex that gives the largest area on
the unit cube. That equals the published table in all 256 cases.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise, product

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
_Corner = tuple[int, ...]
_Edge = frozenset[_Corner]


@dataclass(frozen=True, slots=True)
class Surface:
    """Elements of a surface: centres ``points`` (n, 3) or (n, 2) in mm, ``areas`` (n,) in mm2 (2D: mm)."""

    points: Floats
    areas: Floats


@dataclass(frozen=True, slots=True)
class SurfaceDistances:
    """For each element of both surfaces its area and its distance in mm to the other surface."""

    pred_mm: Floats
    pred_areas: Floats
    ref_mm: Floats
    ref_areas: Floats


def surface(mask: NDArray[np.bool_], axes_mm: ArrayLike) -> Surface:
    """The elements that bound a mask; what lies outside the array counts as empty.

    Parameters
    ----------
    mask
        Boolean, two or three axes.
    axes_mm
        Spacing in mm per axis, or a matrix whose column n is one step along array axis n in mm (a
        `Geometry`'s ``affine[:3, :3]``, which may be oblique or sheared).
    """
    steps = _steps(axes_mm, mask.ndim)
    codes = _block_codes(mask)
    where = np.argwhere(codes)
    areas = _areas(steps)[codes[tuple(where.T)]]
    split = areas > 0  # a block wholly inside has a code, but no surface
    return Surface((where[split] - 0.5) @ steps.T, areas[split])


def surface_distances(
    pred: NDArray[np.bool_], ref: NDArray[np.bool_], axes_mm: ArrayLike
) -> SurfaceDistances | None:
    """Distances between the surfaces of two masks of one shape; None where a mask is empty.

    Nearest elements come from a k-d tree over world points, so they are exact on sheared grids too.
    """
    from scipy.spatial import cKDTree  # here: scipy.spatial alone would double the start-up of `infer`

    same_shape(pred, ref)
    a, b = surface(pred, axes_mm), surface(ref, axes_mm)
    if not len(a.areas) or not len(b.areas):
        return None
    to_ref, _ = cKDTree(b.points).query(a.points)
    to_pred, _ = cKDTree(a.points).query(b.points)
    return SurfaceDistances(to_ref, a.areas, to_pred, b.areas)


def same_shape(pred: NDArray[np.generic], ref: NDArray[np.generic]) -> None:
    """Refuse to compare arrays of different shapes."""
    if pred.shape != ref.shape:
        raise ValueError(f"prediction has shape {pred.shape}, reference {ref.shape}: expected one grid")


def _steps(axes_mm: ArrayLike, ndim: int) -> Floats:
    steps = np.asarray(axes_mm, dtype=np.float64)
    if steps.ndim == 1:
        steps = np.diag(steps)
    if ndim not in (2, 3) or steps.shape not in ((ndim, ndim), (3, ndim)):
        raise ValueError(f"axes_mm of shape {np.shape(axes_mm)} does not fit a mask of {ndim} axes (2 or 3)")
    return steps


def _block_codes(mask: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """For each block of 2**d voxels, those at the border included, bit n set where corner n is inside."""
    padded = np.pad(mask, 1).astype(np.uint8)
    shape = tuple(n + 1 for n in mask.shape)
    codes = np.zeros(shape, np.uint8)
    for bit, corner in enumerate(product((0, 1), repeat=mask.ndim)):
        window = tuple(slice(c, c + n) for c, n in zip(corner, shape, strict=True))
        codes |= padded[window] << np.uint8(bit)
    return codes


def _areas(steps: Floats) -> Floats:
    """Area (2D: length) of the surface in a block, by the block's code."""
    codes, pieces = _pieces(steps.shape[1])
    first, *others = np.moveaxis(pieces @ steps.T, 1, 0)
    sides = [other - first for other in others]
    areas = np.linalg.norm(sides[0] if len(sides) == 1 else np.cross(*sides) / 2, axis=-1)
    table = np.bincount(codes, weights=areas, minlength=2**2 ** steps.shape[1])
    return table.astype(np.float64)


@cache
def _pieces(ndim: int) -> tuple[NDArray[np.int64], Floats]:
    """The surface in every block of unit voxels: codes (n,) and the corners (n, ndim, ndim) of a
    triangle each, in two dimensions of a segment."""
    cuts = _segments() if ndim == 2 else _triangles()
    codes = [code for code, cut in enumerate(cuts) for _ in cut]
    return np.array(codes), np.array([piece for cut in cuts for piece in cut])


def _segments() -> list[list[Floats]]:
    """The contour in a unit square as segments (2 ends, 2 coordinates), by code."""
    square = list(product((0, 1), repeat=2))
    ring: list[_Corner] = [square[n] for n in (0, 1, 3, 2)]
    cuts = []
    for code in range(16):
        crossings = _cut(ring, _minority(code, square))
        cuts.append([np.array((_middle(a), _middle(b))) for a, b in crossings])
    return cuts


def _triangles() -> list[list[Floats]]:
    """The surface in a unit cube as triangles (3 corners, 3 coordinates), by code."""
    cube = list(product((0, 1), repeat=3))
    cuts = []
    for code in range(256):
        polygons = _polygons(_minority(code, cube))
        cuts.append([triangle for polygon in polygons for triangle in _largest_fan(polygon)])
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


def _largest_fan(polygon: list[Floats]) -> list[Floats]:
    """The polygon as triangles round one of its corners, of all such fans the one of largest area."""
    fans = []
    for n in range(len(polygon)):
        hub, *rim = polygon[n:] + polygon[:n]
        fans.append([np.array((hub, a, b)) for a, b in pairwise(rim)])
    return max(fans, key=lambda fan: round(sum(_triangle_area(t) for t in fan), 9))


def _triangle_area(triangle: Floats) -> float:
    a, b, c = triangle
    return float(np.linalg.norm(np.cross(b - a, c - a)) / 2)
