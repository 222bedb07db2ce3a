"""What the plugin remembers of its user from one window to the next, in Qt's settings file."""

from __future__ import annotations

from qtpy.QtCore import QSettings


def remembered(key: str) -> str:
    """A text that was kept, "" if there is none."""
    return str(_settings().value(key, ""))


def remember(key: str, text: str) -> None:
    """Keep a text for the next window."""
    _settings().setValue(key, text)


def _settings() -> QSettings:
    # A file on every system: nothing of medseg is in the Windows registry.
    return QSettings(QSettings.Format.IniFormat, QSettings.Scope.UserScope, "medseg", "napari")
