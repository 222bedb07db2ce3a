"""The dock widget that corrects a segmentation: start, tools, undo, save, and unsaved edits."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QEvent, QTimer
from qtpy.QtWidgets import (
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QPushButton,
    QScrollArea,
    QVBoxLayout,
    QWidget,
)
from superqt.utils import create_worker

from medseg import MedsegError, Verdict
from napari_medseg._qt.banner_label import BannerLabel
from napari_medseg._qt.case_chooser import CaseChooser
from napari_medseg._qt.closing import CloseGuard, ask_path, ask_scan, ask_unsaved, window_of
from napari_medseg._qt.connections import Connections
from napari_medseg._qt.layer_link import LayerLink
from napari_medseg._qt.layer_sessions import keep, kept_of, session_of
from napari_medseg._qt.scrollable import scroll
from napari_medseg._qt.session_scan import SessionScan
from napari_medseg._qt.shortcuts import bind, key_of, shortcut_dialog, unbind
from napari_medseg._qt.toolbox import Toolbox
from napari_medseg._qt.unfinished_list import UnfinishedList
from napari_medseg._qt.wrapped_text import WrappedText
from napari_medseg._writer import scans_in_the_window
from napari_medseg.correction.correcting import Correction, begin, join, suggested_path
from napari_medseg.layers import labels_layer, opening_of, volume_of
from napari_medseg.recovery.provenance import provenance_path
from napari_medseg.segmenting import failure
from napari_medseg.session import CorrectionSession

if TYPE_CHECKING:
    from napari.layers import Labels
    from napari.viewer import Viewer

_LOG = logging.getLogger(__name__)
_KEPT = "Edits that were not saved are kept: Recover, under Unfinished sessions, brings them back."
_STATE_EVERY_MS = 500
_WIDTH = 350  # with a scroll bar nothing is cut off


class CorrectWidget(QScrollArea):
    """One labels layer at a time, with a session that keeps every stroke."""

    def __init__(self, napari_viewer: Viewer, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._viewer = napari_viewer
        self._borrowed = False  # the session is somebody else's, who closes it
        self._guard: CloseGuard | None = None
        self.link: LayerLink | None = None
        self._recovered: Verdict | None = None  # what is to be known of a recovered session
        self._saved_note = ""
        self.unfinished, self.chooser = UnfinishedList(), CaseChooser(napari_viewer)
        self.scan = SessionScan(napari_viewer, self.chooser.scan, self)
        self.undo, self.redo = QPushButton("Undo"), QPushButton("Redo")
        self.save_button, self.help = QPushButton("Save …"), QPushButton("?")
        self.who = QLineEdit()
        self.state, self.banner, self.tools = QLabel(), BannerLabel(), Toolbox(napari_viewer)
        self._timer = QTimer(self)
        self._timer.setInterval(_STATE_EVERY_MS)
        self._timer.timeout.connect(self._show_state)
        self._lay_out()
        self._wire()
        self._window = Connections(self)
        self._window.add(napari_viewer.layers.events.removed, self._leave_removed)
        self._enable()
        self.unfinished.look()

    @property
    def session(self) -> CorrectionSession | None:
        """The session of the case that is corrected."""
        return None if self.link is None else self.link.correction.session

    def start(self) -> None:
        """Begin to correct the chosen layer."""
        layer, scan_layer = self.chooser.labels.layer, self.chooser.scan.layer
        if layer is None or self.link is not None:
            return
        self.banner.hide()
        try:
            scan = None if scan_layer is None else volume_of([(scan_layer.data, scan_layer.metadata)])
            shared = session_of(layer)
            opening = opening_of([] if scan_layer is None else [scan_layer.metadata])
            if shared is not None:
                correction = join(shared, scan, opening)
            else:
                _, options, _ = layer.as_layer_data_tuple()
                scans, kept = scans_in_the_window(), kept_of(layer)
                correction = begin(layer.data, options, scan, scans, kept, opening)
        except (MedsegError, OSError) as error:
            self._fail(error)
            return
        suggested = None if scan_layer is None else tuple(scan_layer.contrast_limits)
        self._begin(layer, correction, suggested, borrowed=shared is not None)

    def resume(self, session: CorrectionSession) -> None:
        """Go on with a recovered session, in layers of its own."""
        if self.link is not None and not self.leave(may_cancel=True):
            session.close()
            self.unfinished.look()
            return
        data, options, _ = labels_layer(session.label_map(), session.facts.case)
        layer = self._viewer.add_labels(data, **options)
        self._begin(layer, Correction(session), None, borrowed=False)
        if session.notices:
            self._recovered = Verdict.of("warning", "recovered", " ".join(session.notices))
            self._say(self._recovered, "Recovered.")
        else:
            self._note(f"{session.facts.case} is recovered, with all edits.")
        self.scan.find()

    def leave(self, *, may_cancel: bool) -> bool:
        """End the correction; unsaved edits are asked about. False if the person would rather go on."""
        link = self.link
        if link is None:
            return True
        session, discard = link.correction.session, False
        if not self._borrowed:
            try:
                session.sync(everything=True)
                if session.is_modified:
                    choice = ask_unsaved(self, session.facts.case, may_cancel=may_cancel)
                    if choice == "cancel":
                        return False
                    if choice == "save" and not self._save_now() and may_cancel:
                        return False
                    discard = choice == "discard"
            except (MedsegError, OSError) as error:
                self._fail(error)
                if may_cancel:
                    return False
        self._end()
        self._close(link, discard=discard)
        return True

    def save(self, path: Path) -> None:
        """Write the labels in the background, with their provenance beside them."""
        session = self.session
        if session is None:
            return
        self.save_button.setEnabled(False)
        self.state.setText(f"Saving {path.name} …")
        create_worker(
            session.save,
            path,
            who=self.who.text().strip() or None,
            overwrite=True,  # the dialog has asked
            _connect={"returned": self._saved, "errored": self._fail, "finished": self._enable},
            _start_thread=True,
        )

    def event(self, event: QEvent) -> bool:
        """A dock that closes lets go of its widget: the correction ends with it."""
        if event.type() == QEvent.Type.ParentChange and self.parent() is None:
            self.leave(may_cancel=False)
        return super().event(event)

    def _begin(
        self,
        layer: Labels,
        correction: Correction,
        suggested: tuple[float, float] | None,
        *,
        borrowed: bool,
    ) -> None:
        self._borrowed = borrowed
        self.link = LayerLink(self._viewer, layer, correction, self)
        self.link.failed.connect(self._fail)
        self.link.edited.connect(self._show_state)
        if not borrowed:
            correction.session.start()
        self.chooser.show_state(layer)
        self.chooser.scan.choose(None if correction.image is None else self.chooser.scan.layer)
        self._viewer.layers.selection.active = layer
        self.unfinished.collapse(animate=False)
        self.tools.start(self.link, suggested)
        self.scan.start(self.link)
        bind(layer, {**self.tools.by_action, "undo": self._undo, "redo": self._redo})
        self._guard = CloseGuard(window_of(self), lambda: self.leave(may_cancel=True))
        self._timer.start()
        self._note("")  # what was said of another case
        self._enable()

    def _end(self) -> None:
        link, self.link = self.link, None
        self._timer.stop()
        if self._guard is not None:
            self._guard.release()
            self._guard = None
        self._recovered = None
        if link is not None:
            unbind(link.layer)
            self.scan.end()
            self.tools.end()
            link.end()
            link.deleteLater()
        self.chooser.show_state(None)
        self.unfinished.expand(animate=False)
        self._enable()

    def _close(self, link: LayerLink, *, discard: bool = False) -> None:
        """Close the session of a correction that has ended; unsaved edits stay unless they are discarded."""
        session = link.correction.session
        if self._borrowed:
            return
        try:
            if session.is_modified and not discard:
                keep(link.layer, session.folder)
            session.close(discard=discard)
        except (MedsegError, OSError) as error:
            self._fail(error)

    def _leave_removed(self, event: Any) -> None:
        """The corrected layer is gone. No dialog: it would hold the window in the midst of the removal."""
        link = self.link
        if link is None or event.value is not link.layer:
            return
        said = f"“{link.layer.name}” was removed from the window: its correction has ended."
        self._note("")
        if not self._borrowed:
            session = link.correction.session
            try:
                session.sync(everything=True)  # before the end, within the limits
                if session.is_modified:
                    said = f"{said} {_KEPT}"
            except (MedsegError, OSError) as error:
                self._fail(error)
        self._end()
        self.said.setText(said)  # beside what failed
        self._close(link)
        if not self._borrowed:
            self.unfinished.look()

    def _toggle(self) -> None:
        if self.link is None:
            self.start()
        else:
            self.leave(may_cancel=True)

    def _undo(self) -> None:
        if self.link is not None and not self.tools.is_busy:
            self.link.undo()
            self._note("")

    def _redo(self) -> None:
        if self.link is not None and not self.tools.is_busy:
            self.link.redo()

    def _ask_and_save(self) -> None:
        session = self.session
        if session is not None and (path := ask_path(self, suggested_path(session))):
            self.save(path)

    def _save_now(self) -> bool:
        session = self.session
        path = None if session is None else ask_path(self, suggested_path(session))
        if session is None or path is None:
            return False
        session.save(path, who=self.who.text().strip() or None, overwrite=True)
        return True

    def _saved(self, path: Path) -> None:
        self._saved_note = f"Saved {path}\nBeside it: {provenance_path(path).name}"
        self._note(self._saved_note)

    def _show_help(self) -> None:
        dialog = shortcut_dialog(self)
        dialog.exec()
        dialog.deleteLater()

    def _show_state(self) -> None:
        session = self.session
        if session is None:
            self.state.setText("")
            return
        if session.failure is not None:
            self._fail(session.failure)
        busy = self.tools.is_busy
        self.undo.setEnabled(session.can_undo and not busy)
        self.redo.setEnabled(session.can_redo and not busy)
        if not busy and self.save_button.isEnabled():
            modified = session.is_modified
            if session.has_unsaved_steps and self._saved_note and self.said.text() == self._saved_note:
                self.said.setText("")
            self.state.setText("Unsaved edits, kept on the disk" if modified else "No unsaved edits")

    def _show_busy(self, what: str) -> None:
        self.state.setText(f"{what} the layer is locked" if what else "")
        self._enable()

    def _fail(self, error: Exception) -> None:
        verdict, is_bug = failure(error)
        if is_bug:
            _LOG.error("correcting failed", exc_info=error)
        self._say(verdict)

    def _note(self, text: str) -> None:
        self.banner.setVisible(False)
        self.said.setText(text)

    def _tell_of_scan(self, verdict: Verdict | None) -> None:
        recovered = self._recovered
        if verdict is not None:
            self._say(recovered + verdict if recovered else verdict, "Recovered." if recovered else "")
        elif recovered is not None:
            self._say(recovered, "Recovered.")
        else:
            self.banner.hide()

    def _open_scan(self) -> None:
        if self.session is not None and (path := ask_scan(self, self.session)):
            self.scan.open(path)

    def _say(self, verdict: Verdict, introduction: str = "") -> None:
        self.said.hide()
        self.banner.show_verdict(verdict, introduction)

    def _enable(self) -> None:
        correcting, busy = self.link is not None, self.tools.is_busy
        self.tools.setEnabled(correcting and not busy)
        self.save_button.setEnabled(correcting and not busy)
        for one in (self.undo, self.redo):
            one.setEnabled(False)
        self._show_state()

    def _wire(self) -> None:
        self.chooser.button.clicked.connect(self._toggle)
        self.undo.clicked.connect(self._undo)
        self.redo.clicked.connect(self._redo)
        self.save_button.clicked.connect(self._ask_and_save)
        self.help.clicked.connect(self._show_help)
        self.tools.said.connect(self._note)
        self.tools.failed.connect(self._fail)
        self.tools.busy.connect(self._show_busy)
        self.scan.taken.connect(self.tools.take_scan)
        self.scan.told.connect(self._tell_of_scan)
        self.scan.failed.connect(self._fail)
        self.chooser.open_scan.clicked.connect(self._open_scan)
        self.unfinished.recovered.connect(self.resume)
        self.unfinished.failed.connect(self._fail)

    def _lay_out(self) -> None:
        self.said = WrappedText()
        self.state.setWordWrap(True)
        self.who.setPlaceholderText("your name, to be kept beside the result (optional)")
        self.who.setToolTip("Goes into the file <name>.provenance.json that is written beside what you save")
        self.help.setToolTip("Show the list of shortcuts")
        self.undo.setToolTip(f"Take the last step back, down to the start of the session ({key_of('undo')})")
        self.redo.setToolTip(f"Make the step again that was undone last ({key_of('redo')})")
        self.save_button.setToolTip("Save the segmentation on the scan's own grid, as NIfTI or NRRD")
        row = QHBoxLayout()
        for one in (self.undo, self.redo, self.save_button):
            row.addWidget(one, stretch=1)
        row.addWidget(self.help)
        self.help.setFixedWidth(30)
        inner = QWidget()
        layout = QVBoxLayout(inner)
        for part in (self.unfinished, self.chooser):
            layout.addWidget(part)
        layout.addLayout(row)
        for below in (self.who, self.state, self.said, self.banner, self.tools):
            layout.addWidget(below)
        layout.addStretch(1)
        scroll(self, inner, _WIDTH)
