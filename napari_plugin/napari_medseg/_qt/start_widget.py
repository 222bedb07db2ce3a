"""The dock widget for somebody who sees medseg for the first time."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtWidgets import QFileDialog, QHBoxLayout, QLabel, QPushButton, QVBoxLayout, QWidget

from medseg import MedsegError
from napari_medseg._qt.banner_label import BannerLabel
from napari_medseg.segmenting import failure

if TYPE_CHECKING:
    from napari.viewer import Viewer

_PLUGIN, _SAMPLE, _SEGMENT, _CORRECT = "medseg", "hippocampus", "Segment", "Correct"
_WELCOME = (
    "medseg segments medical images, and helps you to check, correct and save the result. Three steps to "
    "see how:"
)
_STEPS = (
    "<b>1. Open a scan</b>: NIfTI, NRRD, MHA, or the folder of a DICOM series. Dragging it into the window "
    "does the same. Or take the sample, a small made scan.",
    "<b>2. Segment it</b>: choose a model and press Run. The result is a labels layer on the scan.",
    "<b>3. Correct and save</b>: every edit is kept on the disk and can be taken back. Save writes the "
    "labels on the scan's own grid, as NIfTI or NRRD.",
)


class StartWidget(QWidget):
    """Three steps, with a button for each that is one press."""

    def __init__(self, napari_viewer: Viewer, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._viewer = napari_viewer
        self.open_file, self.open_folder = QPushButton("Open a file …"), QPushButton("DICOM folder …")
        self.open_sample, self.segment = QPushButton("Open the sample"), QPushButton("Segment …")
        self.correct = QPushButton("Correct …")
        self.banner = BannerLabel()
        layout = QVBoxLayout(self)
        rows: tuple[tuple[QPushButton, ...], ...] = (
            (self.open_file, self.open_folder, self.open_sample),
            (self.segment,),
            (self.correct,),
        )
        layout.addWidget(_text(_WELCOME))
        for text, buttons in zip(_STEPS, rows, strict=True):
            layout.addWidget(_text(text))
            row = QHBoxLayout()
            for button in buttons:
                row.addWidget(button)
            layout.addLayout(row)
        layout.addWidget(self.banner)
        layout.addStretch(1)
        self.open_file.clicked.connect(self._browse_file)
        self.open_folder.clicked.connect(self._browse_folder)
        self.open_sample.clicked.connect(self._open_sample)
        self.segment.clicked.connect(lambda: self._open_dock(_SEGMENT))
        self.correct.clicked.connect(lambda: self._open_dock(_CORRECT))

    def open(self, path: str) -> None:
        """Open a scan; what is wrong with it is said here."""
        self.banner.hide()
        try:
            self._viewer.open(path, plugin=_PLUGIN)
        except MedsegError as error:
            self.banner.show_verdict(failure(error)[0])

    def _browse_file(self) -> None:
        path, _ = QFileDialog.getOpenFileName(self, "Open a scan or a segmentation")
        if path:
            self.open(path)

    def _browse_folder(self) -> None:
        if path := QFileDialog.getExistingDirectory(self, "Open the folder of a DICOM series"):
            self.open(path)

    def _open_sample(self) -> None:
        self.banner.hide()
        self._viewer.open_sample(_PLUGIN, _SAMPLE)

    def _open_dock(self, name: str) -> None:
        self._viewer.window.add_plugin_dock_widget(_PLUGIN, name)


def _text(text: str) -> QLabel:
    label = QLabel(text)
    label.setWordWrap(True)
    return label
