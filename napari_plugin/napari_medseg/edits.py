"""Edits of a label array: new ids for a box of it. Pure: no Qt, no viewer, nothing is changed until applied.

Arrays are (I, J, K) as in `medseg.LabelMap`, with an axis of length 1 for a picture; 0 is background. Every
edit of this plugin is a function that takes the label array, leaves it as it is, and returns an `Edit`:

- here, those that move ids about: `merge_labels`, `swap_labels`, `copy_slice`;
- `morphology`: `smooth`, `grow`, `shrink`, `fill_holes`;
- `components`: `keep_component`, `remove_component`, `split_component`;
- `brush`: `paint`, also with a threshold;
- `slice_interpolation`: `interpolate_slices`.

Keywords that they share:

where
    Bool array (I, J, K): the only voxels that may change; None means all. `allowed` makes one.
over
    Which voxels a label may take: ``"background"`` or ``"all"``, that is other labels' as well.
axis, index
    With `axis`, each slice across that axis is treated by itself, in 2D; with `index` too, only that slice.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medseg import UsageError
from napari_medseg.editing.arguments import Over, check_call, check_mask, check_shape
from napari_medseg.editing.boxes import (
    Box,
    Labels,
    Mask,
    bounding_box,
    bounds,
    has_label,
    inside,
    label_box,
    slice_box,
)


@dataclass(frozen=True, slots=True, eq=False)
class Edit:
    """New label ids for a box of a label array (I, J, K).

    Apply it to the array that it was made from, before anything else changes the box: it holds the ids of
    all voxels there, also of those that stay.

    Parameters
    ----------
    box
        Slices with a start and a stop and no step. Of an edit that changes nothing, all are empty.
    values
        The ids, of the label array's type and the box's shape.
    """

    box: Box
    values: Labels

    def __post_init__(self) -> None:
        for part in self.box:
            if part.start is None or part.stop is None or part.step is not None or part.start < 0:
                raise UsageError(f"box {self.box}: expected starts of 0 or more, stops, and no step")
        shape = tuple(part.stop - part.start for part in self.box)
        if shape != self.values.shape:
            raise UsageError(
                f"values of shape {self.values.shape} for a box of shape {shape}: expected the same"
            )

    @property
    def is_empty(self) -> bool:
        """Whether it changes nothing."""
        return self.values.size == 0

    def apply(self, labels: Labels) -> int:
        """Write the values into ``labels``, in place; returns how many voxels changed.

        Raises
        ------
        medseg.UsageError
            If the array has another type, or the box reaches out of it.
        """
        if labels.dtype != self.values.dtype:
            raise UsageError(f"labels are {labels.dtype}, the edit was made for {self.values.dtype}")
        if any(part.stop > size for part, size in zip(self.box, labels.shape, strict=True)):
            raise UsageError(f"labels of shape {labels.shape}: the edit's box {self.box} reaches out of it")
        changed = int(np.count_nonzero(labels[self.box] != self.values))
        labels[self.box] = self.values
        return changed


def allowed(
    labels: Labels,
    *,
    inside_labels: Collection[int] | None = None,
    image: NDArray[Any] | None = None,
    intensity: tuple[float, float] | None = None,
    region: Mask | None = None,
) -> Mask | None:
    """Which voxels may change: those that meet every condition given. None, everywhere, if none is given.

    Voxel by voxel, so that it may be asked about a box alone: give that box of each array.

    Parameters
    ----------
    labels
        The label array.
    inside_labels
        Ids; a voxel must have one of them. 0 is background. Of no ids, no voxel may change.
    image, intensity
        A scan of the same shape and the range (lowest, highest), ends included, in which it must lie. NaN
        lies in no range.
    region
        Bool array of the same shape.
    """
    if (image is None) != (intensity is None):
        raise UsageError("an image needs an intensity range, and a range an image: give both or neither")
    conditions: list[Mask] = []
    if inside_labels is not None:
        conditions.append(has_label(labels, inside_labels))
    if image is not None and intensity is not None:
        check_shape("image", image, labels)
        low, high = intensity
        if not low <= high:
            raise UsageError(f"intensity range {low:g} to {high:g}: expected the lower end first")
        conditions.append((image >= low) & (image <= high))
    if region is not None:
        check_mask("region", region, labels)
        conditions.append(region)
    if not conditions:
        return None
    where = conditions[0]
    for condition in conditions[1:]:
        where = where & condition
    return where


def merge_labels(labels: Labels, ids: Collection[int], into: int, *, where: Mask | None = None) -> Edit:
    """Give all voxels of ``ids`` the one id ``into``, which may be among them; 0 removes them."""
    check_call(labels, ids=(into,), where=where)
    box = label_box(labels, ids)
    old = labels[box]
    new = np.where(has_label(old, ids), np.asarray(into, old.dtype), old)
    return edit_of(labels, box, new, where)


def swap_labels(
    labels: Labels, pairs: Collection[tuple[int, int]], *, box: Box | None = None, where: Mask | None = None
) -> Edit:
    """Exchange the ids of each pair, such as left and right: everywhere, or in ``box`` alone.

    An id that no voxel has may be in a pair; 0 may be too.
    """
    ids = [one for pair in pairs for one in pair]
    check_call(labels, ids=ids, where=where)
    if len(set(ids)) < len(ids):
        raise UsageError(f"pairs {list(pairs)}: an id is there twice, so what it becomes is open")
    box = bounds(box, labels.shape) if box is not None else label_box(labels, ids)
    old = labels[box]
    new = old.copy()
    for first, second in pairs:
        new[old == first] = second
        new[old == second] = first
    return edit_of(labels, box, new, where)


def copy_slice(
    labels: Labels,
    ids: Collection[int],
    axis: int,
    source: int,
    target: int,
    *,
    replace: bool = False,
    where: Mask | None = None,
    over: Over = "background",
) -> Edit:
    """Copy the labels of slice ``source`` across ``axis`` to slice ``target``.

    Parameters
    ----------
    ids
        The labels to copy; others in the source slice are left out.
    replace
        Whether what the target slice holds of ``ids`` goes first. Else it is added to.
    """
    check_call(labels, ids=ids, where=where, over=over, axis=axis, index=source)
    check_call(labels, axis=axis, index=target)
    box = slice_box(labels.shape, axis, target)
    old, copied = labels[box], labels[slice_box(labels.shape, axis, source)]
    new = old.copy()
    if replace:
        new[has_label(old, ids)] = 0
    taken = has_label(copied, ids) & (copied != 0)
    if over == "background":
        taken &= new == 0
    new[taken] = copied[taken]
    return edit_of(labels, box, new, where)


def edit_of(labels: Labels, box: Box, values: Labels, where: Mask | None = None) -> Edit:
    """The edit that makes ``labels[box]`` be ``values`` where that is allowed, cut to what changes."""
    old = labels[box]
    changed = old != values
    if where is not None:
        changed &= where[box]
    inner = bounding_box(changed)
    return Edit(inside(box, inner), np.where(changed[inner], values[inner], old[inner]))
