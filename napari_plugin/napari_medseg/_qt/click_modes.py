"""What a click or a drag in the canvas means while a tool waits for one: a piece, or the threshold brush."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import QObject, Signal

from napari_medseg._qt.connections import Connections
from napari_medseg._qt.layer_link import LayerLink
from napari_medseg.correction.limits import Limits
from napari_medseg.correction.tools import Voxel
from napari_medseg.editing.arguments import Over

if TYPE_CHECKING:
    from napari.layers import Labels

_NAVIGATE = "pan_zoom"
_CLICK_PIXELS = 3  # the mouse that moves farther drags the picture, as ever


class CanvasMode(QObject):
    """At most one tool that takes the mouse; napari's own tools end it, and so does `stop`.

    ``changed`` is emitted with the name of the tool that has the mouse, "" for none.
    """

    changed = Signal(str)

    def __init__(self, link: LayerLink, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._link = link
        self._callback: Callable[[Labels, Any], Any] | None = None
        self.name = ""
        self._made = Connections(self)
        self._made.add(link.layer.events.mode, self.stop)

    def click(self, name: str, clicked: Callable[[Voxel], None]) -> None:
        """The next click on a voxel of the scan is for ``clicked``."""

        def press(layer: Labels, event: Any) -> Iterator[None]:
            pressed = np.array(event.pos)
            yield
            while event.type == "mouse_move":
                yield
            grid = self._link.correction.grid
            voxel = grid.voxel(_own_point(layer, event))
            still = bool(np.all(np.abs(np.asarray(event.pos) - pressed) <= _CLICK_PIXELS))
            inside = all(0 <= n < size for n, size in zip(voxel, grid.geometry.shape, strict=True))
            if still and inside:
                self.stop()
                clicked(voxel)

        self._begin(name, press, "cross")

    def brush(self, name: str, limits: Callable[[], Limits]) -> None:
        """Drags paint within limits by a brush of napari's size; ``preserve_labels`` holds for it too."""

        def press(layer: Labels, event: Any) -> Iterator[None]:
            with layer.block_history():  # one stroke for napari, too
                points = [_own_point(layer, event)]
                self._dab(layer, points, limits())
                yield
                while event.type == "mouse_move":
                    points = [points[-1], _own_point(layer, event)]
                    self._dab(layer, points, limits())
                    yield

        self._begin(name, press, "circle")
        self._link.layer.mouse_pan = False

    def stop(self) -> None:
        """Give the mouse back to napari."""
        layer, callback = self._link.layer, self._callback
        if callback is None:
            return
        self._callback, self.name = None, ""
        layer.mouse_drag_callbacks.remove(callback)
        layer.mouse_pan = layer.mode == _NAVIGATE
        if layer.mode == _NAVIGATE:
            layer.cursor = "standard"
        self.changed.emit("")

    def end(self) -> None:
        """Stop, for good."""
        self.stop()
        self._made.drop()

    def _begin(self, name: str, callback: Callable[[Labels, Any], Any], cursor: str) -> None:
        self.stop()
        layer = self._link.layer
        layer.mode = _NAVIGATE
        self._callback, self.name = callback, name
        layer.mouse_drag_callbacks.append(callback)
        layer.cursor_size = layer.brush_size
        layer.cursor = cursor
        self.changed.emit(name)

    def _dab(self, layer: Labels, points: list[Any], limits: Limits) -> None:
        link = self._link
        correction, displayed = link.correction, link.displayed
        radius = layer.brush_size / 2 * min(correction.grid.scale[n] for n in displayed)
        is_ball = layer.n_edit_dimensions == 3 and not correction.grid.geometry.is_2d
        label = int(layer.selected_label)
        over: Over = "background" if layer.preserve_labels and label else "all"
        edit = correction.dab(label, points, radius, None if is_ball else link.place.axis, over, limits)
        changed = edit.values != correction.session.array[edit.box]
        if not changed.any():
            return
        # Through napari, which draws the changed part alone and tells of it.
        indices = tuple(n + part.start for n, part in zip(np.nonzero(changed), edit.box, strict=True))
        layer.data_setitem(correction.grid.layer_indices(indices), label)


def _own_point(layer: Labels, event: Any) -> Any:
    return np.asarray(event.position)[-layer.ndim :]
