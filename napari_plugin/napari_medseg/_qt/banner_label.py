"""A coloured banner that says a verdict."""

from __future__ import annotations

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QFrame, QLabel, QPushButton, QSizePolicy, QVBoxLayout, QWidget

from medseg import Verdict
from napari_medseg.panels.verdicts import Banner, banner


class BannerLabel(QFrame):
    """Hidden until there is something to say; the text can be selected and copied.

    Long reasons are folded to a line each, and a button shows all of them.
    """

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._shown: Banner | None = None
        self._label = QLabel()
        self._label.setWordWrap(True)
        self._label.setTextFormat(Qt.TextFormat.PlainText)
        self._label.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        # A path without a space in it must not make the dock wider.
        self._label.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Minimum)
        self.details = QPushButton()
        self.details.setCheckable(True)
        self.details.setCursor(Qt.CursorShape.PointingHandCursor)
        self.details.toggled.connect(self._unfold)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(8, 8, 8, 8)
        layout.setSpacing(4)
        layout.addWidget(self._label)
        layout.addWidget(self.details, alignment=Qt.AlignmentFlag.AlignLeft)
        self.hide()

    def show_verdict(self, verdict: Verdict, introduction: str = "") -> None:
        """Show a verdict and its reasons, after a sentence of what was done."""
        self._shown = shown = banner(verdict, introduction)
        self.setStyleSheet(
            f"BannerLabel {{ background: {shown.background}; border-radius: 4px; }}"
            f"QLabel {{ background: transparent; color: {shown.foreground}; }}"
            f"QPushButton {{ background: transparent; color: {shown.foreground}; border: none;"
            " padding: 0 5px; text-decoration: underline; }"
        )
        self.details.setVisible(shown.summary != shown.text)
        self.details.setChecked(False)
        self._unfold(False)
        self.show()

    def text(self) -> str:
        """Everything that is said, folded or not; "" before anything was."""
        return "" if self._shown is None else self._shown.text

    @property
    def shown_text(self) -> str:
        """What is in sight."""
        return str(self._label.text())

    def _unfold(self, on: bool) -> None:
        if self._shown is not None:
            self._label.setText(self._shown.text if on else self._shown.summary)
        self.details.setText("Less" if on else "Details")
