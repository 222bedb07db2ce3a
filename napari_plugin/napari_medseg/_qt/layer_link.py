"""A labels layer joined to its correction: every change is announced, undo goes through the session."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import QObject, Qt, QTimer, Signal

from medseg import UsageError
from napari_medseg._qt.connections import Connections
from napari_medseg._qt.layer_sessions import session_of, set_session
from napari_medseg._qt.shortcuts import bind, unbind
from napari_medseg._qt.watched_layer import WatchedLayer, other_views
from napari_medseg.correction.correcting import Correction, Place
from napari_medseg.correction.limits import Limits

if TYPE_CHECKING:
    from napari.layers import Labels
    from napari.viewer import Viewer

_LOOK_EVERY_MS = 1000


class LayerLink(QObject):
    """Listens to a layer while it is corrected, and to layers on its memory in other views.

    napari's undo and redo and writes to the array announce nothing: the session's own thread finds them, and
    keeps them to the limits.

    ``edited`` is emitted after changes that came by the layer or by undo, ``failed`` with an error.
    """

    edited = Signal()
    failed = Signal(object)
    _put_back = Signal()

    def __init__(
        self, viewer: Viewer, layer: Labels, correction: Correction, parent: QObject | None = None
    ) -> None:
        super().__init__(parent)
        self.layer, self.correction = layer, correction
        self._viewer = viewer
        self.is_over = False
        self._is_due = False
        if layer.data is not correction.layer_data and not np.shares_memory(
            layer.data, correction.session.array
        ):
            layer.data = correction.layer_data
        self._before = session_of(layer)
        set_session(layer, correction.session)
        self._made = Connections(self)
        self._own = WatchedLayer(viewer, layer, correction, self._finish_soon, self)
        self._others: dict[int, WatchedLayer] = {}
        self._made.add(layer.events.data, self._replaced)
        self._made.add(viewer.dims.events.current_step, self._visit)
        # The session's thread tells of it.
        self._put_back.connect(self._show_put_back, Qt.ConnectionType.QueuedConnection)
        correction.session.put_back = self._put_back.emit
        self._timer = QTimer(self)
        self._timer.setInterval(_LOOK_EVERY_MS)
        self._timer.timeout.connect(self.join_views)
        self._timer.start()
        self.join_views()
        self._visit()

    def end(self) -> None:
        """Stop listening, and let the layer be painted on as before."""
        self.is_over = True
        self._timer.stop()
        self.correction.limits = Limits()
        self.correction.session.put_back = None
        self.layer.editable = True
        self._made.drop()
        self._own.drop()
        for key in list(self._others):
            self._part(key)
        set_session(self.layer, self._before)  # a session that was borrowed is still its owner's

    def join_views(self) -> None:
        """Make strokes in other views steps within the limits, too, and undo there the session's."""
        found = {
            id(layer): (view, layer) for view, layer in other_views(self.layer, self.correction.session.array)
        }
        for key in self._others.keys() - found.keys():
            self._part(key)
        for key in found.keys() - self._others.keys():
            view, layer = found[key]
            self._others[key] = WatchedLayer(view, layer, self.correction, self._finish_soon, self)
            bind(layer, {"undo": self._undo_elsewhere, "redo": self._redo_elsewhere})

    def refresh(self) -> None:
        """Draw the layer anew in all views."""
        self.layer.refresh()
        for other in self._others.values():
            other.layer.refresh()

    def within_limits(self) -> AbstractContextManager[None]:
        """Strokes that end in here keep to the limits by themselves: nobody needs to look at them."""
        return self._own.within_limits()

    @property
    def displayed(self) -> tuple[int, ...]:
        """The layer's axes that are on show."""
        return self._own.displayed

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
            self.refresh()
        self.edited.emit()

    def _undo_elsewhere(self) -> None:
        if self.layer.editable:  # else a tool is at work on it
            self.undo()

    def _redo_elsewhere(self) -> None:
        if self.layer.editable:
            self.redo()

    def _part(self, key: int) -> None:
        other = self._others.pop(key)
        other.drop()
        unbind(other.layer)

    def _finish_soon(self) -> None:
        # napari tells of a stroke before the last of it is written: what it did is looked at afterwards.
        if not self._is_due:
            self._is_due = True
            QTimer.singleShot(0, self._finish)

    def _finish(self) -> None:
        """Keep the strokes that have ended to the limits, and end the step that they are."""
        if not self.is_over:
            layers = (self._own, *self._others.values())
            taken_back = [one for one in layers if one.keep_strokes()]  # and drawn anew
            for one in layers if taken_back else ():
                if taken_back != [one]:
                    one.layer.refresh()
            self.correction.session.end_step()
            self.edited.emit()
        self._is_due = False  # what was taken back is told of as a stroke, too

    def _show_put_back(self) -> None:
        if not self.is_over:
            self.refresh()
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
        # A window that loses its last layer of three axes drops an axis before it tells of the loss.
        if self._viewer.dims.ndim >= self.layer.ndim:
            self.correction.visit(self.place)
