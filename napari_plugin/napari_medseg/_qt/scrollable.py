"""Docks whose content scrolls, so that several of them fit into a low window."""

from __future__ import annotations

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QScrollArea, QWidget

# Three docks with their titles, the menu and the status bar fit into 800 pixels.
_LOWEST = 160


def scroll(area: QScrollArea, content: QWidget, width: int) -> None:
    """Fill a dock's scroll area: the content is as wide as the area, and scrolls up and down only.

    ``width`` in pixels is the least at which nothing in the content is cut off, with a scroll bar beside it.
    """
    area.setWidget(content)
    area.setWidgetResizable(True)
    area.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
    area.setMinimumSize(width, _LOWEST)
