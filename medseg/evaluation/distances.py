"""Distances between two surfaces, exact on any grid, and what is read off them.

Both surfaces have their elements on one lattice. Most elements of a useful prediction lie within a few
steps of the reference, so the nearest element is looked for among the lattice's shortest vectors, in
ascending order of their length in mm: the first one that leads to an element is a shortest. The few elements
that none of them serves ask a k-d tree. Both hold on sheared grids, where a distance transform along the axes
does not, and both cost as much as there is surface, not as much as there is volume.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

from medseg.evaluation.surface import ELEMENTS, Surface
from medseg.measure.mesh import Floats

# Distances are sums of products of floats: a surface exactly at the tolerance must not fall outside.
_ROUNDING_MM = 1e-6
# How many vectors are tried before the k-d tree is asked: a ball with a radius of about three voxels.
_SHORT_VECTORS = 100


@dataclass(frozen=True, slots=True)
class SurfaceDistances:
    """For each element of both surfaces its weight and its distance in mm to the other surface."""

    pred_mm: Floats
    pred_weights: Floats
    ref_mm: Floats
    ref_weights: Floats


def surface_distances(
    pred: NDArray[np.bool_], ref: NDArray[np.bool_], axes_mm: ArrayLike, elements: str = "area"
) -> SurfaceDistances | None:
    """Distances between the surfaces of two masks of one shape; None where a mask is empty.

    Parameters
    ----------
    pred, ref
        Boolean, two or three axes.
    axes_mm
        Spacing in mm per axis, or a matrix of one column per axis; see `surface.area_surface`.
    elements
        What a surface is made of: ``"area"`` or ``"voxels"``, see `surface`.
    """
    same_shape(pred, ref)
    a, b = (ELEMENTS[elements](mask, axes_mm) for mask in (pred, ref))
    if not a.index.size or not b.index.size:
        return None
    short = _short_vectors(tuple(map(tuple, a.steps.tolist())))
    return SurfaceDistances(_to_nearest(a, b, *short), a.weights, _to_nearest(b, a, *short), b.weights)


def same_shape(pred: NDArray[np.generic], ref: NDArray[np.generic]) -> None:
    """Refuse to compare arrays of different shapes."""
    if pred.shape != ref.shape:
        raise ValueError(f"prediction has shape {pred.shape}, reference {ref.shape}: expected one grid")


def share_within(distances: SurfaceDistances, tolerance_mm: float) -> float:
    """Share of both surfaces, by weight, whose distance is at most ``tolerance_mm``."""
    limit = tolerance_mm + _ROUNDING_MM
    within = distances.pred_weights[distances.pred_mm <= limit].sum()
    within += distances.ref_weights[distances.ref_mm <= limit].sum()
    return float(within / (distances.pred_weights.sum() + distances.ref_weights.sum()))


def weighted_percentile(distances: SurfaceDistances, percent: float) -> float:
    """The larger of the two directed percentiles, by weight.

    A directed one is the smallest distance that ``percent`` of the surface's weight does not exceed.
    """
    return max(
        _percentile(distances.pred_mm, distances.pred_weights, percent / 100),
        _percentile(distances.ref_mm, distances.ref_weights, percent / 100),
    )


def counted_percentile(distances: SurfaceDistances, percent: float) -> float:
    """The larger of the two directed percentiles over elements, interpolated linearly between two of them."""
    return float(max(np.percentile(distances.pred_mm, percent), np.percentile(distances.ref_mm, percent)))


def pooled_percentile(distances: SurfaceDistances, percent: float) -> float:
    """The percentile over the elements of both surfaces together, interpolated linearly."""
    return float(np.percentile(np.concatenate((distances.pred_mm, distances.ref_mm)), percent))


def largest(distances: SurfaceDistances) -> float:
    """The largest distance of all."""
    return float(max(distances.pred_mm.max(), distances.ref_mm.max()))


def mean(distances: SurfaceDistances) -> float:
    """The mean distance over both surfaces together, by weight."""
    total = distances.pred_mm @ distances.pred_weights + distances.ref_mm @ distances.ref_weights
    return float(total / (distances.pred_weights.sum() + distances.ref_weights.sum()))


def _percentile(values: Floats, weights: Floats, share: float) -> float:
    """The smallest value such that values up to it carry at least ``share`` of the weight."""
    order = np.argsort(values, kind="stable")
    carried = np.cumsum(weights[order])
    n = int(np.searchsorted(carried, share * carried[-1] * (1 - 1e-12)))
    return float(values[order][n])


def _to_nearest(start: Surface, goal: Surface, vectors: NDArray[np.int64], lengths: Floats) -> Floats:
    """For each element of ``start`` the distance in mm to the nearest of ``goal``, on the same lattice."""
    margin = np.abs(vectors).max(axis=0)
    shape = tuple(int(n) for n in np.array(start.shape) + 2 * margin)
    is_goal = np.zeros(math.prod(shape), np.bool_)
    is_goal[_in_padded(goal, margin, shape)] = True
    strides = np.cumprod((1, *shape[:0:-1]))[::-1]

    distances = np.empty(start.index.size)
    waiting = np.arange(start.index.size)
    places = _in_padded(start, margin, shape)
    for jump, length in zip((vectors @ strides).tolist(), lengths, strict=True):
        found = is_goal[places + jump]
        distances[waiting[found]] = length
        waiting, places = waiting[~found], places[~found]
        if not waiting.size:
            return distances

    from scipy.spatial import cKDTree  # here: scipy.spatial alone would double the start-up of `infer`

    distances[waiting], _ = cKDTree(goal.points).query(start.points_of(start.index[waiting]))
    return distances


def _in_padded(surface: Surface, margin: NDArray[np.int64], shape: tuple[int, ...]) -> NDArray[np.int64]:
    """The flat places of a surface's elements in its lattice with a margin round it."""
    where = np.unravel_index(surface.index, surface.shape)
    flat: NDArray[np.int64] = np.ravel_multi_index([w + m for w, m in zip(where, margin, strict=True)], shape)
    return flat


@lru_cache(maxsize=16)
def _short_vectors(matrix: tuple[tuple[float, ...], ...]) -> tuple[NDArray[np.int64], Floats]:
    """All vectors of a lattice up to some length, shortest first, in steps (n, d), and their lengths in mm.

    None may be left out that is shorter than one that is there: component c of a vector of length r is at
    most r times the norm of row c of the inverse.
    """
    steps = np.array(matrix)
    ndim = steps.shape[1]
    cell = math.sqrt(np.linalg.det(steps.T @ steps))  # volume of a voxel, area of a pixel
    ball = math.pi if ndim == 2 else 4 / 3 * math.pi
    radius = (_SHORT_VECTORS * cell / ball) ** (1 / ndim)
    rows = np.linalg.norm(np.linalg.pinv(steps), axis=1)
    while np.prod(2 * np.floor(radius * rows) + 1) > 20 * _SHORT_VECTORS:  # voxels like needles or sheets
        radius *= 0.8
    reach = np.floor(radius * rows).astype(np.int64)
    vectors = np.indices(2 * reach + 1).reshape(ndim, -1).T - reach
    lengths = np.linalg.norm(vectors @ steps.T, axis=1)
    order = np.argsort(lengths, kind="stable")
    order = order[lengths[order] <= radius]
    return vectors[order], lengths[order]
