"""Connected components: keep the largest, remove the small.

cc3d is imported where it is used: an inference without clean-up starts without it.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from medseg.postprocess.boxes import Box, box_of_all
from medseg.postprocess.groups import numbered, require_spacing, structures
from medseg.volume import LabelMap

Connectivity = Literal["faces", "corners"]
_NEIGHBOURS: dict[Connectivity, Literal[6, 26]] = {"faces": 6, "corners": 26}


def keep_largest(
    labelmap: LabelMap,
    ids: Collection[int] | None = None,
    *,
    together: bool = False,
    becomes: int = 0,
    connectivity: Connectivity = "corners",
) -> LabelMap:
    """Keep only the largest connected component of each structure.

    Of components of one size the one that holds the first voxel in C order stays. An absent label stays
    absent.

    Parameters
    ----------
    labelmap
        The segmentation; not changed.
    ids
        Labels to clean; None means all.
    together
        They are one structure, whose components may hold several labels; else each is one.
    becomes
        What the rest becomes: background, or the id of the structure round it.
    connectivity
        Voxels are connected that share a face, or with ``"corners"`` a face, an edge or a corner (6 or 26
        neighbours; 4 or 8 in a 2D image).
    """
    groups = structures(labelmap, ids, together=together)
    found = _components(labelmap, groups, connectivity)
    gone = np.zeros(len(found.sizes), np.bool_)
    for number in range(1, len(groups) + 1):
        own = np.flatnonzero(found.structure == number)
        if len(own) < 2:
            continue
        largest = own[found.sizes[own] == found.sizes[own].max()]
        kept = largest[0]
        if len(largest) > 1:
            kept = found.number.ravel()[np.argmax(np.isin(found.number, largest))]
        gone[own] = own != kept
    return _without(labelmap, found, gone, becomes)


def keep_largest_piece(labelmap: LabelMap) -> LabelMap:
    """Of everything that has a label, taken together, keep the largest connected piece.

    For organs that hang together, such as the structures of a brain: what is found apart from them, in a neck
    or a face, is none. Voxels that share a face are connected (6 neighbours). Of pieces of one size the one
    that holds the first voxel in C order stays.
    """
    return keep_largest(labelmap, together=True, connectivity="faces")


def remove_small(
    labelmap: LabelMap,
    smallest_mm3: float,
    ids: Collection[int] | None = None,
    *,
    together: bool = False,
    becomes: int = 0,
    connectivity: Connectivity = "corners",
) -> LabelMap:
    """Remove connected components smaller than ``smallest_mm3``; a component just that large stays.

    Parameters as in `keep_largest`. May remove every voxel of a label.

    Raises
    ------
    UsageError
        If the grid's spacing is unknown: a size in mm3 means nothing there.
    """
    require_spacing(labelmap.geometry, f"smallest {smallest_mm3:g} mm3")
    # Rounding of the affine must not push a component of exactly the limit below it.
    least = smallest_mm3 / labelmap.geometry.voxel_volume_mm3 * (1 - 1e-9)
    found = _components(labelmap, structures(labelmap, ids, together=together), connectivity)
    return _without(labelmap, found, (found.structure > 0) & (found.sizes < least), becomes)


@dataclass(frozen=True, slots=True, eq=False)
class _Components:
    """Components in a box of the grid: each voxel's number, and per number its size and its structure's.

    Number 0 is everything else, of structure 0.
    """

    box: Box
    number: NDArray[np.integer]
    sizes: NDArray[np.int64]
    structure: NDArray[np.uint16]


def _components(
    labelmap: LabelMap, groups: Sequence[tuple[int, ...]], connectivity: Connectivity
) -> _Components:
    """Components of all structures in one pass, in the box of everything."""
    import cc3d

    box = box_of_all(labelmap.data)
    structure = numbered(labelmap.data[box], groups)
    # cc3d 4.1 reserves too little room for dense dots that touch the end of a line, and raises; a border of
    # background gives it enough.
    number = cc3d.connected_components(np.pad(structure, 1), connectivity=_NEIGHBOURS[connectivity])
    number = number[1:-1, 1:-1, 1:-1]
    sizes = np.bincount(number.ravel(), minlength=1)
    of_component = np.zeros(len(sizes), np.uint16)
    of_component[number] = structure
    return _Components(box, number, sizes, of_component)


def _without(labelmap: LabelMap, found: _Components, gone: NDArray[np.bool_], becomes: int) -> LabelMap:
    if not gone.any():
        return labelmap
    data = labelmap.data.copy()
    data[found.box][gone[found.number]] = becomes
    return replace(labelmap, data=data)
