"""The dock widget of the review queue: cases worst first; open, correct, decide, go on."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from html import escape
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QEvent
from qtpy.QtWidgets import QFileDialog, QWidget
from superqt.utils import create_worker

from medseg import MedsegError, Reason, Verdict
from napari_medseg._qt.closing import Choice, CloseGuard, ask_unsaved, window_of
from napari_medseg._qt.connections import Connections
from napari_medseg._qt.open_case import OpenCase, ReadyCase, ready_case
from napari_medseg._qt.review_panel import NO_CASE, ReviewPanel
from napari_medseg.reviewing.review import ReviewCase, ReviewQueue, Status
from napari_medseg.reviewing.review_rows import counts_text, review_rows
from napari_medseg.segmenting import failure

if TYPE_CHECKING:
    from napari.viewer import Viewer

_LOG = logging.getLogger(__name__)
Step = Callable[[], None]


class ReviewWidget(ReviewPanel):
    """Opens the cases of a queue one after another, and keeps what became of them.

    Reading and saving run in workers, one at a time; until it has ended the buttons are off and a line says
    what it does.
    """

    def __init__(self, napari_viewer: Viewer, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._viewer = napari_viewer
        self.queue: ReviewQueue | None = None
        self.busy = False
        self.case: OpenCase | None = None
        self._guard: CloseGuard | None = None
        self._gone = Event()
        self.destroyed.connect(self._gone.set)
        self._window = Connections(self)
        self._window.add(napari_viewer.layers.events.removed, self._leave_removed)
        self.folder_button.clicked.connect(self._browse_folder)
        self.list_button.clicked.connect(self._browse_list)
        self.scans_button.clicked.connect(self._browse_scans)
        self.open_button.clicked.connect(self._open_selected)
        self.table.doubleClicked.connect(self._open_selected)
        self.table.itemSelectionChanged.connect(self._enable)
        self.previous_button.clicked.connect(lambda: self.go(-1))
        self.next_button.clicked.connect(lambda: self.go(1))
        self.save_button.clicked.connect(lambda: self.save())
        for status, button in self.decisions.items():
            button.clicked.connect(partial(self.decide, status))
        self._enable()

    def open_queue(self, path: str | Path, scans: str | Path | None = None) -> None:
        """Show the cases of a folder, a study or a list; ``scans`` is one more place to look for scans in."""
        elsewhere = None if scans is None else Path(scans)
        text = f"Reading {Path(path).name} …"
        self._when_settled(
            lambda: self._work(text, ReviewQueue, Path(path), elsewhere, then=self._show_queue)
        )

    def open(self, case_id: str) -> None:
        """Open a case in place of the one that is open; what is not saved there is asked about first."""
        text = f"Opening {case_id} …"
        self._when_settled(lambda: self._work(text, ready_case, self.queue, case_id, then=self._show_case))

    def go(self, step: int) -> None:
        """Open the next case (1) or the previous one (-1), as the table is sorted and filtered."""
        case_id = self.table.neighbour(self.case.id if self.case else None, step)
        if case_id is None:
            self.say("That was the last case." if step > 0 else "That was the first case.")
        else:
            self.open(case_id)

    def save(self, then: Step | None = None) -> None:
        """Save the open case's labels as corrected; ``then`` is called once that is done."""
        queue, opened = self.queue, self.case
        if queue is None or opened is None:
            return
        self.who.ask_once()

        def saved(case: ReviewCase) -> None:
            opened.decided = True
            self._refresh()
            self.say(f"{case.id}: saved as corrected, in {queue.dataset_path.name}/ beside the queue.")
            if then is not None:
                then()

        self._work(f"Saving {opened.id} …", self._saving(queue, opened), then=saved)

    def decide(self, status: Status) -> None:
        """Set the open case's status. What was edited and not saved is saved as corrected before."""
        if self.case is None:
            return
        self.who.ask_once()
        with self._errors_shown():
            if self.case.is_modified:
                self.save(partial(self._set_status, status))
            else:
                self._set_status(status)

    def _set_status(self, status: Status) -> None:
        queue, opened = self.queue, self.case
        if queue is None or opened is None:
            return
        with self._errors_shown():
            queue.set_status(opened.id, status, who=self.who.name)
            opened.decided = True
            self._refresh()
            self.say(f"{opened.id}: {status}.")

    def leave(self, *, may_cancel: bool) -> bool:
        """Close the open case, and ask about unsaved edits; False if the person would rather go on."""
        queue, opened = self.queue, self.case
        if queue is None or opened is None:
            return True
        with self._errors_shown():
            if opened.is_modified:
                answer = self._ask(opened, may_cancel=may_cancel)
                if answer == "cancel":
                    return False
                if answer == "save":
                    self._saving(queue, opened)()
                    opened.decided = True
                opened.discard = answer == "discard"
            self._close_case()
        return self.case is None or not may_cancel

    def event(self, event: QEvent) -> bool:
        """A dock that closes lets go of its widget: the case is closed with it."""
        if event.type() == QEvent.Type.ParentChange and self.parent() is None:
            self.leave(may_cancel=False)
        return super().event(event)

    def _ask(self, opened: OpenCase, *, may_cancel: bool) -> Choice:
        return ask_unsaved(
            self,
            opened.id,
            may_cancel=may_cancel,
            save="Save as corrected",
            later="they are there when the case is opened again",
        )

    def _saving(self, queue: ReviewQueue, opened: OpenCase) -> Callable[[], ReviewCase]:
        return partial(
            queue.save_corrected, opened.id, opened.session, who=self.who.name, scan=opened.loaded.scan
        )

    def _when_settled(self, then: Step) -> None:
        """Go on once it is settled what becomes of the open case's edits; not at all on Cancel."""
        if self.busy:
            return
        with self._errors_shown():
            opened = self.case
            if opened is None or not opened.is_modified:
                then()
                return
            answer = self._ask(opened, may_cancel=True)
            opened.discard = answer == "discard"
            if answer == "save":
                self.save(then)
            elif answer != "cancel":
                then()

    def _show_queue(self, queue: ReviewQueue) -> None:
        self._close_case()
        self.queue = queue
        self._refresh()
        self.say(f"{queue.path}")

    def _show_case(self, ready: ReadyCase) -> None:
        before, case, notices = self.case, ready.loaded.case, list(ready.loaded.notices)
        try:
            view = before.view() if before else None
            if before and before.is_modified and not before.discard:
                notices.append(f"{before.id} was left with edits that were not saved: they come back with it")
            # An empty window in between changes the number of sliders twice: vispy has crashed drawing then.
            opened = OpenCase(self._viewer, ready, view)
        except BaseException:
            ready.drop()
            raise
        self._close_case()
        self.case = opened
        self._guard = CloseGuard(window_of(self), lambda: self.leave(may_cancel=True))
        if self.queue is not None and case.status == "to do":
            self.queue.set_status(case.id, "in progress", who=self.who.name)
        self._refresh()
        self.say("")
        if notices:
            self.show_verdict(Verdict("warning", tuple(Reason("case", notice) for notice in notices)))

    def _close_case(self) -> None:
        """Close the open case. One that was only looked at is to do again."""
        opened = self.case
        if opened is None:
            return
        self.case = None  # first: the layers' removal is nobody else's doing
        if self._guard is not None:
            self._guard.release()
            self._guard = None
        opened.close()
        if self.queue is not None and not opened.decided and opened.loaded.case.status == "to do":
            self.queue.set_status(opened.id, "to do")

    def _leave_removed(self, event: Any) -> None:
        """The user took the labels out of the window: the case is closed, unsaved edits stay recoverable."""
        opened = self.case
        if opened is None or event.value is not opened.labels:
            return
        with self._errors_shown():
            kept = opened.is_modified
            self._close_case()
            self._refresh()
            self.say(
                f"{opened.id}: closed, as its labels were taken out of the window."
                + (" What was not saved is there when it is opened again." if kept else "")
            )

    def _refresh(self) -> None:
        queue, opened = self.queue, self.case
        if queue is None:
            return
        cases = tuple(queue)
        self.table.show_rows(review_rows(cases))
        self.table.mark(opened.id if opened else None)
        self.counts.setText(f"{queue.path.name}: {counts_text(cases)}")
        now = queue[opened.id] if opened else None
        self.heading.setText(NO_CASE if now is None else f"<b>{escape(now.id)}</b>: {now.status}")
        self._enable()

    def _work(self, text: str, function: Callable[..., Any], *args: Any, then: Callable[[Any], None]) -> None:
        """Run a function in the background, then show what it returns or why it failed.

        Where the dock is closed meanwhile, a case that was read is let go of.
        """
        self.busy = True
        self.banner.hide()
        self.say(text)
        self._enable()

        def returned(result: Any) -> None:
            if self._is_gone():
                if isinstance(result, ReadyCase):
                    result.drop()
                return
            self.busy = False
            self._enable()
            with self._errors_shown():
                then(result)

        def errored(error: Exception) -> None:
            if self._is_gone():
                _LOG.error("%s failed after its dock was closed", text, exc_info=error)
                return
            self.busy = False
            self._enable()
            self.say("")
            self._show_failure(error)

        create_worker(
            function, *args, _connect={"returned": returned, "errored": errored}, _start_thread=True
        )

    def _is_gone(self) -> bool:
        return self._gone.is_set() or self.parent() is None

    @contextmanager
    def _errors_shown(self) -> Iterator[None]:
        try:
            yield
        except (MedsegError, OSError) as error:
            self._show_failure(error)

    def _show_failure(self, error: Exception) -> None:
        verdict, is_bug = failure(error)
        if is_bug:
            _LOG.error("the review queue failed", exc_info=error)
        self.show_verdict(verdict)

    def _enable(self) -> None:
        ready, opened = not self.busy, self.case is not None
        for button in (self.folder_button, self.list_button):
            button.setEnabled(ready)
        self.scans_button.setEnabled(ready and self.queue is not None)
        self.open_button.setEnabled(ready and self.table.selected is not None)
        for button in (self.previous_button, self.next_button):
            button.setEnabled(ready and self.queue is not None)
        for button in (self.save_button, *self.decisions.values()):
            button.setEnabled(ready and opened)
        self.table.setEnabled(ready)
        self.bar.setVisible(self.busy)

    def _open_selected(self) -> None:
        if self.table.selected is not None:
            self.open(self.table.selected)

    def _browse_folder(self) -> None:
        if path := QFileDialog.getExistingDirectory(self, "A folder of results, or a study"):
            self.open_queue(path)

    def _browse_list(self) -> None:
        path, _ = QFileDialog.getOpenFileName(self, "A list of cases", "", "Lists (*.csv)")
        if path:
            self.open_queue(path)

    def _browse_scans(self) -> None:
        path = QFileDialog.getExistingDirectory(self, "The folder that the scans are in")
        if path and self.queue is not None:
            self.open_queue(self.queue.path, path)
