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

from medseg import UsageError, Verdict
from napari_medseg._qt.banner_label import BannerLabel
from napari_medseg._qt.layer_link import LayerLink
from napari_medseg._qt.scribble_layers import add_preview, add_strokes, new_answer, show_meaning
from napari_medseg._qt.shortcuts import bind
from napari_medseg._qt.tool_panels import button
from napari_medseg.correction.scribbling import (
    NO_OUTSIDE,
    Stroke,
    legend,
    seeds_of,
    stroke_dtype,
    with_drawn,
    with_structure,
)
from napari_medseg.scribble.scribbles import OUTSIDE, Answer, segment_scribbles

if TYPE_CHECKING:
    from napari.layers import Labels
    from napari.viewer import Viewer

_SWATCH = 12
_ROWS_SEEN = 5
_HOW = "Draw a stroke inside the structure and one outside around it, in any slice. Then press Segment."
_FIRST = "A first answer is shown, and is being refined."
_REFINED = "The answer is refined. Accept it, or add strokes where it is wrong and press Segment again."
_PUT_AWAY = "The strokes are hidden. Draw scribbles shows them again, to go on; Clear strokes removes them."
_CANCELLING = "Cancelling …"
_NO_SCAN = "Needs a scan on the grid of the labels: choose or open one above."


class ScribblePanel(QWidget):
    """``answered`` is emitted once an answer is shown, ``accepted`` with it and its strokes if it is taken.

    ``failed`` is emitted with an error.
    """

    answered = Signal()
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
        self.warning = BannerLabel()
        self.effect = QLabel()
        self.effect.setWordWrap(True)
        self.foretell("")
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
        self.status.setText(_HOW)
        session = link.correction.session
        try:
            self.strokes = legend(session.labels.labels, stroke_dtype(session.facts.dtype))
        except UsageError as error:
            self.strokes = ()
            self.status.setText(str(error))
        self._fill()
        self._enable()

    def take_scan(self) -> None:
        """The case has another scan, or none: an answer to the old one is dropped."""
        self.drop()

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
            try:
                dtype = stroke_dtype(link.correction.session.facts.dtype)
                self.strokes = with_structure(self.strokes, label, dtype)
            except UsageError as error:
                self.failed.emit(error)
                return
        if self.layer is None or self.layer not in self._viewer.layers:
            self.layer = add_strokes(self._viewer, link.correction, self.strokes)
            bind(self.layer, {"scribble": self.segment.click})  # as on the labels
        else:
            show_meaning(self.layer, self.strokes)
        self._show_strokes()
        if self.status.text() == _PUT_AWAY:
            self.status.setText(_HOW)
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
        self._show_strokes()  # an answer is seen beside what it answers
        self._cancelled = Event()
        self.destroyed.connect(self._cancelled.set)
        self.running = True
        self.status.setText("Looking for the structures …")
        self._enable()
        create_worker(
            _answers,
            link.correction.image,
            # A copy: strokes may be drawn meanwhile, and are for the next answer.
            link.correction.grid.to_array(np.array(self.layer.data)),
            self.strokes,
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
        self.warning.hide()
        self.foretell("")
        self.status.setText(_CANCELLING if self.running else _HOW)
        self._enable()

    def put_away(self) -> None:
        """The answer is in the labels: it goes, the strokes are hidden, and the labels are selected again."""
        self.drop()
        if self._link is None:
            return
        if self.layer is not None and self.layer in self._viewer.layers:
            self.layer.visible = False
        self._viewer.layers.selection.active = self._link.layer
        self.status.setText(_PUT_AWAY)

    def foretell(self, text: str) -> None:
        """Say what Accept will do; nothing hides it."""
        self.effect.setText(text)
        self.effect.setVisible(bool(text))

    def _accept(self) -> None:
        if self.answer is not None:
            self._cancelled.set()  # what is accepted is what is seen
            self.accepted.emit(self.answer, self.strokes)

    def _clear(self) -> None:
        self.drop()
        if self.layer is not None:
            self.layer.data = np.zeros_like(self.layer.data)

    def _show(self, shown: tuple[Answer, tuple[Stroke, ...], bool]) -> None:
        if self._cancelled.is_set() or self._link is None or self.layer is None:
            return
        answer, strokes, has_outside = shown
        if strokes != self.strokes:  # somebody drew a label that was not in the list
            self.strokes = strokes
            show_meaning(self.layer, strokes)
            self._fill()
        if not has_outside:
            self.warning.show_verdict(Verdict.of("warning", "no-outside-stroke", NO_OUTSIDE))
        correction = self._link.correction
        if self.preview is None or self.preview not in self._viewer.layers:
            self.preview = add_preview(self._viewer, correction, answer, self.strokes)
        else:
            new_answer(self.preview, correction, answer, self.strokes)
        self.answer = answer
        self.status.setText(_REFINED if answer.is_final else _FIRST)
        self._enable()
        self.answered.emit()

    def _show_strokes(self) -> None:
        if self.layer is not None and not self.layer.visible:  # set anew, it would end napari's brush
            self.layer.visible = True

    def _fail(self, error: Exception) -> None:
        self.drop()
        self.failed.emit(error)

    def _finish(self) -> None:
        self.running = False
        if self.status.text() == _CANCELLING:
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
            text = f"{one.value}: {one.name}" if one.label else f"outside of all structures ({one.value})"
            self.legend.addItem(QListWidgetItem(QIcon(swatch), text))
        row = max(self.legend.fontMetrics().lineSpacing() + 6, 22)
        self.legend.setFixedHeight(row * min(max(len(self.strokes), 1), _ROWS_SEEN) + 6)
        self.legend.blockSignals(False)

    def _enable(self) -> None:
        can = self._link is not None and self._link.correction.image is not None and bool(self.strokes)
        if self._link is not None and self._link.correction.image is None:
            self.status.setText(_NO_SCAN)
        self.draw.setEnabled(can)
        self.segment.setEnabled(can and self.layer is not None and not self.running)
        self.accept.setEnabled(self.answer is not None)
        cancelling = self.running and self._cancelled.is_set()
        self.cancel.setEnabled(not cancelling and (self.running or self.answer is not None))
        self.clear.setEnabled(self.layer is not None)

    def _lay_out(self) -> None:
        grid = QGridLayout()
        grid.addWidget(self.segment, 0, 0, 1, 2)
        grid.addWidget(self.effect, 1, 0, 1, 2)
        grid.addWidget(self.accept, 2, 0)
        grid.addWidget(self.cancel, 2, 1)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        for part in (self.status, self.warning, self.draw, self.legend):
            layout.addWidget(part)
        layout.addLayout(grid)
        layout.addWidget(self.clear)


def _answers(
    image: NDArray[Any],
    drawn: NDArray[Any],
    strokes: tuple[Stroke, ...],
    spacing: tuple[float, float, float],
    cancelled: Event,
) -> Iterator[tuple[Answer, tuple[Stroke, ...], bool]]:
    """Answers, each with what its numbers mean and whether a stroke is outside."""
    strokes = with_drawn(strokes, drawn)
    seeds = seeds_of(drawn, strokes)
    has_outside = bool((seeds == OUTSIDE).any())
    for answer in segment_scribbles(image, seeds, spacing, cancelled=cancelled.is_set):
        yield answer, strokes, has_outside
