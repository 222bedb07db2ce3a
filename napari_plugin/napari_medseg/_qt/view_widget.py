"""The dock widget with intensity windows and the point of the patient under the cursor."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari.layers import Image
from qtpy.QtCore import Qt, QTimer
from qtpy.QtWidgets import QGridLayout, QGroupBox, QLabel, QPushButton, QSizePolicy, QVBoxLayout, QWidget

from napari_medseg._qt.connections import Connections
from napari_medseg.layers import METADATA_KEY, volume_of
from napari_medseg.panels.intensity import IntensityWindow, windows_for
from napari_medseg.panels.position import point_text

if TYPE_CHECKING:
    from napari.layers import Layer
    from napari.viewer import Viewer

_EVERY_MS = 40  # the text follows the cursor 25 times a second, however many events come
_COLUMNS = 2


class ViewWidget(QWidget):
    """Intensity windows of the selected scan, and where the cursor is in the patient."""

    def __init__(self, napari_viewer: Viewer, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._viewer = napari_viewer
        self._shown: Layer | None = None
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(_EVERY_MS)
        self._timer.timeout.connect(self.show_position)
        self.heading, self.position = QLabel(), QLabel()
        self.heading.setWordWrap(True)
        self.position.setWordWrap(True)
        self.position.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.position.setMinimumHeight(4 * self.fontMetrics().lineSpacing())  # no jumps as texts change
        self.position.setAlignment(Qt.AlignmentFlag.AlignTop)
        self.buttons: list[QPushButton] = []
        self._lay_out()
        self._window = Connections(self)
        self._window.add(napari_viewer.layers.selection.events.active, self._show_windows)
        self._window.add(napari_viewer.layers.events.removed, self._show_windows)
        self._window.add(napari_viewer.cursor.events.position, self._follow_cursor)
        self._show_windows()
        self.show_position()

    def show_position(self) -> None:
        """Say where the cursor is."""
        layer = self._scan()
        if layer is None:
            self.position.setText("Open a scan with medseg to see where the cursor is in the patient.")
            return
        geometry = layer.metadata[METADATA_KEY]["geometry"]
        text = point_text(self._viewer.cursor.position, geometry, layer.scale, layer.translate)
        self.position.setText(f"{layer.name}\n{text}")

    def _follow_cursor(self) -> None:
        if not self._timer.isActive():
            self._timer.start()

    def _show_windows(self) -> None:
        layer = self._scan()
        self.show_position()
        if layer == self._shown:
            return
        self._shown = layer
        for button in self.buttons:
            self._grid.removeWidget(button)
            button.deleteLater()
        self.buttons = []
        if layer is None or layer.rgb:
            self.heading.setText("There is no grey scan to set the intensity of.")
            return
        self.heading.setText(f"Intensity of {layer.name}")
        for n, window in enumerate(windows_for(volume_of([(layer.data, layer.metadata)]))):
            self._add_button(n, window, layer)

    def _add_button(self, n: int, window: IntensityWindow, layer: Layer) -> None:
        button = QPushButton(window.name)
        button.setToolTip(f"level {window.level:g}, width {window.width:g}")

        def show() -> None:
            layer.contrast_limits = window.limits

        button.clicked.connect(show)
        self._grid.addWidget(button, n // _COLUMNS, n % _COLUMNS)
        self.buttons.append(button)

    def _scan(self) -> Layer | None:
        """The selected scan, else the topmost one that is shown, else the topmost."""
        scans = [x for x in reversed(self._viewer.layers) if _is_scan(x)]
        selected = self._viewer.layers.selection.active
        shown = (x for x in scans if x.visible)
        return selected if selected in scans else next(shown, scans[0] if scans else None)

    def _lay_out(self) -> None:
        windows, cursor = QGroupBox("Intensity window"), QGroupBox("Under the cursor")
        self._grid = QGridLayout()
        inner = QVBoxLayout(windows)
        inner.addWidget(self.heading)
        inner.addLayout(self._grid)
        QVBoxLayout(cursor).addWidget(self.position)
        layout = QVBoxLayout(self)
        layout.addWidget(windows)
        layout.addWidget(cursor)
        layout.addStretch(1)
        # Docks that share a side leave their room to the one that needs it.
        self.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Maximum)


def _is_scan(layer: Layer) -> bool:
    return isinstance(layer, Image) and "geometry" in layer.metadata.get(METADATA_KEY, {})
