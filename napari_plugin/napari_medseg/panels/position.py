"""The point of the patient under the cursor, in words. No Qt, no viewer."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from medseg import Geometry
from napari_medseg.layers import LayerGrid

_TOWARDS = (("right", "left"), ("anterior", "posterior"), ("superior", "inferior"))


def point_text(position: ArrayLike, geometry: Geometry, scale: ArrayLike, translate: ArrayLike) -> str:
    """Where a place in the viewer lies in the patient: RAS+ mm, in words, and the voxel (i, j, k).

    Parameters
    ----------
    position
        In the viewer's world coordinates; those of leading axes that the layer does not have are ignored.
    geometry
        The grid of the layer.
    scale, translate
        The layer's, as they are now: a layer that was moved no longer shows where the patient is.
    """
    grid = LayerGrid(geometry)
    if not grid.is_at(scale, translate):
        return "the layer was moved or scaled in napari: its place in the patient is not shown"
    place = np.asarray(position, dtype=np.float64)[-len(grid.axes) :]
    world = grid.to_patient(place)
    voxel = np.rint(geometry.world_to_index(world)).astype(int)
    inside = bool(np.all((voxel >= 0) & (voxel < geometry.shape)))
    index = f"voxel ({', '.join(map(str, voxel))})" if inside else "outside the scan"
    if not geometry.spacing_known:
        return f"{index}; the file does not tell the size of a pixel"
    return f"RAS {_numbers(world)} mm\n{_words(world)}\n{index}"


def _numbers(world: Sequence[float] | np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> str:
    # Adding 0.0 makes a rounded -0.0 a 0.0.
    return ", ".join(f"{round(float(x), 1) + 0.0:.1f}" for x in world)


def _words(world: Sequence[float] | np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> str:
    """As ``12.3 mm right, 4.0 mm posterior, 30.5 mm superior``."""
    pairs = zip(world, _TOWARDS, strict=True)
    return ", ".join(f"{abs(x):.1f} {plus if x >= 0 else minus}" for x, (plus, minus) in pairs)
