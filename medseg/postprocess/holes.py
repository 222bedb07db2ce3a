"""Background that a structure encloses."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from medseg.geometry import Geometry
from medseg.postprocess.boxes import box_of_all, grown
from medseg.postprocess.groups import mask_of, numbered, require_spacing, structures
from medseg.volume import LabelMap


def fill_holes(
    labelmap: LabelMap,
    ids: Collection[int] | None = None,
    *,
    together: bool = False,
    largest_mm3: float | None = None,
) -> LabelMap:
    """Fill background that a structure encloses completely, with its label.

    Background is enclosed if no path through faces leads from it to the edge of the grid past the
    structure's voxels; in a 2D image, no path within the plane. Other labels inside a hole stay. A hole
    inside two nested labels goes to the inner one, as it is filled first; labels that enclose it equally
    closely are taken in ascending id.

    Parameters
    ----------
    labelmap
        The segmentation; not changed.
    ids
        Labels whose holes are filled; None means all.
    together
        They are one structure. Each voxel of a hole then gets that one of the labels whose nearest voxel is
        nearest, in mm along the grid's axes.
    largest_mm3
        Larger holes stay, a hole just that large is filled. What another label fills of a hole counts. None:
        all are filled.

    Raises
    ------
    UsageError
        If ``largest_mm3`` is given and the grid's spacing is unknown.
    """
    geometry = labelmap.geometry
    most = np.inf
    if largest_mm3 is not None:
        require_spacing(geometry, f"largest {largest_mm3:g} mm3")
        most = largest_mm3 / geometry.voxel_volume_mm3 * (1 + 1e-9)
    groups = structures(labelmap, ids, together=together)
    box = box_of_all(labelmap.data)
    regions = _regions(numbered(labelmap.data[box], groups), flat=geometry.is_2d)
    found = []
    for number, group in enumerate(groups, start=1):
        holes, voxels = _holes_of(regions, number, most)
        if holes.any():
            found.append((voxels, group, holes))
    if not found:
        return labelmap
    fill = np.zeros(len(regions.sizes), labelmap.data.dtype)
    for _, group, holes in sorted(found, key=lambda entry: entry[:2]):
        fill[holes & (fill == 0)] = group[0]
    data = labelmap.data.copy()
    inside = data[box]
    enclosed = (fill > 0)[regions.number]
    empty = enclosed & (inside == 0)
    if together:
        inside[empty] = _nearest(inside, enclosed, groups[0], geometry)[empty]
    else:
        inside[empty] = fill[regions.number[empty]]
    return replace(labelmap, data=data)


@dataclass(frozen=True, slots=True, eq=False)
class _Regions:
    """Pieces of one structure, or of none, that hang together through faces; and which of them touch.

    ``number`` counts from 1; ``sizes`` and ``structure`` are by that number. ``outside`` is the region round
    the box, ``touching`` pairs of numbers (n, 2).
    """

    number: NDArray[np.integer]
    sizes: NDArray[np.int64]
    structure: NDArray[np.uint32]
    outside: int
    touching: NDArray[np.int64]


def _regions(structure: NDArray[np.uint16], *, flat: bool) -> _Regions:
    import cc3d

    border = ((1, 1), (1, 1), (0, 0) if flat else (1, 1))
    values = np.pad(structure.astype(np.uint32) + 1, border, constant_values=1)  # cc3d leaves out 0
    number = cc3d.connected_components(values, connectivity=6)
    sizes = np.bincount(number.ravel())
    of_region = np.zeros(len(sizes), np.uint32)
    of_region[number] = values - 1
    pairs = sorted(cc3d.region_graph(number, connectivity=6))
    touching = np.array(pairs, np.int64).reshape(-1, 2)
    outside = int(number[0, 0, 0])
    inner = number[1:-1, 1:-1] if flat else number[1:-1, 1:-1, 1:-1]
    return _Regions(inner, sizes, of_region, outside, touching)


def _holes_of(regions: _Regions, number: int, most: float) -> tuple[NDArray[np.bool_], int]:
    """Which regions lie in holes of a structure, and the voxels of the structure and all of its holes.

    A hole is a set of other regions that touch each other and do not lead outside.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    count = len(regions.sizes)
    other = regions.structure != number
    other[0] = False  # no region has number 0
    a, b = regions.touching[other[regions.touching].all(axis=1)].T
    graph = coo_array((np.ones(len(a), np.bool_), (a, b)), shape=(count, count))
    _, piece = connected_components(graph, directed=False)
    enclosed = other & (piece != piece[regions.outside])
    size_of_piece = np.bincount(piece, weights=np.where(enclosed, regions.sizes, 0))
    voxels = regions.sizes[(regions.structure == number) | enclosed].sum()
    return enclosed & (size_of_piece[piece] <= most), int(voxels)


def _nearest(
    data: NDArray[np.unsignedinteger], holes: NDArray[np.bool_], ids: tuple[int, ...], geometry: Geometry
) -> NDArray[np.unsignedinteger]:
    """For each voxel of holes the nearest label among ``ids``; what else is in the array means nothing."""
    from scipy.ndimage import distance_transform_edt

    # The wall between a hole and any farther voxel is nearer, so it need not be looked for farther out.
    box = grown(box_of_all(holes), (1, 1, 1), holes.shape)
    labels = data[box]
    i, j, k = distance_transform_edt(
        ~mask_of(labels, ids), sampling=geometry.spacing, return_distances=False, return_indices=True
    )
    nearest = np.zeros_like(data)
    nearest[box] = labels[i, j, k]
    return nearest
