"""Keys of the correction widget: bound to the layer that is corrected, and listed for whoever asks.

They work while that layer is selected. None is one of napari's own for a labels layer or for the window, but
undo and redo, which the session takes over.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from app_model.types import KeyCode, KeyCombo, KeyMod
from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QAbstractItemView,
    QDialog,
    QDialogButtonBox,
    QHeaderView,
    QTableWidget,
    QTableWidgetItem,
    QVBoxLayout,
    QWidget,
)

if TYPE_CHECKING:
    from napari.layers import Labels


@dataclass(frozen=True, slots=True)
class Shortcut:
    """A key, its action, what that does, and how napari binds the key where that is not as it is shown."""

    key: str
    action: str
    text: str
    combination: KeyCombo | None = None

    @property
    def binding(self) -> KeyCombo | str:
        """For ``bind_key``."""
        return self.key if self.combination is None else self.combination


# As napari binds them: on macOS, CtrlCmd is Cmd.
_UNDO = KeyMod.CtrlCmd | KeyCode.KeyZ
_REDO = KeyMod.CtrlCmd | KeyMod.Shift | KeyCode.KeyZ

SHORTCUTS = (
    Shortcut("Ctrl+Z", "undo", "Undo, back to the start of the session", _UNDO),
    Shortcut("Ctrl+Shift+Z", "redo", "Redo", _REDO),
    Shortcut("S", "smooth", "Smooth the selected label"),
    Shortcut("G", "grow", "Grow it"),
    Shortcut("H", "shrink", "Shrink it"),
    Shortcut("J", "fill_holes", "Fill its holes"),
    Shortcut("K", "keep", "Keep a piece: click it"),
    Shortcut("R", "remove", "Remove a piece: click it"),
    Shortcut("D", "split", "Split a piece off: click it"),
    Shortcut("T", "threshold", "Threshold brush on or off"),
    Shortcut("I", "interpolate", "Interpolate between annotated slices"),
    Shortcut(".", "copy_next", "Copy the label to the next slice"),
    Shortcut(",", "copy_previous", "Copy the label to the previous slice"),
    Shortcut("N", "next_slice", "Go to the next slice of interest"),
    Shortcut("W", "scribble", "Segment from the scribbles"),
)
NAPARI_KEYS = (
    ("1 or E", "napari: eraser"),
    ("2 or P", "napari: brush"),
    ("3", "napari: polygon"),
    ("4 or F", "napari: fill"),
    ("5 or L", "napari: pick a label"),
    ("[ and ]", "napari: brush size"),
    ("M", "napari: a new label"),
)


def key_of(action: str) -> str:
    """The key of an action, as it is shown."""
    return next(one.key for one in SHORTCUTS if one.action == action)


def bind(layer: Labels, actions: Mapping[str, Callable[[], None]]) -> None:
    """Bind the shortcuts of all actions that are given."""
    for one in SHORTCUTS:
        if one.action in actions:
            layer.bind_key(one.binding, _called(actions[one.action]), overwrite=True)


def unbind(layer: Labels) -> None:
    """Take the shortcuts off a layer, whose keys mean again what they mean in napari."""
    for one in SHORTCUTS:
        layer.bind_key(one.binding, None)


def shortcut_dialog(parent: QWidget | None = None) -> QDialog:
    """A window with the list of shortcuts."""
    dialog = QDialog(parent)
    dialog.setWindowTitle("medseg: shortcuts while correcting")
    rows = [*((one.key, one.text) for one in SHORTCUTS), *NAPARI_KEYS]
    table = QTableWidget(len(rows), 2)
    table.setHorizontalHeaderLabels(("key", "what it does, with the labels layer selected"))
    table.verticalHeader().setVisible(False)
    table.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
    table.setSelectionMode(QAbstractItemView.SelectionMode.NoSelection)
    table.setFocusPolicy(Qt.FocusPolicy.NoFocus)
    for n, row in enumerate(rows):
        for column, text in enumerate(row):
            table.setItem(n, column, QTableWidgetItem(text))
    header = table.horizontalHeader()
    header.setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
    header.setSectionResizeMode(1, QHeaderView.ResizeMode.Stretch)
    close = QDialogButtonBox(QDialogButtonBox.StandardButton.Close)
    close.rejected.connect(dialog.reject)
    layout = QVBoxLayout(dialog)
    layout.addWidget(table)
    layout.addWidget(close)
    dialog.resize(480, 720)
    return dialog


def _called(action: Callable[[], None]) -> Callable[[Labels], None]:
    def press(_layer: Labels) -> None:
        action()

    return press
