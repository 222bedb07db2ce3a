"""The table of volumes: it follows the edits of the labels layer that is selected."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from napari.layers import Labels
from qtpy.QtCore import Qt, QTimer
from qtpy.QtGui import QColor, QPixmap
from qtpy.QtWidgets import (
    QAbstractItemView,
    QHeaderView,
    QLabel,
    QTableWidget,
    QTableWidgetItem,
    QVBoxLayout,
    QWidget,
)
from superqt.utils import create_worker

from napari_medseg._qt.connections import Connections
from napari_medseg.layers import METADATA_KEY
from napari_medseg.panels.volumes import VolumeRow, volume_rows

if TYPE_CHECKING:
    from napari.layers import Layer
    from napari.viewer import Viewer

_QUIET_MS = 300  # after the last edit: a stroke is many events
_SWATCH = 12
_HEADINGS = ("structure", "mL", "voxels")


class VolumeTable(QWidget):
    """Structures of a labels layer with their volumes, counted in the background.

    ``layer`` is the last one of medseg's labels layers that was selected in the window, or None.
    """

    def __init__(self, viewer: Viewer, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._viewer = viewer
        self.layer: Layer | None = None
        self._counting = self._stale = False
        self._seen: object = None
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(_QUIET_MS)
        self._timer.timeout.connect(self._count)
        self.heading = QLabel()
        self.heading.setWordWrap(True)
        self.table = _empty_table()
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.heading)
        layout.addWidget(self.table, stretch=1)
        self._window, self._edits = Connections(self), Connections(self)
        self._window.add(viewer.layers.selection.events.active, self._follow_selected)
        self._window.add(viewer.layers.events.removed, self._forget_removed)
        self.follow(None)
        self._follow_selected()

    def follow(self, layer: Layer | None) -> None:
        """Show the volumes of one of medseg's labels layers from now on, or none."""
        self._edits.drop()
        self.layer = layer
        self.table.setRowCount(0)
        if layer is None:
            self.heading.setText("Volumes: no segmentation is selected.")
            return
        self.heading.setText(f"Volumes of {layer.name}")
        for event in (layer.events.paint, layer.events.labels_update, layer.events.data):
            self._edits.add(event, self._announce)
        self._edits.add(layer.events.set_data, self._announce_unless_moved)
        self._seen = self._place()
        self._count()

    def _follow_selected(self) -> None:
        active = self._viewer.layers.selection.active
        if active is not None and active != self.layer and _has_volumes(active):
            self.follow(active)

    def _forget_removed(self, event: Any) -> None:
        if event.value == self.layer:
            self.follow(None)

    def _announce(self) -> None:
        self._timer.start()

    def _announce_unless_moved(self) -> None:
        # Undo, redo and refresh() say only that the slice is drawn anew, as leafing through the scan does.
        place, before = self._place(), self._seen
        self._seen = place
        if place == before:
            self._timer.start()

    def _place(self) -> object:
        dims = self._viewer.dims
        return dims.point, dims.order, dims.ndisplay

    def _count(self) -> None:
        layer = self.layer
        if layer is None:
            return
        if self._counting:
            self._stale = True
            return
        self._counting, self._stale = True, False
        create_worker(
            _counted,
            layer,
            layer.data,
            layer.metadata,
            _connect={"returned": self._show, "errored": self._say_why_not, "finished": self._counted},
            _start_thread=True,
        )

    def _counted(self) -> None:
        self._counting = False
        if self._stale:
            self._timer.start()

    def _show(self, counted: tuple[object, Sequence[VolumeRow]]) -> None:
        of_layer, rows = counted
        if of_layer != self.layer:  # another one was selected meanwhile
            self._stale = True
            return
        self.table.setRowCount(len(rows))
        for n, row in enumerate(rows):
            for column, item in enumerate(_cells(row)):
                self.table.setItem(n, column, item)

    def _say_why_not(self, error: Exception) -> None:
        self.table.setRowCount(0)
        self.heading.setText(f"Volumes: {error}")


def _counted(layer: object, data: Any, metadata: Any) -> tuple[object, tuple[VolumeRow, ...]]:
    return layer, volume_rows(data, metadata)


def _has_volumes(layer: Layer) -> bool:
    kept = layer.metadata.get(METADATA_KEY, {})
    return isinstance(layer, Labels) and {"geometry", "labels"} <= set(kept)


def _cells(row: VolumeRow) -> tuple[QTableWidgetItem, ...]:
    swatch = QPixmap(_SWATCH, _SWATCH)
    swatch.fill(QColor(*row.colour))
    name, volume, voxels = (QTableWidgetItem(text) for text in (row.name, row.text, str(row.voxels)))
    name.setData(Qt.ItemDataRole.DecorationRole, swatch)
    name.setToolTip(f"label {row.id}: {row.name}")
    volume.setToolTip(row.reason or f"{row.text} mL")
    for item in (volume, voxels):
        item.setTextAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
    return name, volume, voxels


def _empty_table() -> QTableWidget:
    table = QTableWidget(0, len(_HEADINGS))
    table.setHorizontalHeaderLabels(_HEADINGS)
    table.verticalHeader().setVisible(False)
    table.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
    table.setSelectionMode(QAbstractItemView.SelectionMode.NoSelection)
    table.setMinimumHeight(150)
    header = table.horizontalHeader()
    header.setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
    header.setSectionResizeMode(0, QHeaderView.ResizeMode.Stretch)
    return table
