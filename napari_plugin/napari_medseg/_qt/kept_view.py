"""What the window shows of one scan, to be shown of the next one: place, zoom, intensities."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Image

from napari_medseg.layers import METADATA_KEY, LayerGrid
from napari_medseg.panels.intensity import Limits
from napari_medseg.reviewing.kept_places import same_place, same_window

if TYPE_CHECKING:
    from napari.layers import Layer
    from napari.viewer import Viewer


@dataclass(frozen=True, slots=True, eq=False)
class KeptView:
    """What a window showed of a case.

    Parameters
    ----------
    grid
        The case's grid.
    ndisplay, order, point
        As in napari's ``viewer.dims``; ``point`` in layer coordinates.
    centre, zoom, angles
        As in napari's ``viewer.camera``.
    own, limits
        Contrast limits that each image opened with, and those that it had in the end.
    """

    grid: LayerGrid
    ndisplay: int
    order: tuple[int, ...]
    point: tuple[float, ...]
    centre: tuple[float, ...]
    zoom: float
    angles: tuple[float, ...]
    own: tuple[Limits, ...]
    limits: tuple[Limits, ...]


def view_of(viewer: Viewer, layers: Sequence[Layer], own: Sequence[Limits]) -> KeptView | None:
    """What the window shows of a case's layers; None where it shows other axes than theirs.

    Parameters
    ----------
    layers
        Those of the case, made by medseg, at least one.
    own
        Contrast limits that each of its images opened with.
    """
    dims, camera = viewer.dims, camera_of(viewer)
    grid = LayerGrid(layers[0].metadata[METADATA_KEY]["geometry"])
    if dims.ndim != len(grid.axes):
        return None
    return KeptView(
        grid,
        dims.ndisplay,
        tuple(dims.order),
        tuple(dims.point),
        tuple(camera.center),
        camera.zoom,
        tuple(camera.angles),
        tuple(own),
        tuple(layer.contrast_limits for layer in _images(layers)),
    )


def show_again(viewer: Viewer, view: KeptView, layers: Sequence[Layer], own: Sequence[Limits]) -> None:
    """Show a case's layers as the ones before were shown; what cannot be carried over stays as it opened."""
    for layer, before, limits, now in zip(_images(layers), view.own, view.limits, own, strict=False):
        layer.contrast_limits = same_window(limits, before, now)
    grid = LayerGrid(layers[0].metadata[METADATA_KEY]["geometry"])
    dims, camera = viewer.dims, camera_of(viewer)
    if dims.ndim != len(grid.axes) or dims.ndim != len(view.grid.axes):
        return  # a picture after a volume, or something else in the window
    dims.order, dims.ndisplay = view.order, view.ndisplay
    shown = list(dims.displayed)
    centre = np.array(view.point)
    centre[shown] = view.centre[-len(shown) :]
    point, centre = same_place(np.array((view.point, centre)), view.grid, grid)
    dims.set_point(range(dims.ndim), point.tolist())
    camera.center = (0.0,) * (3 - len(shown)) + tuple(centre[shown].tolist())
    camera.zoom, camera.angles = view.zoom, view.angles


def camera_of(viewer: Viewer) -> Any:
    """The window's camera, which napari 0.9 moved to ``viewer.scene``."""
    return viewer.scene.camera if hasattr(viewer, "scene") else viewer.camera


def _images(layers: Sequence[Layer]) -> list[Layer]:
    return [layer for layer in layers if isinstance(layer, Image) and not layer.rgb]
