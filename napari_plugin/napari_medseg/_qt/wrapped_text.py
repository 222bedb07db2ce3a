"""A text that may hold a long path: broken anywhere to fit, and copied as it is."""

from __future__ import annotations

from qtpy.QtCore import Qt
from qtpy.QtGui import QResizeEvent, QTextOption
from qtpy.QtWidgets import QFrame, QSizePolicy, QTextEdit, QWidget

_STYLE = (
    "QTextEdit { background: transparent; padding: 0px; } QTextEdit > QWidget { background: transparent; }"
)


class WrappedText(QTextEdit):
    """As high as its text; hidden until there is one. A label cannot break a path, which has no spaces."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setReadOnly(True)
        self.setFrameShape(QFrame.Shape.NoFrame)
        self.setStyleSheet(_STYLE)
        self.setWordWrapMode(QTextOption.WrapMode.WrapAtWordBoundaryOrAnywhere)
        self.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        for set_policy in (self.setHorizontalScrollBarPolicy, self.setVerticalScrollBarPolicy):
            set_policy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.document().setDocumentMargin(4)  # where the text of a label begins
        self.document().documentLayout().documentSizeChanged.connect(self._fit)
        self.hide()

    def text(self) -> str:
        """What it says."""
        return str(self.toPlainText())

    def setText(self, text: str) -> None:
        """Say something else, in plain text; nothing hides it."""
        self.setPlainText(text)
        self.setVisible(bool(text))

    def resizeEvent(self, event: QResizeEvent) -> None:
        """Break the lines anew."""
        super().resizeEvent(event)
        self._fit()

    def _fit(self) -> None:
        self.setFixedHeight(round(self.document().size().height()))
