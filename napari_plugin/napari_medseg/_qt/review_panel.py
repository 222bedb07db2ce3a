"""What the review queue's dock looks like; `napari_medseg._qt.review_widget` makes it work."""

from __future__ import annotations

from qtpy.QtCore import Qt, QTimer
from qtpy.QtWidgets import (
    QComboBox,
    QGroupBox,
    QHBoxLayout,
    QLabel,
    QProgressBar,
    QPushButton,
    QScrollArea,
    QSizePolicy,
    QVBoxLayout,
    QWidget,
)

from medseg import Verdict
from napari_medseg._qt.banner_label import BannerLabel
from napari_medseg._qt.review_table import ReviewTable
from napari_medseg._qt.scrollable import scroll
from napari_medseg._qt.who_field import WhoField
from napari_medseg.reviewing.review import STATUSES, Status

_WELCOME = (
    "Open a folder that <i>medseg infer -o</i> wrote, a study, or a CSV list with a column <i>image</i>. The "
    "cases that the model doubts most come first."
)
NO_CASE = "No case is open"
_ALL = "all cases"
_WIDTH = 390


class ReviewPanel(QScrollArea):
    """Buttons, the table of cases, and the lines that say what happens."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.folder_button = _button("Folder …", "A folder with results of medseg infer, or a study")
        self.list_button = _button("List …", "A CSV file with the columns image, and perhaps case and labels")
        self.scans_button = _button("Scans …", "Where the scans are, if the queue does not find them")
        self.table = ReviewTable()
        self.filter = QComboBox()
        self.filter.addItems((_ALL, *STATUSES))
        self.counts, self.heading, self.state = _text(_WELCOME), _text(NO_CASE), _text()
        self.previous_button = _button("◀ Previous", "The case above, as the table is sorted and filtered")
        self.open_button = _button("Open", "Open the selected case; a double click on it does the same")
        self.next_button = _button("Next ▶", "The case below, as the table is sorted and filtered")
        self.who = WhoField()
        self.save_button = _button("Save as corrected", "Into the training dataset beside the queue")
        self.decisions: dict[Status, QPushButton] = {
            "accepted": _button("Accept", "The segmentation is good. Unsaved edits are saved first"),
            "rejected": _button("Reject", "The case is not to be used, not for training either"),
            "to do": _button("To do", "Somebody is to look at it again"),
        }
        self.bar = QProgressBar()
        self.bar.setRange(0, 0)  # moves, without an end in sight
        self.bar.setTextVisible(False)
        self.banner = BannerLabel()
        self.filter.currentIndexChanged.connect(self._filter)
        self._lay_out()

    def say(self, text: str) -> None:
        """Say what was done or is being done."""
        self.state.setText(text)

    def show_verdict(self, verdict: Verdict) -> None:
        """Show what is wrong, or to be known."""
        self.banner.show_verdict(verdict)
        # Once the layout has made room for it: in a low window it may lie below what is in sight.
        QTimer.singleShot(0, self._scroll_to_banner)

    def _scroll_to_banner(self) -> None:
        self.ensureWidgetVisible(self.banner)

    def _filter(self, index: int) -> None:
        self.table.show_only(None if index == 0 else STATUSES[index - 1])

    def _lay_out(self) -> None:
        case = QGroupBox("Open case")
        inner = QVBoxLayout(case)
        inner.addWidget(self.heading)
        inner.addLayout(_row(QLabel("Who"), self.who))
        inner.addWidget(self.save_button)
        inner.addLayout(_row(*self.decisions.values()))
        inside = QWidget()
        layout = QVBoxLayout(inside)
        layout.addLayout(_row(self.folder_button, self.list_button, self.scans_button))
        layout.addWidget(self.counts)
        layout.addLayout(_row(QLabel("Show"), self.filter))
        layout.addWidget(self.table, stretch=1)
        layout.addLayout(_row(self.previous_button, self.open_button, self.next_button))
        layout.addWidget(case)
        layout.addWidget(self.bar)
        layout.addWidget(self.state)
        layout.addWidget(self.banner)
        scroll(self, inside, _WIDTH)


def _button(text: str, tip: str) -> QPushButton:
    made = QPushButton(text)
    made.setToolTip(tip)
    return made


def _text(text: str = "") -> QLabel:
    label = QLabel(text)
    label.setWordWrap(True)
    label.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
    label.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Minimum)
    return label


def _row(*parts: QWidget) -> QHBoxLayout:
    row = QHBoxLayout()
    for part in parts:
        row.addWidget(part, stretch=0 if isinstance(part, QLabel) else 1)
    return row
