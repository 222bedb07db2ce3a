"""The part of the segment widget that says which image layer is which channel of the model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from napari.layers import Image
from qtpy.QtCore import Signal
from qtpy.QtWidgets import QComboBox, QFormLayout, QLabel, QSizePolicy, QWidget

from napari_medseg._qt.connections import Connections
from napari_medseg.layers import METADATA_KEY
from napari_medseg.results import is_doubt_of
from napari_medseg.segmenting import channels_at_first

if TYPE_CHECKING:
    from napari.layers import Layer
    from napari.viewer import Viewer

_NO_SCAN = "No scan is open. Open one with medseg: drag a file or a DICOM folder into the window."
_FOREIGN = (
    "The images in this window were not opened by medseg, so it does not know where they lie in the patient. "
    "Open the file again, with medseg as the reader."
)
_ONE_IMAGE = (
    "Several images are selected, and {} takes one: only the image above is segmented. A model of several "
    "channels shows a list for each."
)


class ChannelPicker(QWidget):
    """A list of medseg's image layers for each channel of the model.

    ``changed`` is emitted when there is a scan to choose where there was none, or none any more.
    """

    changed = Signal()

    def __init__(self, viewer: Viewer, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._viewer = viewer
        self._names: tuple[str, ...] = ("",)
        self.lists: list[QComboBox] = []
        self._offered: list[Layer] = []
        self.hint = QLabel()
        self.hint.setWordWrap(True)
        self._form = QFormLayout(self)
        self._form.setContentsMargins(0, 0, 0, 0)
        self._form.addRow(self.hint)
        self._window = Connections(self)
        events = viewer.layers.events
        for event in (events.inserted, events.removed, events.reordered, events.renamed):
            self._window.add(event, self._refill)
        self._window.add(viewer.layers.selection.events.active, self._take_selected)
        self._window.add(viewer.layers.selection.events.changed, self._give_hint)
        self.ask_for(self._names)

    @property
    def layers(self) -> list[Layer]:
        """The chosen layer of each channel; empty where there is no scan."""
        return [self._offered[one.currentIndex()] for one in self.lists if one.currentIndex() >= 0]

    def ask_for(self, names: Sequence[str]) -> None:
        """Ask for a model's channels from now on."""
        for old in self.lists:
            self._form.removeRow(old)
        self._names = tuple(names)
        self.lists = [_list() for _ in self._names]
        for name, one in zip(self._names, self.lists, strict=True):
            several = len(self._names) > 1
            self._form.insertRow(self._form.rowCount() - 1, f"Image {name}" if several else "Image", one)
        self._refill()

    def _refill(self) -> None:
        scans, kept = self._scans(), self.layers
        self._offered = scans
        for one in self.lists:
            one.clear()
            one.addItems([layer.name for layer in scans])
        if scans:
            selected = self._viewer.layers.selection.active
            still_there = len(kept) == len(self.lists) and all(layer in scans for layer in kept)
            self._choose(
                kept if still_there else self._at_first(scans, selected if selected in scans else scans[-1])
            )
        self._give_hint()
        self.changed.emit()

    def _take_selected(self) -> None:
        selected = self._viewer.layers.selection.active
        if selected in self._offered and selected not in self.layers:
            self._choose(self._at_first(self._offered, selected))

    def _at_first(self, scans: list[Layer], selected: Layer) -> list[Layer]:
        kept = [layer.metadata[METADATA_KEY] for layer in scans]
        return [scans[n] for n in channels_at_first(self._names, scans.index(selected), kept)]

    def _choose(self, layers: Sequence[Layer]) -> None:
        for one, layer in zip(self.lists, layers, strict=True):
            one.setCurrentIndex(self._offered.index(layer))

    def _scans(self) -> list[Layer]:
        kept = {layer: layer.metadata.get(METADATA_KEY, {}) for layer in self._images()}
        return [layer for layer in kept if "geometry" in kept[layer] and not is_doubt_of(layer.metadata)]

    def _images(self) -> list[Layer]:
        return [layer for layer in self._viewer.layers if isinstance(layer, Image)]

    def _give_hint(self) -> None:
        selected = [layer for layer in self._viewer.layers.selection if layer in self._offered]
        if not self._offered:
            hint = _FOREIGN if self._images() else _NO_SCAN
        elif len(self._names) == 1 and len(selected) > 1:
            hint = _ONE_IMAGE.format("this model" if self._names[0] else "the automatic choice")
        else:
            hint = ""
        self.hint.setText(hint)
        self.hint.setVisible(bool(hint))


def _list() -> QComboBox:
    made = QComboBox()
    made.setMinimumContentsLength(12)
    made.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
    return made
