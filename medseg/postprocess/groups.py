"""Which labels a step is for, and which of them count as one structure."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
from numpy.typing import NDArray

from medseg.errors import UsageError
from medseg.geometry import Geometry
from medseg.volume import LabelMap, holds_any


def chosen_ids(labelmap: LabelMap, ids: Collection[int] | None) -> tuple[int, ...]:
    """Ids ascending; None means all of the label set, whether they occur or not.

    Raises
    ------
    UsageError
        If an id is not in the label set.
    """
    known = labelmap.labels.ids
    unknown = sorted(set(ids or ()) - set(known))
    if unknown:
        raise UsageError(f"labels {unknown} are not in the label set; there are {', '.join(map(str, known))}")
    return known if ids is None else tuple(sorted(set(ids)))


def structures(labelmap: LabelMap, ids: Collection[int] | None, *, together: bool) -> list[tuple[int, ...]]:
    """The ids of each structure: of one label, or with ``together`` of all the chosen ones. Ascending."""
    chosen = chosen_ids(labelmap, ids)
    return [chosen] if together else [(i,) for i in chosen]


def numbered(data: NDArray[np.unsignedinteger], groups: Sequence[tuple[int, ...]]) -> NDArray[np.uint16]:
    """For each voxel the number of its structure, counted from 1; 0 where it belongs to none of them."""
    table = np.zeros(1 + max((int(data.max(initial=0)), *(max(group) for group in groups))), np.uint16)
    for number, group in enumerate(groups, start=1):
        table[list(group)] = number
    numbers: NDArray[np.uint16] = table[data]
    return numbers


def mask_of(data: NDArray[np.unsignedinteger], ids: tuple[int, ...]) -> NDArray[np.bool_]:
    """Where an array holds one of the ids."""
    return data == ids[0] if len(ids) == 1 else holds_any(data, ids)


def require_spacing(geometry: Geometry, what: str) -> None:
    """Refuse a size in mm on a grid whose voxels have none.

    Raises
    ------
    UsageError
        Naming what was asked for.
    """
    if not geometry.spacing_known:
        raise UsageError(f"{what}: the grid's spacing is unknown, give voxels a size first")
