"""Edits of the connected component of a label that was clicked: keep it alone, remove it, give it an id.

A component is what hangs together of one label, through `connectivity` neighbours: 6 share a face, 18 an edge
or a face, 26, as `medseg.postprocess` has it, a corner as well. With `axis` it is taken within the clicked
slice alone: 6 are 4 neighbours there, 18 and 26 are 8. What `where` means: `edits`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

import cc3d
import numpy as np

from medseg import UsageError
from napari_medseg.editing.arguments import check_call
from napari_medseg.editing.boxes import Box, Labels, Mask, label_box
from napari_medseg.edits import Edit, edit_of

Connectivity = Literal[6, 18, 26]


def keep_component(
    labels: Labels,
    voxel: Sequence[int],
    *,
    connectivity: Connectivity = 26,
    axis: int | None = None,
    where: Mask | None = None,
) -> Edit:
    """Of the label at ``voxel`` (i, j, k) keep the component there; its others become background."""
    box, ours, component = _clicked(labels, voxel, connectivity, axis, where)
    return _with(labels, box, ours & ~component, 0, where)


def remove_component(
    labels: Labels,
    voxel: Sequence[int],
    *,
    connectivity: Connectivity = 26,
    axis: int | None = None,
    where: Mask | None = None,
) -> Edit:
    """Make the component at ``voxel`` (i, j, k) background."""
    return split_component(labels, voxel, 0, connectivity=connectivity, axis=axis, where=where)


def split_component(
    labels: Labels,
    voxel: Sequence[int],
    new_id: int,
    *,
    connectivity: Connectivity = 26,
    axis: int | None = None,
    where: Mask | None = None,
) -> Edit:
    """Give the component at ``voxel`` (i, j, k) the id ``new_id``, of a new label or one that is there."""
    check_call(labels, ids=(new_id,))
    box, _, component = _clicked(labels, voxel, connectivity, axis, where)
    return _with(labels, box, component, new_id, where)


def _clicked(
    labels: Labels, voxel: Sequence[int], connectivity: Connectivity, axis: int | None, where: Mask | None
) -> tuple[Box, Mask, Mask]:
    """The box of the clicked label, its mask there, and its component's."""
    check_call(labels, where=where, axis=axis)
    if connectivity not in get_args(Connectivity):
        raise UsageError(f"connectivity {connectivity}: expected 6, 18 or 26")
    if len(voxel) != 3 or not all(0 <= n < size for n, size in zip(voxel, labels.shape, strict=True)):
        raise UsageError(f"voxel {tuple(voxel)}: the labels have shape {labels.shape}")
    label = int(labels[tuple(voxel)])
    if label == 0:
        raise UsageError(f"voxel {tuple(voxel)} is background: choose one that has a label")
    box = label_box(labels, (label,), axis=axis, index=None if axis is None else voxel[axis])
    ours = labels[box] == label
    # cc3d 4.1 reserves too little room for dense dots that touch the end of a line, and raises; a border of
    # background gives it enough.
    components = cc3d.connected_components(np.pad(ours, 1), connectivity=connectivity)[1:-1, 1:-1, 1:-1]
    here = components[tuple(n - part.start for n, part in zip(voxel, box, strict=True))]
    return box, ours, components == here


def _with(labels: Labels, box: Box, mask: Mask, label: int, where: Mask | None) -> Edit:
    old = labels[box]
    return edit_of(labels, box, np.where(mask, np.asarray(label, old.dtype), old), where)
