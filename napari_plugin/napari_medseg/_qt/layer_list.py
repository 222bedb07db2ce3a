"""A drop-down list of those layers of the window that meet a condition."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from napari.layers import Image, Labels
from qtpy.QtCore import Signal
from qtpy.QtWidgets import QComboBox, QSizePolicy, QWidget

from napari_medseg._qt.connections import Connections
from napari_medseg.layers import METADATA_KEY
from napari_medseg.results import is_doubt_of

if TYPE_CHECKING:
    from napari.layers import Layer
    from napari.viewer import Viewer


class LayerList(QComboBox):
    """Layers to choose from, the topmost chosen at first.

    ``changed`` is emitted when another layer, or none, is chosen, by a person or as layers come and go.

    Parameters
    ----------
    viewer
        The window.
    takes
        Whether a layer is offered.
    nothing
        The text of a first entry that stands for no layer; without it there is none.
    """

    changed = Signal()

    def __init__(
        self,
        viewer: Viewer,
        takes: Callable[[Layer], bool],
        nothing: str | None = None,
        parent: QWidget | None = None,
    ) -> None:
        super().__init__(parent)
        self._viewer, self._takes, self._nothing = viewer, takes, nothing
        self._offered: list[Layer | None] = []
        self._told: Layer | None = None
        self.setMinimumContentsLength(10)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self._window = Connections(self)
        events = viewer.layers.events
        for event in (events.inserted, events.removed, events.reordered, events.renamed):
            self._window.add(event, self.refill)
        self.currentIndexChanged.connect(self._tell)
        self.refill()

    @property
    def layer(self) -> Layer | None:
        """The chosen layer."""
        n = self.currentIndex()
        return self._offered[n] if 0 <= n < len(self._offered) else None

    def choose(self, layer: Layer | None) -> None:
        """Choose a layer, if it is offered."""
        if layer in self._offered:
            self.setCurrentIndex(self._offered.index(layer))

    def refill(self) -> None:
        """Offer the layers that there are now; the chosen one stays chosen where it is among them."""
        kept = self.layer
        offered: list[Layer | None] = [x for x in reversed(self._viewer.layers) if self._takes(x)]
        if self._nothing is not None:
            offered.insert(0, None)
        self.blockSignals(True)
        self._offered = offered
        self.clear()
        for one in offered:
            self.addItem(self._nothing if one is None else one.name)
        self.setCurrentIndex(offered.index(kept) if kept in offered else min(0, len(offered) - 1))
        self.blockSignals(False)
        self._tell()

    def _tell(self) -> None:
        if self.layer is not self._told:
            self._told = self.layer
            self.changed.emit()


def is_scan(layer: Layer) -> bool:
    """Whether it is a grey image that medseg opened."""
    return is_map(layer) and not is_doubt_of(layer.metadata)


def is_map(layer: Layer) -> bool:
    """Whether it is a grey image on a grid that medseg knows: a scan, or what a model says of one."""
    return isinstance(layer, Image) and not layer.rgb and "geometry" in layer.metadata.get(METADATA_KEY, {})


def is_labels(layer: Layer) -> bool:
    """Whether it is a labels layer of one resolution."""
    return isinstance(layer, Labels) and not layer.multiscale
