"""What a stroke of napari's own tools painted over, from its `paint` event. No Qt, no viewer, no napari.

The event's value lists the edits of one stroke in order. Up to napari 0.8 each is (indices, values before,
value after); later it is a named tuple with ``slice_key``, ``mask`` and ``old_values``, where a mask of None
stands for the whole box.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

LayerBox = tuple[slice, ...]


def stroke_box(atoms: Sequence[Any]) -> LayerBox:
    """The smallest box of the layer's data that holds all edits of a stroke; at least one."""
    return box_around([_box(atom) for atom in atoms])


def box_around(boxes: Sequence[LayerBox]) -> LayerBox:
    """The smallest box that holds boxes, of which there is at least one."""
    return tuple(
        slice(min(part.start for part in parts), max(part.stop for part in parts))
        for parts in zip(*boxes, strict=True)
    )


def before_stroke(data: NDArray[Any], atoms: Sequence[Any], box: LayerBox) -> NDArray[Any]:
    """What a box that holds a stroke looked like before it.

    Parameters
    ----------
    data
        The layer's data, after the stroke.
    atoms
        The value of the event.
    box
        From `stroke_box`.
    """
    region = data[box].copy()
    for atom in reversed(atoms):
        if hasattr(atom, "slice_key"):
            inner = region[_shifted(atom.slice_key, box)]
            inner[... if atom.mask is None else atom.mask] = atom.old_values
        else:
            indices, old, _ = atom
            region[tuple(np.asarray(n) - part.start for n, part in zip(indices, box, strict=True))] = old
    return region


def _box(atom: Any) -> LayerBox:
    if hasattr(atom, "slice_key"):
        return tuple(slice(int(part.start), int(part.stop)) for part in atom.slice_key)
    indices, _, _ = atom
    return tuple(slice(int(n.min()), int(n.max()) + 1) for n in map(np.asarray, indices))


def _shifted(inner: Sequence[slice], outer: LayerBox) -> LayerBox:
    return tuple(slice(a.start - b.start, a.stop - b.start) for a, b in zip(inner, outer, strict=True))
