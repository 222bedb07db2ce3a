"""Sessions that did not end well, or were kept for later: recover, discard, or leave them."""

from __future__ import annotations

import time
from collections.abc import Sequence

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QHBoxLayout, QLabel, QListWidget, QListWidgetItem, QVBoxLayout, QWidget
from superqt import QCollapsible
from superqt.utils import create_worker

from medseg import MedsegError
from napari_medseg._qt.closing import ask_discard
from napari_medseg._qt.tool_panels import button
from napari_medseg.panels.words import counted
from napari_medseg.recovery.sessions import UnfinishedSession, discard, recover, unfinished_sessions
from napari_medseg.session import CorrectionSession

_ROWS_SEEN = 3


class UnfinishedList(QCollapsible):
    """Hidden unless there are any; a line while collapsed.

    ``recovered`` is emitted with the session, ``failed`` with an error.
    """

    recovered = Signal(object)
    failed = Signal(object)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__("Unfinished sessions", parent, expandedIcon="▼", collapsedIcon="▶")
        self.setDuration(0)
        self.layout().setContentsMargins(0, 0, 0, 0)
        self._sessions: Sequence[UnfinishedSession] = ()
        self.list = QListWidget()
        self.list.setWordWrap(True)
        self.recover = button("Recover", "Open the session again, with all that can be undone")
        self.discard = button("Discard …", "Remove its edits for good")
        self.later = button("Later", "Leave them where they are; they are offered again")
        row = QHBoxLayout()
        for one in (self.recover, self.discard, self.later):
            row.addWidget(one)
        inner = QWidget()
        layout = QVBoxLayout(inner)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(QLabel("Edits that were not saved:"))
        layout.addWidget(self.list)
        layout.addLayout(row)
        self.addWidget(inner)
        self.expand(animate=False)
        self.recover.clicked.connect(self._recover)
        self.discard.clicked.connect(self._discard)
        self.later.clicked.connect(self.hide)
        self.hide()

    def look(self) -> None:
        """Look for sessions, in the background."""
        create_worker(
            unfinished_sessions,
            _connect={"returned": self.offer, "errored": self.failed.emit},
            _start_thread=True,
        )

    def offer(self, sessions: Sequence[UnfinishedSession]) -> None:
        """Show a list of sessions."""
        self._sessions = sessions
        self.list.clear()
        for one in sessions:
            item = QListWidgetItem(row_text(one))
            item.setToolTip(one.damage or (str(one.scan[0]) if one.scan else "its scan's file is not known"))
            self.list.addItem(item)
        self.list.setCurrentRow(0)
        row = self.list.fontMetrics().lineSpacing() * 2 + 10
        self.list.setFixedHeight(row * min(len(sessions), _ROWS_SEEN) + 8)
        self.setText(f"Unfinished sessions: {len(sessions)}")
        if self.isExpanded():
            self.expand(animate=False)  # to the height of the rows
        self.setVisible(bool(sessions))

    def _selected(self) -> UnfinishedSession | None:
        n = self.list.currentRow()
        return self._sessions[n] if n >= 0 else None

    def _recover(self) -> None:
        one = self._selected()
        if one is None:
            return
        self.setEnabled(False)
        create_worker(
            recover,
            one.folder,
            before_damage=one.damage is not None,
            _connect={"returned": self._recovered, "errored": self.failed.emit, "finished": self._enable},
            _start_thread=True,
        )

    def _recovered(self, session: CorrectionSession) -> None:
        self.hide()
        self.recovered.emit(session)

    def _enable(self) -> None:
        self.setEnabled(True)

    def _discard(self) -> None:
        one = self._selected()
        if one is None or not ask_discard(self, one.case, one.changed_voxels):
            return
        try:
            discard(one.folder)
        except MedsegError as error:
            self.failed.emit(error)
        self.look()


def row_text(one: UnfinishedSession) -> str:
    """A session in two lines: the case; when it was edited last, and how much."""
    when = time.strftime("%d %b %Y, %H:%M", time.localtime(one.last_edit))
    if one.changed_voxels is None:
        return f"{one.case}\n{when}: damaged, cannot be recovered"
    damage = ", its end is damaged" if one.damage else ""
    return f"{one.case}\n{when}: {counted(one.changed_voxels, 'voxel')} changed{damage}"
