"""What a click or a drag in the canvas means while a tool waits for one: a piece, or the threshold brush."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import QObject, Signal

from napari_medseg._qt.connections import Connections
from napari_medseg._qt.layer_link import LayerLink
from napari_medseg.correction.limits import Limits
from napari_medseg.correction.strokes import box_around
from napari_medseg.correction.tools import Voxel
from napari_medseg.editing.arguments import Over
from napari_medseg.editing.boxes import Box

if TYPE_CHECKING:
    from napari.layers import Labels

_NAVIGATE = "pan_zoom"
_CLICK_PIXELS = 3  # the mouse that moves farther drags the picture, as ever


@dataclass(frozen=True, slots=True, eq=False)
class _Brush:
    """What `Correction.dab` asks for, other than the way, and the boxes that were painted in."""

    label: int
    radius: float
    axis: int | None
    over: Over
    limits: Limits
    boxes: list[Box] = field(default_factory=list)


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
            with self._link.within_limits(), layer.block_history():  # one stroke for napari, too
                brush = self._taken_up(limits())
                at = self._dab(layer, brush, None, event)
                yield
                while event.type == "mouse_move":
                    at = self._dab(layer, brush, at, event)
                    yield
                if brush.boxes:
                    i, j, k = box_around(brush.boxes)
                    self._link.correction.session.changed((i, j, k))

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

    def _taken_up(self, limits: Limits) -> _Brush:
        """The brush as it is when a stroke begins, and stays until its end."""
        link, layer = self._link, self._link.layer
        grid, label = link.correction.grid, int(layer.selected_label)
        is_ball = layer.n_edit_dimensions == 3 and not grid.geometry.is_2d
        return _Brush(
            label,
            layer.brush_size / 2 * min(grid.scale[n] for n in link.displayed),
            None if is_ball else link.place.axis,
            "background" if layer.preserve_labels and label else "all",
            limits,
        )

    def _dab(self, layer: Labels, brush: _Brush, last: Voxel | None, event: Any) -> Voxel:
        """Paint from the last voxel, None for the first dab, to where the mouse is, which is returned."""
        correction = self._link.correction
        at = correction.grid.voxel(event.position[-layer.ndim :])
        if at == last:
            return at
        if last is None or (brush.axis is not None and last[brush.axis] != at[brush.axis]):
            last = at  # the wheel may show another slice in the middle of a stroke
        box, voxels = correction.dab(
            brush.label, last, at, brush.radius, brush.axis, brush.over, brush.limits
        )
        if len(voxels[0]):
            brush.boxes.append(box)
            # Through napari, which draws the changed part alone and tells of it.
            layer.data_setitem(voxels, brush.label)
        return at


def _own_point(layer: Labels, event: Any) -> Any:
    return np.asarray(event.position)[-layer.ndim :]
