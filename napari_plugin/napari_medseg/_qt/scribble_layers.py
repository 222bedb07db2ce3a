"""The two layers of scribble to segment: the strokes, and the answer before it is accepted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from medseg import LabelMap
from napari_medseg.correction.correcting import Correction
from napari_medseg.correction.scribbling import (
    Stroke,
    answer_set,
    answered_labels,
    stroke_dtype,
    stroke_set,
)
from napari_medseg.layers import labels_layer
from napari_medseg.scribble.scribbles import Answer

if TYPE_CHECKING:
    from napari.layers import Labels
    from napari.viewer import Viewer

STROKES, PREVIEW = "Scribbles", "Scribble preview"
_BRUSH = 3  # voxels: a stroke is thin


def add_strokes(viewer: Viewer, correction: Correction, strokes: Sequence[Stroke]) -> Labels:
    """Add an empty layer for strokes, on the grid of the labels, and select it."""
    array = correction.session.array
    empty = np.zeros_like(array, stroke_dtype(array.dtype), order="K")
    data, options, _ = labels_layer(LabelMap(empty, correction.grid.geometry, stroke_set(strokes)), STROKES)
    layer = viewer.add_labels(data, **{**options, "opacity": 1.0, "metadata": {}})
    layer.brush_size = _BRUSH
    return layer


def show_meaning(layer: Labels, strokes: Sequence[Stroke]) -> None:
    """Give a layer of strokes the names and colours of these."""
    names = stroke_set(strokes)
    layer.colormap = {0: (0, 0, 0, 0), None: (1, 1, 1, 1)} | {
        one.id: (*(c / 255 for c in one.colour), 1.0) for one in names
    }
    layer.features = {"index": [0, *names.ids], "name": ["", *names.names]}


def add_preview(viewer: Viewer, correction: Correction, answer: Answer, strokes: Sequence[Stroke]) -> Labels:
    """Add a layer with an answer, where it lies; what was selected stays so."""
    selected = viewer.layers.selection.active
    grid = correction.grid
    part = LabelMap(
        answered_labels(answer, strokes, correction.session.facts.dtype),
        grid.geometry.cropped(tuple(side.start for side in answer.box), answer.labels.shape),
        answer_set(strokes),
    )
    data, options, _ = labels_layer(part, PREVIEW)
    # An oblique part alone would be turned about its own centre, not about the scan's.
    first = [
        grid.slice_coordinate(axis, answer.box[axis].stop - 1 if flipped else answer.box[axis].start)
        for axis, flipped in zip(grid.axes, grid.flipped, strict=True)
    ]
    layer = viewer.add_labels(data, **{**options, "translate": first, "metadata": {}, "opacity": 1.0})
    layer.contour = 1  # the labels below stay in sight
    layer.editable = False
    viewer.layers.selection.active = selected
    return layer


def new_answer(layer: Labels, correction: Correction, answer: Answer, strokes: Sequence[Stroke]) -> None:
    """Show a later answer to the same strokes in its layer."""
    dtype: np.dtype[Any] = correction.session.facts.dtype
    layer.data = correction.grid.to_layer(answered_labels(answer, strokes, dtype))
