"""The questions that opening a file may ask, as dialogs; and whether there is anybody to answer them."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import partial

from qtpy.QtCore import QThread
from qtpy.QtWidgets import QApplication, QMainWindow, QMessageBox, QWidget

from medseg.verdict import Reason
from napari_medseg._qt.series_chooser import ask_series
from napari_medseg.opening import Questions, question

OPEN = "Open all the same"


def questions() -> Questions | None:
    """Dialogs over napari's window; None where no person waits at it.

    A script that opens a file before it runs the window gets an error instead, which it can handle. napari's
    own command opens files before that too, but for a person.
    """
    application = QApplication.instance()
    thread = QThread.currentThread()
    if application is None or thread is None or thread is not application.thread():
        return None
    if thread.loopLevel() == 0 and not _is_naparis_command():
        return None
    parent = _window()
    return Questions(partial(ask_series, parent), partial(ask_consent, parent))


def ask_consent(parent: QWidget | None, name: str, reasons: Sequence[Reason]) -> bool:
    """Whether what medseg refuses is to be opened all the same. A dialog that is dismissed says no."""
    box = QMessageBox(parent)
    box.setIcon(QMessageBox.Icon.Question)
    box.setWindowTitle("medseg: open all the same?")
    text, meaning = question(name, reasons)
    box.setText(text)
    box.setInformativeText(meaning)
    opens = box.addButton(OPEN, QMessageBox.ButtonRole.AcceptRole)
    box.setDefaultButton(box.addButton(QMessageBox.StandardButton.Cancel))
    box.exec()
    agreed = box.clickedButton() is opens
    box.deleteLater()
    return agreed


def _is_naparis_command() -> bool:
    """Whether this process was started by ``napari`` or ``python -m napari``."""
    main = getattr(sys.modules.get("__main__"), "__spec__", None)
    return "napari.__main__" in sys.modules or getattr(main, "name", "") == "napari.__main__"


def _window() -> QWidget | None:
    shown = (x for x in QApplication.topLevelWidgets() if isinstance(x, QMainWindow) and x.isVisible())
    return next(shown, None)
