"""The head of the correction widget: which labels, on which scan, start and stop."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtWidgets import QFormLayout, QLabel, QPushButton, QVBoxLayout, QWidget

from napari_medseg._qt.connections import Connections
from napari_medseg._qt.layer_list import LayerList, is_labels, is_scan
from napari_medseg._qt.scribble_layers import PREVIEW, STROKES
from napari_medseg.layers import METADATA_KEY, LayerGrid

if TYPE_CHECKING:
    from napari.layers import Layer
    from napari.viewer import Viewer

_NO_LABELS = (
    "No labels layer is open. Open a segmentation, segment a scan, or press napari's New labels layer with a "
    "scan selected."
)


class CaseChooser(QWidget):
    """Two lists of layers, and the button that starts or ends the correction."""

    def __init__(self, viewer: Viewer, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.labels = LayerList(viewer, _may_be_corrected)
        self.scan = LayerList(viewer, is_scan, "none")
        self.hint = QLabel(_NO_LABELS)
        self.hint.setWordWrap(True)
        self.button = QPushButton()
        form = QFormLayout()
        form.addRow("Labels", self.labels)
        form.addRow("Scan", self.scan)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addLayout(form)
        layout.addWidget(self.hint)
        layout.addWidget(self.button)
        self._viewer = viewer
        self._correcting = False
        self._window = Connections(self)
        self._window.add(viewer.layers.events.inserted, self._choose_scan)
        self.labels.changed.connect(self._choose_scan)
        self.show_state(correcting=False)
        self._choose_scan()

    def show_state(self, *, correcting: bool) -> None:
        """Let a case be chosen, or be left."""
        self._correcting = correcting
        self.button.setText("Stop correcting" if correcting else "Start correcting")
        self._enable()

    def _choose_scan(self) -> None:
        """Choose the scan that lies where the labels do, unless the chosen one does."""
        labels = self.labels.layer
        if labels is not None and not self._correcting:
            scans = [one for one in self._viewer.layers if is_scan(one) and _same_place(one, labels)]
            if scans and self.scan.layer not in scans:
                self.scan.choose(scans[0])
        self._enable()

    def _enable(self) -> None:
        there = self.labels.layer is not None
        self.hint.setVisible(not there)
        self.button.setEnabled(there or self._correcting)
        for one in (self.labels, self.scan):
            one.setEnabled(not self._correcting)


def _same_place(scan: Layer, labels: Layer) -> bool:
    grid = LayerGrid(scan.metadata[METADATA_KEY]["geometry"])
    return labels.data.shape == grid.layer_shape and grid.is_at(labels.scale, labels.translate)


def _may_be_corrected(layer: Layer) -> bool:
    return is_labels(layer) and layer.name not in (STROKES, PREVIEW)
