"""The table of cases: sortable, filtered by status, and in which order Next and Previous go."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from qtpy.QtCore import QModelIndex, Qt
from qtpy.QtGui import QBrush, QColor, QResizeEvent
from qtpy.QtWidgets import (
    QAbstractItemView,
    QHeaderView,
    QStyle,
    QStyledItemDelegate,
    QStyleOptionViewItem,
    QTableWidget,
    QTableWidgetItem,
    QWidget,
)

from napari_medseg.reviewing.review import Status
from napari_medseg.reviewing.review_rows import (
    DOUBT_COLUMN,
    DOUBT_MEANS,
    HEADINGS,
    STATUS_COLOURS,
    STATUS_COLUMN,
    ReviewRow,
)

_NAME_WIDTH = 120
_KEY, _STATUS = Qt.ItemDataRole.UserRole, Qt.ItemDataRole.UserRole + 1


class _Item(QTableWidgetItem):
    """Sorts by its key: numbers by value, statuses by progress."""

    def __lt__(self, other: QTableWidgetItem) -> bool:
        return bool(self.data(_KEY) < other.data(_KEY))


class _StatusDelegate(QStyledItemDelegate):
    """Keeps the colour of a status in the selected row, which napari's theme paints grey."""

    def initStyleOption(self, option: QStyleOptionViewItem, index: QModelIndex) -> None:
        """Draw the cell as if it were not selected."""
        super().initStyleOption(option, index)
        option.state &= ~QStyle.StateFlag.State_Selected


class ReviewTable(QTableWidget):
    """Cases, one a row; the first column holds their names."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(0, len(HEADINGS), parent)
        self._only: Status | None = None
        self.setHorizontalHeaderLabels(HEADINGS)
        self.horizontalHeaderItem(DOUBT_COLUMN).setToolTip(DOUBT_MEANS)
        self.verticalHeader().setVisible(False)
        self.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.setItemDelegateForColumn(STATUS_COLUMN, _StatusDelegate(self))
        self.setWordWrap(False)
        self.setTextElideMode(Qt.TextElideMode.ElideMiddle)  # names of cases often differ in their ends
        self.setHorizontalScrollMode(QAbstractItemView.ScrollMode.ScrollPerPixel)
        self.setMinimumHeight(150)
        header = self.horizontalHeader()
        header.setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
        header.setSectionResizeMode(0, QHeaderView.ResizeMode.Interactive)
        header.setMinimumSectionSize(44)
        header.setSortIndicator(DOUBT_COLUMN, Qt.SortOrder.DescendingOrder)

    def show_rows(self, rows: Sequence[ReviewRow]) -> None:
        """Show these cases instead, sorted as the user last chose."""
        self.setSortingEnabled(False)  # else a row moves while its cells are filled
        self.setRowCount(len(rows))
        for n, row in enumerate(rows):
            for column, (text, key) in enumerate(zip(row.cells, row.keys, strict=True)):
                self.setItem(n, column, _item(text, key, row.why))
            self._colour(n, row.status)
        self.setSortingEnabled(True)
        self.show_only(self._only)
        self.resizeColumnsToContents()
        self._stretch_names()

    def resizeEvent(self, event: QResizeEvent) -> None:
        """The names take what the other columns leave."""
        super().resizeEvent(event)
        self._stretch_names()

    def _stretch_names(self) -> None:
        # Qt's own stretching goes down to nothing; in a narrow dock the table rather scrolls to the side.
        others = sum(self.columnWidth(n) for n in range(1, self.columnCount()))
        least = min(_NAME_WIDTH, self.sizeHintForColumn(0))
        self.setColumnWidth(0, max(least, self.viewport().width() - others))

    def show_only(self, status: Status | None) -> None:
        """Hide cases of any other status; None shows all."""
        self._only = status
        for n in range(self.rowCount()):
            hidden = status is not None and self.item(n, STATUS_COLUMN).data(_STATUS) != status
            self.setRowHidden(n, hidden)

    def mark(self, case_id: str | None) -> None:
        """Select a case's row, and set its name in bold: it is the open one."""
        for n in range(self.rowCount()):
            item = self.item(n, 0)
            font = item.font()
            font.setBold(item.text() == case_id)
            item.setFont(font)
            if item.text() == case_id:
                self.selectRow(n)
                self.scrollToItem(item)

    @property
    def selected(self) -> str | None:
        """The name of the selected case."""
        rows = self.selectionModel().selectedRows()
        return self.item(rows[0].row(), 0).text() if rows else None

    def neighbour(self, case_id: str | None, step: int) -> str | None:
        """The case that stands ``step`` (1 or -1) behind another one, as the table is sorted and filtered.

        Without another one the first or the last; None where there is none. The other one may be hidden.
        """
        names = [self.item(n, 0).text() for n in range(self.rowCount())]
        at = names.index(case_id) + step if case_id in names else (0 if step > 0 else len(names) - 1)
        rows = range(at, len(names)) if step > 0 else range(at, -1, -1)
        return next((names[n] for n in rows if not self.isRowHidden(n)), None)

    def _colour(self, n: int, status: Status) -> None:
        item = self.item(n, STATUS_COLUMN)
        item.setData(_STATUS, status)
        item.setBackground(QBrush(QColor(STATUS_COLOURS[status])))
        item.setForeground(QBrush(QColor("#ffffff")))
        item.setTextAlignment(Qt.AlignmentFlag.AlignCenter)


def _item(text: str, key: Any, why: str) -> QTableWidgetItem:
    made = _Item(text)
    made.setData(_KEY, key)
    made.setToolTip(why)
    return made
