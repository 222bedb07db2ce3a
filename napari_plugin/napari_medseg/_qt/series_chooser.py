"""The dialog that lists the series of a folder and opens one of them."""

from __future__ import annotations

from collections.abc import Sequence

from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QAbstractItemView,
    QDialog,
    QDialogButtonBox,
    QHeaderView,
    QLabel,
    QTableWidget,
    QTableWidgetItem,
    QVBoxLayout,
    QWidget,
)

from napari_medseg.panels.series import HEADINGS, SeriesRow, first_choice


class SeriesChooser(QDialog):
    """A table of series, the reasons of the selected one below it, and Open.

    Parameters
    ----------
    name
        What they were found in.
    rows
        The series; those that medseg refuses beyond repair can be looked at, not opened.
    """

    def __init__(self, name: str, rows: Sequence[SeriesRow], parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._rows = tuple(rows)
        self.setWindowTitle("medseg: choose a series")
        self.table = _table(self._rows)
        self.why = QLabel()
        self.why.setWordWrap(True)
        self.why.setTextFormat(Qt.TextFormat.PlainText)
        self.buttons = QDialogButtonBox(
            QDialogButtonBox.StandardButton.Open | QDialogButtonBox.StandardButton.Cancel
        )
        self.buttons.accepted.connect(self.accept)
        self.buttons.rejected.connect(self.reject)
        layout = QVBoxLayout(self)
        layout.addWidget(QLabel(f"{name} holds {len(rows)} series. Which one do you want to open?"))
        layout.addWidget(self.table, stretch=1)
        layout.addWidget(self.why)
        layout.addWidget(self.buttons)
        self.table.itemSelectionChanged.connect(self._show_selected)
        self.table.doubleClicked.connect(self._open_clicked)
        first = first_choice(self._rows)
        self.table.selectRow(0 if first is None else first)
        self._show_selected()
        self.resize(820, 380)

    @property
    def series(self) -> str | None:
        """The id of the selected series; None where it cannot be opened."""
        row = self._selected()
        return row.id if row is not None and row.may_open else None

    def _selected(self) -> SeriesRow | None:
        n = self.table.currentRow()
        return self._rows[n] if 0 <= n < len(self._rows) else None

    def _show_selected(self) -> None:
        row = self._selected()
        self.why.setText("" if row is None else row.why)
        self.buttons.button(QDialogButtonBox.StandardButton.Open).setEnabled(self.series is not None)

    def _open_clicked(self) -> None:
        if self.series is not None:
            self.accept()


def ask_series(parent: QWidget | None, name: str, rows: Sequence[SeriesRow]) -> str | None:
    """Show the dialog until it is closed: the chosen series' id, None for Cancel."""
    dialog = SeriesChooser(name, rows, parent)
    accepted = bool(dialog.exec())
    chosen = dialog.series
    dialog.deleteLater()
    return chosen if accepted else None


def _table(rows: Sequence[SeriesRow]) -> QTableWidget:
    table = QTableWidget(len(rows), len(HEADINGS))
    table.setHorizontalHeaderLabels(HEADINGS)
    table.verticalHeader().setVisible(False)
    table.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
    table.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
    table.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
    for n, row in enumerate(rows):
        for column, text in enumerate(row.cells):
            item = QTableWidgetItem(text)
            item.setToolTip(row.why or text)
            table.setItem(n, column, item)
    header = table.horizontalHeader()
    header.setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
    header.setSectionResizeMode(0, QHeaderView.ResizeMode.Stretch)
    return table
