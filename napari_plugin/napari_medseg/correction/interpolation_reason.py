"""Why interpolating between slices changed nothing, in words that fit the window's sliders."""

from __future__ import annotations

import numpy as np

from medseg import LabelSet
from napari_medseg.correction.tools import Job
from napari_medseg.layers import LayerGrid
from napari_medseg.panels.words import listed

_PLANES = ("axial", "coronal", "sagittal")  # along each axis of a layer, as the sliders are named


def why_not_interpolated(job: Job, grid: LayerGrid, names: LabelSet) -> str:
    """What interpolating needs, and which slices hold the label. Slices count as the window's slider does."""
    name = names[job.label].name if job.label in names.ids else ""
    label = f"label {job.label} ({name})" if name else f"label {job.label}"
    if job.axis not in grid.axes:  # a picture
        return f"Needs slices of {label} to fill between, and a picture has one."
    layer_axis = grid.axes.index(job.axis)
    held = np.flatnonzero((job.labels == job.label).any(axis=tuple(n for n in range(3) if n != job.axis)))
    last = job.labels.shape[job.axis] - 1
    shown = [last - int(n) if grid.flipped[layer_axis] else int(n) for n in held]
    plane = _PLANES[layer_axis]
    if len(held) > 1 and np.diff(held).max() > 1:
        return (
            f"Between the {plane} slices with {label} ({listed(shown)}) nothing is left to fill: other "
            "labels or the limits of Edit only inside are in the way, or what lies there is too small."
        )
    found = f"found slice{'s' * (len(shown) > 1)} {listed(shown)}" if shown else "found none"
    return f"Needs two or more {plane} slices with {label} and empty ones between; {found}."
