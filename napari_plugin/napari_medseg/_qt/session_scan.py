"""The scan of a correction that runs: found again after a crash, chosen or opened at any time."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from qtpy.QtCore import QObject, QTimer, Signal
from superqt.utils import create_worker

from medseg import MedsegError, Verdict
from medseg.errors import WriteFailed
from napari_medseg._qt.connections import Connections
from napari_medseg._qt.layer_link import LayerLink
from napari_medseg._qt.layer_list import LayerList, is_scan
from napari_medseg.correction.session_scan import (
    FoundScan,
    is_own,
    known_layer,
    not_the_same,
    read_scan,
    scan_layers,
    turned_otherwise,
)
from napari_medseg.layers import METADATA_KEY, volume_of

if TYPE_CHECKING:
    from napari.layers import Image, Layer
    from napari.viewer import Viewer

# First what to do: a long banner is folded to its first words.
_CHOOSE = "Its scan is missing: press Open … beside Scan, or go on without."
_ANY_WAY = "Opened in the window in any other way, the scan is taken by itself"


class SessionScan(QObject):
    """Gives the running correction the scan that is chosen in a list, and keeps it below the labels.

    ``taken`` is emitted with an intensity range to begin with, None without a scan; ``told`` with a verdict
    of the scan, None where there is nothing to say any more; ``failed`` with an error.

    Parameters
    ----------
    viewer
        The window.
    chosen
        The list in which the scan is chosen, before the start and while the correction runs.
    """

    taken = Signal(object)
    told = Signal(object)
    failed = Signal(object)

    def __init__(self, viewer: Viewer, chosen: LayerList, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._viewer, self._chosen = viewer, chosen
        self._link: LayerLink | None = None
        self._opened = Connections(self)
        chosen.changed.connect(self._take)

    def start(self, link: LayerLink) -> None:
        """A correction begins, with the chosen scan or without one."""
        self._link = link
        self._put_below(self._chosen.layer)
        self._opened.add(self._viewer.layers.events.inserted, self._look_at)

    def end(self) -> None:
        """It is over."""
        self._opened.drop()
        self._link = None

    def find(self) -> None:
        """Choose the scan that the session began with: in the window, else opened by its path."""
        link = self._link
        if link is None:
            return
        own = next((one for one in self._viewer.layers if is_scan(one) and _is_own(one, link)), None)
        known = link.correction.session.scan
        if own is not None:
            self._choose(own)
        elif known.files:
            self._read(known.files[0], only_own=True)
        elif known.is_known:
            self._miss("its scan was not opened from a file that is known")

    def open(self, path: Path) -> None:
        """Open a file as the scan, in the background."""
        self._read(path, only_own=False)

    def _read(self, path: Path, *, only_own: bool) -> None:
        link = self._link
        if link is None:
            return

        def read(found: FoundScan) -> None:
            if self._link is not link:  # another case is corrected by now
                return
            if found.channel is None and only_own:
                self._miss(f"{path.name} does not hold the voxels any more that the correction began with")
            else:
                self._add(found, path)

        def fail(error: Exception) -> None:
            if self._link is not link:
                return
            if only_own and isinstance(error, MedsegError):
                self._miss(str(error))
            else:
                self.failed.emit(error)

        create_worker(
            read_scan,
            path,
            link.correction.session.scan,
            link.correction.grid.geometry,
            _connect={"returned": read, "errored": fail},
            _start_thread=True,
        )

    def _miss(self, why: str) -> None:
        """The scan was not found: it can be chosen while the correction runs."""
        self.told.emit(Verdict.of("warning", "scan-missing", f"{_CHOOSE} What was found: {why}. {_ANY_WAY}"))

    def _add(self, found: FoundScan, path: Path) -> None:
        selected = self._viewer.layers.selection.active
        self._opened.drop()  # these are not to be looked at
        layers: list[Image] = [self._viewer.add_image(d, **o) for d, o, _ in scan_layers(found, path)]
        for one in layers:
            self._put_below(one)
        self._viewer.layers.selection.active = selected
        self._opened.add(self._viewer.layers.events.inserted, self._look_at)
        own = layers[(found.channel or 0) if len(layers) > 1 else 0]
        own.visible = True
        self._choose(own)

    def _look_at(self, event: Any) -> None:
        """A layer is new: take it if it is the scan that is missed."""
        layer, link = event.value, self._link
        if link is not None and self._chosen.layer is None and is_scan(layer) and _is_own(layer, link):
            QTimer.singleShot(0, lambda: self._choose(layer))  # after the window has finished adding it

    def _choose(self, layer: Layer) -> None:
        if layer in self._viewer.layers:
            self._chosen.refill()
            self._chosen.choose(layer)

    def _take(self) -> None:
        """Another scan was chosen, or none."""
        link, layer = self._link, self._chosen.layer
        if link is None:
            return
        image = None if layer is None else volume_of([(layer.data, layer.metadata)]).data[0]
        link.correction.image = image
        self._put_below(layer)
        self.told.emit(None if layer is None or image is None else self._remember(layer, image, link))
        self.taken.emit(None if layer is None else tuple(layer.contrast_limits))

    def _remember(self, layer: Layer, image: NDArray[Any], link: LayerLink) -> Verdict | None:
        """Let the session know the scan; what is to be said of it, None for nothing."""
        if not layer.metadata[METADATA_KEY]["geometry"].same_grid(link.correction.grid.geometry):
            return Verdict.of("warning", "grid-differs", turned_otherwise(layer.name))
        session, scan = link.correction.session, known_layer(layer.metadata, image)
        began_with = session.scan
        try:
            session.add_scan(scan)
        except WriteFailed as error:
            return Verdict.of("warning", "scan-not-kept", str(error))
        if began_with.crc32 is not None and not began_with.is_same(scan):
            return Verdict.of("warning", "scan-differs", not_the_same(layer.name))
        return None

    def _put_below(self, layer: Layer | None) -> None:
        """A scan is opaque: above the labels it would hide them."""
        layers, link = self._viewer.layers, self._link
        if layer is None or link is None or link.layer not in layers:
            return
        at, labels = layers.index(layer), layers.index(link.layer)
        if at > labels:
            layers.move(at, labels)


def _is_own(layer: Layer, link: LayerLink) -> bool:
    grid = link.correction.grid
    if layer.data.shape != grid.layer_shape:
        return False
    image = grid.to_array(np.asarray(layer.data))
    return is_own(layer.metadata, image, link.correction.session.scan, grid.geometry)
