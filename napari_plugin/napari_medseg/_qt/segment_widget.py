"""The dock widget that segments a scan: model, image, options, run, cancel, verdict, volumes."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from threading import Event
from typing import TYPE_CHECKING

from qtpy.QtCore import QObject, QTimer, Signal
from qtpy.QtWidgets import (
    QGroupBox,
    QHBoxLayout,
    QLabel,
    QProgressBar,
    QPushButton,
    QScrollArea,
    QVBoxLayout,
    QWidget,
)
from superqt.utils import create_worker

from medseg import MedsegError, Verdict
from napari_medseg._qt.banner_label import BannerLabel
from napari_medseg._qt.channel_picker import ChannelPicker
from napari_medseg._qt.model_picker import ModelPicker
from napari_medseg._qt.result_layers import show_result
from napari_medseg._qt.run_options_box import RunOptionsBox
from napari_medseg._qt.scrollable import scroll
from napari_medseg._qt.volume_table import VolumeTable
from napari_medseg.layers import opening_of, volume_of
from napari_medseg.results import RunResult, finished_text
from napari_medseg.segmenting import Cancelled, failure, run, stage_text

if TYPE_CHECKING:
    from napari.layers import Layer
    from napari.viewer import Viewer

_LOG = logging.getLogger(__name__)
_WIDTH = 350


class _Progress(QObject):
    """Carries progress from the worker's thread to the window's."""

    told = Signal(str, int, int)

    def tell(self, stage: str, done: int, total: int) -> None:
        """To be called in the worker's thread. Unlike the signal's own emit it keeps this object alive."""
        self.told.emit(stage, done, total)


class SegmentWidget(QScrollArea):
    """Segments the chosen scan in the background; the result becomes a labels layer."""

    def __init__(self, napari_viewer: Viewer, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._viewer = napari_viewer
        self._cancelled = Event()
        self._scans: Sequence[Layer] = ()
        self.running = False
        self.models, self.channels = ModelPicker(), ChannelPicker(napari_viewer)
        self.options = RunOptionsBox()
        self.run_button, self.cancel_button = QPushButton("Run"), QPushButton("Cancel")
        self.bar = QProgressBar()
        self.bar.setTextVisible(False)
        self.stage = QLabel()
        self.banner = BannerLabel()
        self.volumes = VolumeTable(napari_viewer)
        self._lay_out()
        self.models.failed.connect(self._show_failure)
        self.models.changed.connect(self._ask_for_channels)
        self.channels.changed.connect(self._enable)
        self.run_button.clicked.connect(self.start)
        self.cancel_button.clicked.connect(self.cancel)
        self.models.load()
        self._enable()

    def start(self) -> None:
        """Segment the chosen scan."""
        layers = self.channels.layers
        try:
            volume = volume_of([(layer.data, layer.metadata) for layer in layers])
        except MedsegError as error:
            self._show_failure(error)
            return
        # An event for each run: one that was cancelled may take a moment to end.
        self._cancelled = Event()
        self.destroyed.connect(self._cancelled.set)
        self._scans, self.running = layers, True
        self.banner.hide()
        self._show_stage("Reading the model")
        self._enable()
        progress = _Progress()
        progress.told.connect(self._show_progress)
        create_worker(
            run,
            volume,
            self.models.choice,
            self.options.chosen,
            progress.tell,
            self._cancelled,
            opening_of([layer.metadata for layer in layers]),
            _connect={"returned": self._show_result, "errored": self._show_failure, "finished": self._finish},
            _start_thread=True,
        )

    def cancel(self) -> None:
        """End the run after the window of the network that is under way."""
        self._cancelled.set()
        self.cancel_button.setEnabled(False)
        self._show_stage("Cancelling")

    def _finish(self) -> None:
        self.running = False
        self.stage.clear()
        self._enable()

    def _show_progress(self, stage: str, done: int, total: int) -> None:
        if not self._cancelled.is_set():
            self.bar.setRange(0, total)
            self.bar.setValue(done)
            self.stage.setText(stage_text(stage, done, total))

    def _show_stage(self, text: str) -> None:
        self.bar.setRange(0, 0)  # moves, without an end in sight
        self.stage.setText(text)

    def _show_result(self, result: RunResult) -> None:
        # The table follows the layer, which is selected as it comes in.
        became = show_result(self._viewer, result, self._scans)
        self._say(result.verdict, f"{finished_text(result)} {became}".strip())

    def _show_failure(self, error: Exception) -> None:
        if isinstance(error, Cancelled):
            return
        verdict, is_bug = failure(error)
        if is_bug:
            _LOG.error("the segmentation failed", exc_info=error)
        self._say(verdict)

    def _say(self, verdict: Verdict, introduction: str = "") -> None:
        self.banner.show_verdict(verdict, introduction)
        # Once the layout has made room for it: in a low window it may lie below what is in sight.
        QTimer.singleShot(0, self._scroll_to_banner)

    def _scroll_to_banner(self) -> None:
        self.ensureWidgetVisible(self.banner)

    def _ask_for_channels(self) -> None:
        self.channels.ask_for(self.models.choice.channels)

    def _enable(self) -> None:
        self.run_button.setEnabled(not self.running and bool(self.channels.layers))
        self.cancel_button.setEnabled(self.running)
        for part in (self.models, self.channels, self.options):
            part.setEnabled(not self.running)
        self.bar.setVisible(self.running)
        self.stage.setVisible(self.running)

    def _lay_out(self) -> None:
        inner = QWidget()
        layout = QVBoxLayout(inner)
        for title, part in (("Model", self.models), ("Scan", self.channels)):
            layout.addWidget(_group(title, part))
        layout.addWidget(self.options)
        buttons = QHBoxLayout()
        buttons.addWidget(self.run_button, stretch=2)
        buttons.addWidget(self.cancel_button, stretch=1)
        layout.addLayout(buttons)
        layout.addWidget(self.bar)
        layout.addWidget(self.stage)
        layout.addWidget(self.banner)
        layout.addWidget(self.volumes, stretch=1)
        scroll(self, inner, _WIDTH)


def _group(title: str, part: QWidget) -> QGroupBox:
    made = QGroupBox(title)
    layout = QVBoxLayout(made)
    layout.addWidget(part)
    return made
