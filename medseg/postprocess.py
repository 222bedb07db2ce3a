"""Clean-up of a label map: largest component, holes, specks. Each takes a LabelMap and gives a new one.

cc3d and scipy are imported where they are used: an inference without clean-up starts without them.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medseg.volume import LabelMap


def keep_largest(labelmap: LabelMap, ids: Collection[int] | None = None) -> LabelMap:
    """Keep only the largest connected component of each label; the rest becomes background.

    Voxels that share a face, an edge or a corner are connected (26 neighbours; 8 in a 2D image). Of
    components of one size the one that holds the first voxel in C order stays. An absent label stays
    absent.

    Parameters
    ----------
    labelmap
        The segmentation; not changed.
    ids
        Labels to clean; None means all.
    """
    data = labelmap.data.copy()
    for label_id in _chosen(labelmap, ids):
        components, sizes = _components(labelmap.data == label_id)
        if len(sizes) > 1:
            largest = np.isin(components, np.flatnonzero(sizes == sizes.max()) + 1)
            kept = components.ravel()[np.argmax(largest)]
            data[(components > 0) & (components != kept)] = 0
    return replace(labelmap, data=data)


def keep_largest_piece(labelmap: LabelMap) -> LabelMap:
    """Of everything that has a label, taken together, keep the largest connected piece.

    For organs that hang together, such as the structures of a brain: what is found apart from them, in a neck
    or a face, is none. Voxels that share a face are connected (6 neighbours). Of pieces of one size the one
    that holds the first voxel in C order stays. The label map itself where there is one piece or none.
    """
    import cc3d

    pieces = cc3d.connected_components(labelmap.data > 0, connectivity=6)
    sizes = np.bincount(pieces.ravel())[1:]
    if len(sizes) < 2:
        return labelmap
    if np.count_nonzero(sizes == sizes.max()) == 1:
        kept = int(sizes.argmax()) + 1
    else:
        largest = np.isin(pieces, np.flatnonzero(sizes == sizes.max()) + 1)
        kept = int(pieces.ravel()[np.argmax(largest)])
    return replace(labelmap, data=np.where(pieces == kept, labelmap.data, 0).astype(labelmap.data.dtype))


def remove_small(labelmap: LabelMap, smallest_mm3: float, ids: Collection[int] | None = None) -> LabelMap:
    """Remove connected components smaller than ``smallest_mm3``; a component just that large stays.

    Connected as in `keep_largest`. May remove every voxel of a label.

    Raises
    ------
    ValueError
        If the grid's spacing is unknown: a size in mm3 means nothing there.
    """
    if not labelmap.geometry.spacing_known:
        raise ValueError(
            f"smallest {smallest_mm3:g} mm3: the grid's spacing is unknown, give voxels a size first"
        )
    # Rounding of the affine must not push a component of exactly the limit below it.
    least = smallest_mm3 / labelmap.geometry.voxel_volume_mm3 * (1 - 1e-9)
    data = labelmap.data.copy()
    for label_id in _chosen(labelmap, ids):
        components, sizes = _components(labelmap.data == label_id)
        data[np.isin(components, np.flatnonzero(sizes < least) + 1)] = 0
    return replace(labelmap, data=data)


def fill_holes(labelmap: LabelMap, ids: Collection[int] | None = None) -> LabelMap:
    """Fill background that a label encloses completely, with that label.

    Background is enclosed if no path through faces leads from it to the edge of the grid past the
    label's voxels. Other labels inside a hole stay. A hole inside two nested labels goes to the inner
    one, as it is filled first; labels that enclose it equally closely are taken in ascending id.
    """
    from scipy.ndimage import binary_fill_holes

    flat = labelmap.geometry.is_2d
    holes = []
    for label_id in _chosen(labelmap, ids):
        mask = labelmap.data == label_id
        filled = binary_fill_holes(mask[..., 0])[..., None] if flat else binary_fill_holes(mask)
        holes.append((int(np.count_nonzero(filled)), label_id, filled))
    data = labelmap.data.copy()
    for _, label_id, filled in sorted(holes, key=lambda hole: hole[:2]):
        data[filled & (data == 0)] = label_id
    return replace(labelmap, data=data)


def _chosen(labelmap: LabelMap, ids: Collection[int] | None) -> tuple[int, ...]:
    known = labelmap.labels.ids
    unknown = sorted(set(ids or ()) - set(known))
    if unknown:
        raise ValueError(f"labels {unknown} are not in the label set; there are {', '.join(map(str, known))}")
    return known if ids is None else tuple(sorted(set(ids)))


def _components(mask: NDArray[np.bool_]) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """Components numbered from 1, and the size of each."""
    import cc3d

    # cc3d 4.1 reserves too little room for dense dots that touch the end of a line, and raises; a border of
    # background gives it enough.
    components = cc3d.connected_components(np.pad(mask, 1), connectivity=26)[1:-1, 1:-1, 1:-1]
    return components, np.bincount(components.ravel())[1:]
