"""A labels layer joined to its correction: every change is announced, undo goes through the session."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import QObject, QTimer, Signal

from medseg import UsageError
from napari_medseg._qt.connections import Connections
from napari_medseg._qt.layer_sessions import session_of, set_session
from napari_medseg.correction.correcting import Correction, Place

if TYPE_CHECKING:
    from napari.layers import Labels
    from napari.viewer import Viewer


class LayerLink(QObject):
    """Listens to a layer while it is corrected.

    napari's undo and redo and writes to the array announce nothing: the session's own thread finds them.

    ``edited`` is emitted after changes that came by the layer or by undo, ``failed`` with an error.
    """

    edited = Signal()
    failed = Signal(object)

    def __init__(
        self, viewer: Viewer, layer: Labels, correction: Correction, parent: QObject | None = None
    ) -> None:
        super().__init__(parent)
        self.layer, self.correction = layer, correction
        self._viewer = viewer
        self.is_over = False
        self._strokes: list[list[Any]] = []
        if layer.data is not correction.layer_data and not np.shares_memory(
            layer.data, correction.session.array
        ):
            layer.data = correction.layer_data
        self._before = session_of(layer)
        set_session(layer, correction.session)
        self._made = Connections(self)
        self._made.add(layer.events.labels_update, self._painted)
        self._made.add(layer.events.paint, self._stroke_ended)
        self._made.add(layer.events.data, self._replaced)
        self._made.add(viewer.dims.events.current_step, self._visit)
        # Before napari's own: its first dab belongs to the stroke already.
        layer.mouse_drag_callbacks.insert(0, self._press)
        self._visit()

    def end(self) -> None:
        """Stop listening, and let the layer be painted on as before."""
        self.is_over = True
        self.layer.editable = True
        self._made.drop()
        if self._press in self.layer.mouse_drag_callbacks:
            self.layer.mouse_drag_callbacks.remove(self._press)
        set_session(self.layer, self._before)  # a session that was borrowed is still its owner's

    @property
    def displayed(self) -> tuple[int, ...]:
        """The layer's axes that are on show."""
        ahead = self._viewer.dims.ndim - self.layer.ndim  # a window may have more axes than the layer
        return tuple(n - ahead for n in self._viewer.dims.displayed if n >= ahead)

    @property
    def place(self) -> Place:
        """The slice on show; in a 3D view, the one that a 2D view would show."""
        ahead = self._viewer.dims.ndim - self.layer.ndim
        order = [n - ahead for n in self._viewer.dims.order if n >= ahead]
        return self.correction.place(self._viewer.dims.point[ahead:], order[0])

    def go_to(self, place: Place) -> None:
        """Show a slice."""
        grid = self.correction.grid
        n = grid.axes.index(place.axis) + self._viewer.dims.ndim - self.layer.ndim
        self._viewer.dims.set_point(n, grid.slice_coordinate(place.axis, place.index))

    def undo(self) -> None:
        """Take the last step back."""
        self._step_taken(self.correction.session.undo)

    def redo(self) -> None:
        """Make the step again that was undone last."""
        self._step_taken(self.correction.session.redo)

    def _step_taken(self, take: Any) -> None:
        try:
            box = take()
        except OSError as error:  # WriteFailed is one: nothing was undone
            self.failed.emit(error)
            return
        if box is not None:
            self.layer.refresh()
        self.edited.emit()

    def _press(self, _layer: Labels, event: Any) -> Iterator[None]:
        self.correction.session.begin_step()
        yield
        while event.type == "mouse_move":
            yield
        QTimer.singleShot(0, self._finish)

    def _painted(self, event: Any) -> None:
        self.correction.painted(event.offset, event.data.shape, self.displayed)

    def _stroke_ended(self, event: Any) -> None:
        # napari tells of a stroke before the last of it is written: what it did is looked at afterwards.
        self._strokes.append(list(event.value))
        QTimer.singleShot(0, self._finish)

    def _finish(self) -> None:
        """Keep the strokes that have ended to the limits, and end the step that they are."""
        if self.is_over:
            return
        strokes, self._strokes = self._strokes, []
        taken_back = [self.correction.finish_stroke(self.layer.data, atoms) for atoms in strokes]
        if any(taken_back):
            self.layer.refresh()
        self.correction.session.end_step()
        self.edited.emit()

    def _replaced(self) -> None:
        """Somebody gave the layer other data: it becomes the session's, or goes again."""
        session = self.correction.session
        if np.shares_memory(self.layer.data, session.array):
            return
        try:
            session.attach(self.correction.grid.to_array(np.asarray(self.layer.data)))
        except (UsageError, ValueError) as error:
            self.layer.data = self.correction.layer_data
            self.failed.emit(UsageError(f"the layer's new data was not taken: {error}"))
        self.edited.emit()

    def _visit(self) -> None:
        self.correction.visit(self.place)
