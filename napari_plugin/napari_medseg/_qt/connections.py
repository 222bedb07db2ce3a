"""Connections to napari's events that end with a widget."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from qtpy.QtCore import QObject


class Connections:
    """Callbacks of one widget, dropped together: when it is told to, and when Qt destroys the widget.

    napari's events know nothing of Qt: they would call methods of a widget whose window is long gone.
    """

    def __init__(self, widget: QObject) -> None:
        self._made: list[tuple[Any, Callable[..., None]]] = []
        widget.destroyed.connect(self.drop)

    def add(self, event: Any, callback: Callable[..., None]) -> None:
        """Call ``callback`` for every event, with the event or without, as it takes it."""
        event.connect(callback)
        self._made.append((event, callback))

    def drop(self) -> None:
        """End all of them."""
        while self._made:
            event, callback = self._made.pop()
            event.disconnect(callback)
