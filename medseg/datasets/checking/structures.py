"""What a label map says about each structure: size, place, gaps between slices, islands. Arrays only."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from medseg.datasets.checking.findings import Place
from medseg.geometry import Geometry

# A gap of more slices, or between outlines that hardly overlap, is the space between two structures.
_LONGEST_GAP, _LEAST_OVERLAP = 5, 0.5
_SMALLEST_OUTLINE = 4  # voxels; fewer are specks that lie in line
# An island is at most 3 x 3 x 3 voxels, and small beside the structure.
_ISLAND_VOXELS, _ISLAND_SHARE = 27, 0.01


@dataclass(frozen=True, slots=True)
class Gap:
    """Slices without a structure between two slices of it: ``first`` to ``last`` along an array axis."""

    axis: int
    first: int
    last: int
    place: Place


@dataclass(frozen=True, slots=True)
class Islands:
    """Tiny pieces apart from a structure: how many, voxels of the largest, and where one is."""

    count: int
    largest: int
    place: Place


@dataclass(frozen=True, slots=True)
class Structure:
    """One label of one case.

    Parameters
    ----------
    voxels
        How many it has; at least 1.
    centre
        Centre of mass, RAS+ mm.
    place
        The voxel nearest to it, seen along the third axis.
    median
        Of the image's values in it.
    gaps, islands
        See `find_gaps` and `find_islands`.
    """

    voxels: int
    centre: tuple[float, float, float]
    place: Place
    median: float
    gaps: tuple[Gap, ...]
    islands: Islands | None


def structures(
    data: NDArray[np.unsignedinteger], image: NDArray[np.generic], grid: Geometry, leave_out: int | None
) -> dict[int, Structure]:
    """Each label of a map (I, J, K) on an image by its id; ``leave_out`` is the label to ignore."""
    found = {}
    for n, box in enumerate(ndimage.find_objects(data), start=1):
        if box is None or n == leave_out:
            continue
        mask = data[box] == n
        start = tuple(int(s.start) for s in box)
        profiles = [mask.sum(axis=tuple(a for a in range(3) if a != axis)) for axis in range(3)]
        centre = [
            float(start[axis] + np.average(np.arange(len(profile)), weights=profile))
            for axis, profile in enumerate(profiles)
        ]
        world = grid.index_to_world(centre)
        i, j, k = (round(c) for c in centre)
        found[n] = Structure(
            int(mask.sum()),
            (float(world[0]), float(world[1]), float(world[2])),
            Place((i, j, k), 2),
            float(np.median(image[box][mask])),
            find_gaps(mask, start),
            find_islands(mask, start),
        )
    return found


def find_gaps(mask: NDArray[np.bool_], start: tuple[int, ...] = (0, 0, 0)) -> tuple[Gap, ...]:
    """Slices that somebody seems to have left out, along each axis of a mask (I, J, K).

    A run of one to five empty slices counts where the outlines on both sides of it overlap by half of the
    smaller one, which has at least four voxels: then the structure runs through. ``start`` is where the mask
    lies in the whole array.
    """
    found = []
    for axis in range(3):
        turned = np.moveaxis(mask, axis, 0)
        filled = np.flatnonzero(turned.any(axis=(1, 2)))
        for before, after in pairwise(filled.tolist()):
            if not 1 < after - before <= _LONGEST_GAP + 1:
                continue
            both = turned[before] & turned[after]
            smaller = min(int(turned[before].sum()), int(turned[after].sum()))
            if smaller < _SMALLEST_OUTLINE or both.sum() < _LEAST_OVERLAP * smaller:
                continue
            # A picture that looks along another axis shows the gap as a stripe.
            inside = np.argwhere(both)[len(np.argwhere(both)) // 2]
            middle = np.insert(inside, axis, (before + after) // 2) + np.array(start)
            place = Place((int(middle[0]), int(middle[1]), int(middle[2])), (axis + 1) % 3)
            found.append(Gap(axis, int(before + 1 + start[axis]), int(after - 1 + start[axis]), place))
    return tuple(found)


def find_islands(mask: NDArray[np.bool_], start: tuple[int, ...] = (0, 0, 0)) -> Islands | None:
    """Pieces of at most 27 voxels and 1 % of the largest one; pieces touch by faces, edges or corners."""
    pieces, count = ndimage.label(mask, np.ones((3, 3, 3)))
    if count < 2:
        return None
    sizes = np.bincount(pieces.ravel())[1:]
    tiny = np.flatnonzero((sizes <= _ISLAND_VOXELS) & (sizes <= _ISLAND_SHARE * sizes.max()))
    if not tiny.size:
        return None
    largest = tiny[int(np.argmax(sizes[tiny]))]
    inside = np.argwhere(pieces == largest + 1)[0] + np.array(start)
    place = Place((int(inside[0]), int(inside[1]), int(inside[2])), 2)
    return Islands(int(tiny.size), int(sizes[largest]), place)
