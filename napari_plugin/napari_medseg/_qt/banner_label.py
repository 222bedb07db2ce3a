"""A coloured label that says a verdict."""

from __future__ import annotations

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QLabel, QSizePolicy, QWidget

from medseg import Verdict
from napari_medseg.panels.verdicts import banner


class BannerLabel(QLabel):
    """Hidden until there is something to say; the text can be selected and copied."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setWordWrap(True)
        self.setTextFormat(Qt.TextFormat.PlainText)
        self.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        # A path without a space in it must not make the dock wider.
        self.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Minimum)
        self.hide()

    def show_verdict(self, verdict: Verdict, introduction: str = "") -> None:
        """Show a verdict and its reasons, after a sentence of what was done."""
        shown = banner(verdict, introduction)
        self.setStyleSheet(
            f"background: {shown.background}; color: {shown.foreground}; padding: 8px; border-radius: 4px;"
        )
        self.setText(shown.text)
        self.show()
