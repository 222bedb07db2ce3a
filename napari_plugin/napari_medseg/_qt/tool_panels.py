"""The groups of buttons of the correction widget; what they do is wired in `correct_widget`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from qtpy.QtWidgets import (
    QComboBox,
    QDoubleSpinBox,
    QFormLayout,
    QGridLayout,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QSizePolicy,
    QSpinBox,
    QVBoxLayout,
    QWidget,
)

from napari_medseg._qt.layer_list import LayerList
from napari_medseg.correction.slices_of_interest import MapKind
from napari_medseg.correction.tools import Extent

if TYPE_CHECKING:
    from napari.layers import Layer

_EXTENTS: tuple[tuple[str, Extent], ...] = (
    ("3D, the whole scan", "volume"),
    ("2D, this slice", "slice"),
    ("2D, every slice by itself", "slices"),
)
_KINDS: tuple[tuple[str, MapKind], ...] = (("doubt (entropy)", "doubt"), ("probability", "probability"))


class ShapePanel(QWidget):
    """Smooth, grow, shrink, fill holes, and pieces by click; and where they work."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.where = QComboBox()
        self.where.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        for text, extent in _EXTENTS:
            self.where.addItem(text, extent)
        self.mm = QDoubleSpinBox()
        self.mm.setRange(0.1, 100)
        self.mm.setSingleStep(0.5)
        self.mm.setValue(1.0)
        self.mm.setSuffix(" mm")
        self.smooth = button(
            "Smooth", "Smooth the surface, by the median in a ball whose radius is the distance"
        )
        self.grow = button("Grow", "Grow the label by the distance")
        self.shrink = button("Shrink", "Shrink the label by the distance")
        self.fill_holes = button("Fill holes", "Fill what the label encloses")
        self.keep = button("Keep", "Then click a piece of a label: its other pieces go", checkable=True)
        self.remove = button("Remove", "Then click a piece of a label: it goes", checkable=True)
        self.split = button(
            "Split off", "Then click a piece of a label: it gets an id of its own", checkable=True
        )
        form = QFormLayout()
        self.where.setToolTip("Where the tools of this group work")
        self.mm.setToolTip("How far to grow or shrink; for Smooth, the radius of the ball")
        form.addRow("Works in", self.where)
        form.addRow("Distance", self.mm)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addLayout(form)
        layout.addLayout(_grid([self.smooth, self.fill_holes, self.grow, self.shrink], 2))
        layout.addWidget(QLabel("Pieces: choose, then click one"))
        layout.addLayout(_grid([self.keep, self.remove, self.split], 3))

    @property
    def extent(self) -> Extent:
        """Where the tools work."""
        chosen: Extent = self.where.currentData()
        return chosen


class SlicePanel(QWidget):
    """Interpolate, copy to a neighbouring slice, go to the next slice of interest."""

    def __init__(self, maps: LayerList, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.interpolate = button(
            "Interpolate", "Fill the slices between those that hold the label, across the slices on show"
        )
        self.copy_previous = button("Copy to previous", "Copy the label to the slice before, and go there")
        self.copy_next = button("Copy to next", "Copy the label to the next slice, and go there")
        self.next_slice = button("Next slice of interest", "Go to the next slice to look at")
        self.maps = maps
        self.maps.setToolTip(
            "Unseen: the next slice with labels that was not on show since the start. With a map of the "
            "model's doubt as a layer on this grid: the slice of the most doubt that was not seen"
        )
        self.kind = QComboBox()
        for text, kind in _KINDS:
            self.kind.addItem(text, kind)
        self.maps.changed.connect(self._show_kind)
        form = QFormLayout()
        self.kind.setToolTip("What the numbers of the map are")
        form.addRow("Look for", self.maps)
        form.addRow("The map is", self.kind)
        self._form = form
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.interpolate)
        layout.addLayout(_grid([self.copy_previous, self.copy_next], 2))
        layout.addWidget(self.next_slice)
        layout.addLayout(form)
        self._show_kind()

    def choose_doubt(self, layer: Layer | None) -> None:
        """Look for the most doubt in a map of it; None looks for what was not seen yet."""
        self.maps.choose(layer)
        if layer is not None:
            self.kind.setCurrentIndex(self.kind.findData("doubt"))

    def _show_kind(self) -> None:
        # setRowVisible is newer than the oldest Qt that napari takes.
        for part in (self.kind, self._form.labelForField(self.kind)):
            part.setVisible(self.maps.layer is not None)


class LabelPanel(QWidget):
    """Merge into another label, or swap with it."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.other = QSpinBox()
        self.other.setRange(0, 65535)
        self.other.setToolTip("The number of the other label; 0 is background")
        self.other_name = QLabel()
        self.merge = button("Merge into it", "Give all voxels of the selected label to the other one")
        self.swap = button("Swap with it", "Exchange the selected label and the other one")
        row = QHBoxLayout()
        row.addWidget(self.other)
        row.addWidget(self.other_name, stretch=1)
        form = QFormLayout()
        form.addRow("Other label", row)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addLayout(form)
        layout.addLayout(_grid([self.merge, self.swap], 2))


def button(text: str, what: str, *, checkable: bool = False) -> QPushButton:
    """A button that says what it does when the mouse rests on it."""
    made = QPushButton(text)
    made.setToolTip(what)
    made.setCheckable(checkable)
    return made


def _grid(buttons: Sequence[QPushButton], columns: int) -> QGridLayout:
    layout = QGridLayout()
    for n, one in enumerate(buttons):
        layout.addWidget(one, n // columns, n % columns)
    return layout
