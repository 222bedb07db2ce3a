"""The head of the correction widget: which labels, on which scan, start and stop."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtWidgets import QFormLayout, QHBoxLayout, QLabel, QVBoxLayout, QWidget

from napari_medseg._qt.connections import Connections
from napari_medseg._qt.layer_list import LayerList, is_labels, is_scan
from napari_medseg._qt.scribble_layers import PREVIEW, STROKES
from napari_medseg._qt.tool_panels import button
from napari_medseg.layers import METADATA_KEY, LayerGrid

if TYPE_CHECKING:
    from napari.layers import Labels, Layer
    from napari.viewer import Viewer

_NO_LABELS = (
    "No labels layer is open. Open a segmentation, segment a scan, or press napari's New labels layer with a "
    "scan selected."
)
_NO_SCAN = "Without a scan, scribbles, intensity limits and the threshold brush rest."


class CaseChooser(QWidget):
    """Two lists of layers, and the button that starts or ends the correction.

    Before the start, and after the stop, the labels follow the selection in napari's layer list. While a
    correction runs they stay, and only scans on their grid are offered.
    """

    def __init__(self, viewer: Viewer, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._viewer = viewer
        self._corrected: Labels | None = None
        self.labels = LayerList(viewer, _may_be_corrected)
        self.labels.setToolTip("Until the start it follows the selection in the layer list")
        self.labels.setPlaceholderText("no labels layer")
        self.scan = LayerList(viewer, self._may_be_scan, "none")
        self.scan.setToolTip("The scan that the labels lie on: for scribbles and intensity limits")
        self.open_scan = button("Open …", "Open the scan from a file; of a DICOM series any one of its files")
        self.hint = QLabel()
        self.hint.setWordWrap(True)
        self.button = button("", "Every edit is kept on the disk from the start on, and can be undone")
        row = QHBoxLayout()
        row.addWidget(self.scan, stretch=1)
        row.addWidget(self.open_scan)
        form = QFormLayout()
        form.addRow("Labels", self.labels)
        form.addRow("Scan", row)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addLayout(form)
        layout.addWidget(self.hint)
        layout.addWidget(self.button)
        self._window = Connections(self)
        self._window.add(viewer.layers.events.inserted, self._choose_scan)
        self._window.add(viewer.layers.selection.events.active, self._follow)
        self._window.add(viewer.layers.events.renamed, self._show)
        self.labels.changed.connect(self._choose_scan)
        self.scan.changed.connect(self._show)
        self.show_state(None)
        self._choose_scan()

    def show_state(self, corrected: Labels | None) -> None:
        """Let a case be chosen, or say which layer is corrected."""
        self._corrected = corrected
        if corrected is not None:
            self.labels.choose(corrected)
        else:
            self._follow()  # the selection may have moved while the correction ran
        self.button.setText("Start correcting" if corrected is None else "Stop correcting")
        self.scan.refill()
        self._show()

    def _follow(self) -> None:
        """Another layer was selected in the layer list."""
        selected = self._viewer.layers.selection.active
        if self._corrected is None and selected is not None and _may_be_corrected(selected):
            self.labels.refill()  # it may have been added only now
            self.labels.choose(selected)
        self._show()

    def _choose_scan(self) -> None:
        """Before the start, choose the scan that lies where the labels do, unless the chosen one does."""
        labels = self.labels.layer
        if labels is not None and self._corrected is None:
            scans = [one for one in self._viewer.layers if is_scan(one) and _same_place(one, labels)]
            if scans and self.scan.layer not in scans:
                self.scan.refill()
                self.scan.choose(scans[0])
        self._show()

    def _may_be_scan(self, layer: Layer) -> bool:
        return is_scan(layer) and (self._corrected is None or _same_place(layer, self._corrected))

    def _show(self) -> None:
        corrected, there = self._corrected, self.labels.layer is not None
        self.labels.setEnabled(corrected is None)
        self.button.setEnabled(there or corrected is not None)
        self.open_scan.setVisible(corrected is not None and self.scan.layer is None)
        self.hint.setText(self._hint())
        self.hint.setVisible(bool(self.hint.text()))

    def _hint(self) -> str:
        corrected, selected = self._corrected, self._viewer.layers.selection.active
        if corrected is None:
            return "" if self.labels.layer is not None else _NO_LABELS
        said = [f"Correcting “{corrected.name}”."]
        if selected is not None and selected != corrected and _may_be_corrected(selected):
            said.append(
                f"“{selected.name}” is selected: napari's brush paints there, and that is not recorded here. "
                f"Select “{corrected.name}” to go on, or stop correcting it."
            )
        if self.scan.layer is None:
            said.append(_NO_SCAN)
        return " ".join(said)


def _same_place(scan: Layer, labels: Layer) -> bool:
    grid = LayerGrid(scan.metadata[METADATA_KEY]["geometry"])
    return labels.data.shape == grid.layer_shape and grid.is_at(labels.scale, labels.translate)


def _may_be_corrected(layer: Layer) -> bool:
    return is_labels(layer) and layer.name not in (STROKES, PREVIEW)
