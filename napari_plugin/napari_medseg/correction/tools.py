"""The correction widget's tools as functions of a job: what is asked for, and where. No Qt, no viewer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from medseg import LabelSet, UsageError
from medseg.volume import present_ids
from napari_medseg import edits
from napari_medseg.correction.limits import Limits
from napari_medseg.editing import components, morphology, slice_interpolation
from napari_medseg.editing.arguments import Over, Spacing
from napari_medseg.editing.boxes import Labels, Mask
from napari_medseg.edits import Edit

Extent = Literal["slice", "slices", "volume"]
Voxel = tuple[int, int, int]


@dataclass(frozen=True, slots=True, eq=False)
class Job:
    """What a tool works on.

    Parameters
    ----------
    labels
        The label array (I, J, K). Tools leave it as it is.
    spacing
        In mm.
    label
        The selected id.
    axis, index
        The slice that is on show: the array axis that it lies across, and where.
    extent
        Whether to work in that slice alone, in each slice across its axis by itself, or in 3D.
    over
        Whether other labels may be painted over.
    limits
        Which voxels may change.
    """

    labels: Labels
    spacing: Spacing
    label: int
    axis: int
    index: int
    extent: Extent = "volume"
    over: Over = "background"
    limits: Limits = field(default_factory=Limits)

    @property
    def where(self) -> Mask | None:
        """The voxels that may change, None for all."""
        return self.limits.where(self.labels)

    @property
    def across(self) -> int | None:
        """``axis`` of the edits: None in 3D."""
        return None if self.extent == "volume" else self.axis

    @property
    def only(self) -> int | None:
        """``index`` of the edits: None unless one slice is asked for."""
        return self.index if self.extent == "slice" else None

    @property
    def structure(self) -> int:
        """The selected id, which must not be background.

        Raises
        ------
        UsageError
            If it is 0.
        """
        if self.label == 0:
            raise UsageError("background (label 0) is selected: select the structure to change")
        return self.label


Tool = Callable[[Job], Edit]


def smooth(job: Job, mm: float) -> Edit:
    """Smooth the surface of the label, by the median in a ball of this radius."""
    return morphology.smooth(
        job.labels, (job.structure,), mm, job.spacing,
        axis=job.across, index=job.only, where=job.where, over=job.over,
    )  # fmt: skip


def grow(job: Job, mm: float) -> Edit:
    """Grow the label by this much."""
    return morphology.grow(
        job.labels, job.structure, mm, job.spacing,
        axis=job.across, index=job.only, where=job.where, over=job.over,
    )  # fmt: skip


def shrink(job: Job, mm: float) -> Edit:
    """Shrink the label by this much."""
    return morphology.shrink(
        job.labels, job.structure, mm, job.spacing, axis=job.across, index=job.only, where=job.where
    )


def fill_holes(job: Job) -> Edit:
    """Fill what the label encloses."""
    return morphology.fill_holes(
        job.labels, job.structure, job.spacing,
        axis=job.across, index=job.only, where=job.where, over=job.over,
    )  # fmt: skip


def interpolate(job: Job) -> Edit:
    """Fill the slices between those that hold the label."""
    return slice_interpolation.interpolate_slices(
        job.labels, (job.structure,), job.axis, job.spacing, where=job.where, over=job.over
    )


def copy_to(job: Job, target: int) -> Edit:
    """Copy the label from the slice on show to slice ``target``, in place of what that held of it."""
    return edits.copy_slice(
        job.labels, (job.structure,), job.axis, job.index, target,
        replace=True, where=job.where, over=job.over,
    )  # fmt: skip


def merge_into(job: Job, other: int) -> Edit:
    """Give the label's voxels to another one; to 0 removes them."""
    return edits.merge_labels(job.labels, (job.structure,), other, where=job.where)


def swap_with(job: Job, other: int) -> Edit:
    """Exchange the label and another one."""
    return edits.swap_labels(job.labels, [(job.structure, other)], where=job.where)


def keep_component(job: Job, voxel: Voxel) -> Edit:
    """Of the label that was clicked keep the piece there."""
    return components.keep_component(job.labels, voxel, axis=job.across, where=job.where)


def remove_component(job: Job, voxel: Voxel) -> Edit:
    """Remove the piece that was clicked."""
    return components.remove_component(job.labels, voxel, axis=job.across, where=job.where)


def split_component(job: Job, voxel: Voxel, names: LabelSet) -> Edit:
    """Give the piece that was clicked the smallest id above all that are named or painted."""
    new_id = free_id(job.labels, names)
    return components.split_component(job.labels, voxel, new_id, axis=job.across, where=job.where)


def free_id(labels: Labels, names: LabelSet) -> int:
    """The smallest id above all that are named or painted.

    Raises
    ------
    UsageError
        If the array's type holds none.
    """
    new = max((*names.ids, *present_ids(labels)), default=0) + 1
    if new > np.iinfo(labels.dtype).max:
        raise UsageError(f"the labels are {labels.dtype}: there is no id above {new - 1} for a new label")
    return new
