"""Unsaved edits when a window, a dock or a layer goes: the question, and the guard of the window."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Literal

from qtpy.QtCore import QEvent, QObject
from qtpy.QtWidgets import QFileDialog, QMainWindow, QMessageBox, QWidget

from napari_medseg.panels.words import counted
from napari_medseg.session import CorrectionSession

Choice = Literal["save", "keep", "discard", "cancel"]
_FILTER = "Segmentations (*.nii.gz *.nii *.seg.nrrd *.nrrd *.mha)"


def ask_unsaved(
    parent: QWidget,
    case: str,
    *,
    may_cancel: bool,
    save: str = "Save …",
    later: str = "they are offered when the Correct widget opens",
) -> Choice:
    """What is to become of a case's unsaved edits. A dialog that is dismissed keeps them.

    ``save`` is what the button says; ``later`` when edits that are kept come back.
    """
    box = QMessageBox(parent)
    box.setIcon(QMessageBox.Icon.Question)
    box.setWindowTitle("medseg: unsaved edits")
    box.setText(f"{case} has edits that were not saved.")
    box.setInformativeText(f"Keep for later leaves them on this computer, and {later}.")
    choices: dict[object, Choice] = {
        box.addButton(save, QMessageBox.ButtonRole.AcceptRole): "save",
        box.addButton("Keep for later", QMessageBox.ButtonRole.ActionRole): "keep",
        box.addButton("Discard", QMessageBox.ButtonRole.DestructiveRole): "discard",
    }
    if may_cancel:
        choices[box.addButton(QMessageBox.StandardButton.Cancel)] = "cancel"
    box.exec()
    return choices.get(box.clickedButton(), "cancel" if may_cancel else "keep")


def ask_discard(parent: QWidget, case: str, voxels: int | None) -> bool:
    """Whether an unfinished session is to go for good."""
    what = "its edits" if voxels is None else counted(voxels, "changed voxel")
    answer = QMessageBox.question(
        parent, "medseg: discard", f"Discard {what} of {case} for good? They cannot be recovered afterwards."
    )
    return answer == QMessageBox.StandardButton.Yes


def ask_path(parent: QWidget, suggested: Path) -> Path | None:
    """Where to save, None if nowhere; the dialog asks before a file is replaced."""
    named, _ = QFileDialog.getSaveFileName(parent, "Save the segmentation", str(suggested), _FILTER)
    return Path(named) if named else None


def ask_scan(parent: QWidget, session: CorrectionSession) -> Path | None:
    """The file of a case's scan, None for none; the dialog begins where the scan was, if that is known."""
    files = session.scan.files
    begin = str(files[0].parent) if files else ""
    named, _ = QFileDialog.getOpenFileName(parent, f"Open the scan of {session.facts.case}", begin)
    return Path(named) if named else None


def window_of(widget: QWidget) -> QWidget:
    """The main window that a widget is docked in, also while its dock floats; else its own window."""
    found: QWidget | None = widget
    while found is not None and not isinstance(found, QMainWindow):
        found = found.parentWidget()
    top = widget.window() if found is None else found
    return widget if top is None else top


class CloseGuard(QObject):
    """Asks before a window closes, for as long as it is not released.

    It does not hold the window, its parent. Were that the last reference to a closed window, PySide would
    delete the window from within the guard's own destructor, and the window its child, the guard, again.
    """

    def __init__(self, window: QWidget, may_close: Callable[[], bool]) -> None:
        super().__init__(window)
        self._may_close = may_close
        window.installEventFilter(self)

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        """Stop the window's closing where that is wanted."""
        if watched is self.parent() and event.type() == QEvent.Type.Close and not self._may_close():
            event.ignore()
            return True
        return False

    def release(self) -> None:
        """Let the window close from now on."""
        self.parent().removeEventFilter(self)
        self.deleteLater()
