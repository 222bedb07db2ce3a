"""Scribble to segment: strokes in a layer, an answer as a preview, accept or cancel."""

from __future__ import annotations

from collections.abc import Iterator
from threading import Event
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from qtpy.QtCore import Signal
from qtpy.QtGui import QColor, QIcon, QPixmap
from qtpy.QtWidgets import QGridLayout, QLabel, QListWidget, QListWidgetItem, QVBoxLayout, QWidget
from superqt.utils import create_worker

from medseg import UsageError
from napari_medseg._qt.layer_link import LayerLink
from napari_medseg._qt.scribble_layers import add_preview, add_strokes, new_answer, show_meaning
from napari_medseg._qt.shortcuts import bind
from napari_medseg._qt.tool_panels import button
from napari_medseg.correction.scribbling import Stroke, legend, with_structure
from napari_medseg.scribble.scribbles import Answer, segment_scribbles

if TYPE_CHECKING:
    from napari.layers import Labels
    from napari.viewer import Viewer

_SWATCH = 12
_ROWS_SEEN = 5
_HOW = "Draw a stroke inside the structure and one outside, in any slice, then press Segment."
_FIRST, _REFINED = "A first answer is shown; it is being refined.", "The answer is refined."


class ScribblePanel(QWidget):
    """``accepted`` is emitted with the answer and its strokes, ``failed`` with an error."""

    accepted = Signal(object, object)
    failed = Signal(object)

    def __init__(self, viewer: Viewer, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._viewer = viewer
        self._link: LayerLink | None = None
        self._cancelled = Event()
        self.strokes: tuple[Stroke, ...] = ()
        self.layer: Labels | None = None
        self.preview: Labels | None = None
        self.answer: Answer | None = None
        self.running = False
        self.legend = QListWidget()
        self.legend.setToolTip("Choose what the next stroke is")
        self.status = QLabel(_HOW)
        self.status.setWordWrap(True)
        self.draw = button("Draw scribbles", "Add a layer for strokes, or go on drawing there")
        self.segment = button("Segment", "Find the structures that the strokes are in")
        self.accept = button("Accept", "Write the answer into the labels, as one step of undo")
        self.cancel = button("Cancel", "Drop the answer; the strokes stay")
        self.clear = button("Clear strokes", "Remove all strokes")
        self._lay_out()
        self.legend.currentRowChanged.connect(self._take_value)
        self.draw.clicked.connect(self.begin_drawing)
        self.segment.clicked.connect(self.start_segmenting)
        self.accept.clicked.connect(self._accept)
        self.cancel.clicked.connect(self.drop)
        self.clear.clicked.connect(self._clear)
        self.destroyed.connect(self._cancelled.set)

    def start(self, link: LayerLink) -> None:
        """Offer the structures of a case."""
        self._link = link
        try:
            self.strokes = legend(link.correction.session.labels.labels)
        except UsageError as error:
            self.strokes = ()
            self.status.setText(str(error))
        self._fill()
        self._enable()

    def end(self) -> None:
        """Drop the answer, the strokes and their layer: the case is no longer corrected."""
        self.drop()
        if self.layer is not None and self.layer in self._viewer.layers:
            self._viewer.layers.remove(self.layer)
        self.layer, self._link, self.strokes = None, None, ()
        self._fill()
        self._enable()

    def begin_drawing(self) -> None:
        """Draw strokes: those of the selected label, where that is a structure."""
        link = self._link
        if link is None or not self.strokes:
            return
        if label := int(link.layer.selected_label):
            self.strokes = with_structure(self.strokes, label)
        if self.layer is None or self.layer not in self._viewer.layers:
            self.layer = add_strokes(self._viewer, link.correction, self.strokes)
            bind(self.layer, {"scribble": self.segment.click})  # as on the labels
        else:
            show_meaning(self.layer, self.strokes)
        self._fill()
        rows = [one.label for one in self.strokes]
        self.legend.setCurrentRow(rows.index(label) if label in rows else 0)
        self._take_value(self.legend.currentRow())
        self._enable()

    def start_segmenting(self) -> None:
        """Answer the strokes, in the background."""
        link = self._link
        if link is None or self.layer is None or self.layer not in self._viewer.layers:
            self.begin_drawing()
            return
        self.drop()
        self._cancelled = Event()
        self.destroyed.connect(self._cancelled.set)
        self.running = True
        self.status.setText("Looking for the structures …")
        self._enable()
        create_worker(
            _answers,
            link.correction.image,
            link.correction.grid.to_array(np.asarray(self.layer.data)),
            link.correction.grid.geometry.spacing,
            self._cancelled,
            _connect={"yielded": self._show, "errored": self._fail, "finished": self._finish},
            _start_thread=True,
        )

    def drop(self) -> None:
        """End what runs, and take the preview away."""
        self._cancelled.set()
        self.answer = None
        if self.preview is not None and self.preview in self._viewer.layers:
            self._viewer.layers.remove(self.preview)
        self.preview = None
        self.status.setText("Cancelling …" if self.running else _HOW)
        self._enable()

    def _accept(self) -> None:
        if self.answer is not None:
            answer = self.answer
            self.drop()
            self.accepted.emit(answer, self.strokes)

    def _clear(self) -> None:
        self.drop()
        if self.layer is not None:
            self.layer.data = np.zeros_like(self.layer.data)

    def _show(self, answer: Answer) -> None:
        if self._cancelled.is_set() or self._link is None:
            return
        correction = self._link.correction
        if self.preview is None or self.preview not in self._viewer.layers:
            self.preview = add_preview(self._viewer, correction, answer, self.strokes)
        else:
            new_answer(self.preview, correction, answer, self.strokes)
        self.answer = answer
        self.status.setText(_REFINED if answer.is_final else _FIRST)
        self._enable()

    def _fail(self, error: Exception) -> None:
        self.drop()
        self.failed.emit(error)

    def _finish(self) -> None:
        self.running = False
        if self.answer is None:
            self.status.setText(_HOW)
        self._enable()

    def _take_value(self, row: int) -> None:
        if self.layer is None or self.layer not in self._viewer.layers or row < 0:
            return
        self._viewer.layers.selection.active = self.layer
        self.layer.selected_label = self.strokes[row].value
        self.layer.mode = "paint"

    def _fill(self) -> None:
        self.legend.blockSignals(True)
        self.legend.clear()
        for one in self.strokes:
            swatch = QPixmap(_SWATCH, _SWATCH)
            swatch.fill(QColor(*one.colour))
            self.legend.addItem(QListWidgetItem(QIcon(swatch), f"{one.value}: {one.name}"))
        row = max(self.legend.fontMetrics().lineSpacing() + 6, 22)
        self.legend.setFixedHeight(row * min(max(len(self.strokes), 1), _ROWS_SEEN) + 6)
        self.legend.blockSignals(False)

    def _enable(self) -> None:
        can = self._link is not None and self._link.correction.image is not None and bool(self.strokes)
        if self._link is not None and self._link.correction.image is None:
            self.status.setText("Needs a scan on the grid of the labels: choose one before the start.")
        self.draw.setEnabled(can)
        self.segment.setEnabled(can and self.layer is not None and not self.running)
        self.accept.setEnabled(self.answer is not None)
        cancelling = self.running and self._cancelled.is_set()
        self.cancel.setEnabled(not cancelling and (self.running or self.answer is not None))
        self.clear.setEnabled(self.layer is not None)

    def _lay_out(self) -> None:
        grid = QGridLayout()
        grid.addWidget(self.segment, 0, 0, 1, 2)
        grid.addWidget(self.accept, 1, 0)
        grid.addWidget(self.cancel, 1, 1)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        for part in (self.status, self.draw, self.legend):
            layout.addWidget(part)
        layout.addLayout(grid)
        layout.addWidget(self.clear)


def _answers(
    image: NDArray[Any], seeds: NDArray[Any], spacing: tuple[float, float, float], cancelled: Event
) -> Iterator[Answer]:
    # A copy: strokes may be drawn meanwhile, and are for the next answer.
    yield from segment_scribbles(image, seeds.copy(), spacing, cancelled=cancelled.is_set)
