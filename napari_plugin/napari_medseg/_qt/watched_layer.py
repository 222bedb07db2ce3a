"""A labels layer in one view of the array that is corrected, and the other views of that array."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Labels
from napari.qt import QtViewer
from numpy.typing import NDArray
from qtpy.QtCore import QObject
from qtpy.QtWidgets import QApplication

from napari_medseg._qt.connections import Connections
from napari_medseg.correction.correcting import Correction

if TYPE_CHECKING:
    from napari.components import ViewerModel

_DRAWN_ALONE = 1 << 14  # voxels; of more, to draw the whole slice is quicker


class WatchedLayer:
    """Makes a stroke in a layer a step of the session, and keeps what it painted over until it is looked at.

    Parameters
    ----------
    view
        The view that the layer is in.
    ended
        Called when a stroke has ended; napari may still write the last of it.
    owner
        With which the watching ends.
    """

    def __init__(
        self,
        view: ViewerModel,
        layer: Labels,
        correction: Correction,
        ended: Callable[[], None],
        owner: QObject,
    ) -> None:
        self.layer = layer
        self._view, self._correction, self._ended = view, correction, ended
        self._strokes: list[list[Any]] = []
        self._within_limits = False
        self._made = Connections(owner)
        self._made.add(layer.events.paint, self._stroke_ended)
        # Before napari's own: its first dab belongs to the stroke already.
        layer.mouse_drag_callbacks.insert(0, self._press)

    def drop(self) -> None:
        """Stop watching."""
        self._made.drop()
        if self._press in self.layer.mouse_drag_callbacks:
            self.layer.mouse_drag_callbacks.remove(self._press)

    @property
    def displayed(self) -> tuple[int, ...]:
        """The layer's axes that are on show."""
        dims = self._view.dims
        ahead = dims.ndim - self.layer.ndim  # a window may have more axes than the layer
        return tuple(n - ahead for n in dims.displayed if n >= ahead)

    @contextmanager
    def within_limits(self) -> Iterator[None]:
        """Strokes that end in here keep to the limits by themselves: nobody needs to look at them."""
        self._within_limits = True
        try:
            yield
        finally:
            self._within_limits = False

    def keep_strokes(self) -> bool:
        """Keep the strokes that have ended to the limits; whether something was taken back."""
        strokes, self._strokes = self._strokes, []
        with self.within_limits():
            finish = self._correction.finish_stroke
            taken_back = [finish(self.layer.data, atoms, self._put) for atoms in strokes]
        return any(taken_back)

    def _put(self, indices: tuple[NDArray[np.int64], ...], values: NDArray[Any]) -> None:
        if len(values) <= _DRAWN_ALONE:
            self.layer.data_setitem(indices, values)  # draws what changed
        else:
            self.layer.data[indices] = values
            self.layer.refresh()

    def _press(self, _layer: Labels, event: Any) -> Iterator[None]:
        self._correction.session.begin_step()
        yield
        while event.type == "mouse_move":
            yield
        self._ended()

    def _stroke_ended(self, event: Any) -> None:
        if not self._within_limits:
            self._strokes.append(list(event.value))
        self._ended()


def other_views(layer: Labels, array: NDArray[Any]) -> list[tuple[ViewerModel, Labels]]:
    """Labels layers other than ``layer`` that show an array in a view of napari, and those views.

    Plugins that show a case from several sides at once give each view a layer of its own on the same memory.
    """
    views = [one.viewer for one in QApplication.allWidgets() if isinstance(one, QtViewer)]
    return [
        (view, one)
        for view in views
        for one in view.layers
        if one is not layer
        and isinstance(one, Labels)
        and isinstance(one.data, np.ndarray)
        and one.data.shape == layer.data.shape
        and np.may_share_memory(one.data, array)
    ]
