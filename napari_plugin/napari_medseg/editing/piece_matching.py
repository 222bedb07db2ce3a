"""Which pieces of a structure belong together in two slices of it."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import scipy
from numpy.typing import NDArray

from napari_medseg.editing.boxes import Mask

Floats = NDArray[np.float64]
Pair = tuple[Mask, Mask]  # a group of pieces in one slice, and in the other

_EIGHT = np.ones((3, 3), np.bool_)


def matched_pieces(first: Mask, last: Mask, spacing: Floats, apart: float) -> Iterator[Pair]:
    """Groups of pieces of two slices that belong together, each as its mask in the one and in the other.

    Pieces (8 neighbours) that overlap belong together: as they lie, or, if the overlap is larger then, after
    the centroid of all has been moved onto the other's, as where several vessels run obliquely side by side.
    Of those that overlap nothing the nearest are matched one to one, of equally near ones those that come
    first in C order. A piece without a counterpart is a group of its own, opposite an empty mask; two empty
    masks have no groups.

    Nothing is matched over more than 45 degrees: between circles of the pieces' areas around their centroids
    there must be no more room than between the slices.

    Parameters
    ----------
    first, last
        Masks (J, K) of the two slices.
    spacing
        In plane (2,), mm.
    apart
        From one slice to the other, mm.
    """
    pieces, count = zip(*(scipy.ndimage.label(mask, _EIGHT) for mask in (first, last)), strict=True)
    links = _overlaps(pieces[0], pieces[1], spacing, apart) if all(count) else np.empty((0, 2), int)
    left = [np.setdiff1d(np.arange(1, count[side] + 1), links[:, side]) for side in (0, 1)]
    if all(map(len, left)):
        masks = [[pieces[side] == one for one in left[side]] for side in (0, 1)]
        near = _nearest_pairs(np.array([[_room(a, b, spacing) for b in masks[1]] for a in masks[0]]), apart)
        links = np.vstack([links, *([left[0][a], left[1][b]] for a, b in near)])
    # Its solvers come along and take 0.1 s to import, of the second that a start of the plugin may take.
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    # One graph of all pieces: those of the second slice are numbered behind those of the first.
    nodes = sum(count)
    edges = coo_array((np.ones(len(links)), (links[:, 0] - 1, links[:, 1] - 1 + count[0])), (nodes, nodes))
    groups, group_of = connected_components(edges, directed=False)
    in_first, in_last = np.append(-1, group_of[: count[0]]), np.append(-1, group_of[count[0] :])
    for group in range(groups):
        yield in_first[pieces[0]] == group, in_last[pieces[1]] == group


def _overlaps(
    first: NDArray[np.int32], last: NDArray[np.int32], spacing: Floats, apart: float
) -> NDArray[np.int64]:
    """Pairs (N, 2) of piece numbers that overlap, as they lie or centroid on centroid, whichever is more."""
    if _room(first > 0, last > 0, spacing) <= apart:
        moved = scipy.ndimage.shift(last, np.rint(centroid(first > 0) - centroid(last > 0)), order=0)
        if np.count_nonzero((first > 0) & (moved > 0)) > np.count_nonzero((first > 0) & (last > 0)):
            last = moved
    both = (first > 0) & (last > 0)
    return np.unique(np.stack([first[both], last[both]], axis=1), axis=0)


def _room(first: Mask, last: Mask, spacing: Floats) -> float:
    """Millimetres between circles of the masks' areas around their centroids; below 0 if they overlap."""
    radii = [math.sqrt(np.count_nonzero(mask) * spacing.prod() / math.pi) for mask in (first, last)]
    return float(np.linalg.norm((centroid(first) - centroid(last)) * spacing)) - sum(radii)


def _nearest_pairs(distances: Floats, most: float) -> Iterator[tuple[int, int]]:
    """Row and column of the smallest distance, of the smallest of the other rows and columns, and so on."""
    distances = distances.copy()
    while distances.min() <= most:
        row, column = np.unravel_index(distances.argmin(), distances.shape)
        yield int(row), int(column)
        distances[row, :] = np.inf
        distances[:, column] = np.inf


def centroid(mask: Mask) -> Floats:
    """The mean index (2,) of what is True."""
    return np.asarray(np.argwhere(mask).mean(axis=0))
