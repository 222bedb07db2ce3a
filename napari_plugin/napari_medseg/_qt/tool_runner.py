"""Runs a tool in a thread, with the layer locked; its result is applied as one step of undo."""

from __future__ import annotations

from collections.abc import Callable

from qtpy.QtCore import QObject, Signal
from superqt.utils import create_worker

from napari_medseg._qt.layer_link import LayerLink
from napari_medseg.correction.tools import Job, Tool
from napari_medseg.edits import Edit
from napari_medseg.panels.words import counted
from napari_medseg.session import CorrectionSession


class ToolRunner(QObject):
    """One tool at a time.

    ``busy`` is emitted with what is being done, "" when it is done; ``done`` with a sentence, ``failed`` with
    the error.
    """

    busy = Signal(str)
    done = Signal(str)
    failed = Signal(object)

    def __init__(self, link: LayerLink, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._link = link
        self._mode = self._title = ""
        self._then: Callable[[], None] | None = None
        self.is_busy = False

    def run(
        self,
        title: str,
        tool: Tool,
        job: Job,
        then: Callable[[], None] | None = None,
        why: Callable[[Job], str] | None = None,
    ) -> None:
        """Begin; nothing happens while another tool runs.

        ``then`` is called once the edit has been made. ``why`` says why nothing changed, where nothing did.
        """
        if self.is_busy:
            return
        self.is_busy, self._title, self._then = True, title, then
        layer = self._link.layer
        # The edit holds all voxels of its box: what was painted meanwhile would be painted over.
        self._mode, layer.editable = str(layer.mode), False
        self.busy.emit(f"{title} …")

        create_worker(
            _computed,
            self._link.correction.session,
            tool,
            job,
            why,
            _connect={"returned": self._apply, "errored": self._fail},
            _start_thread=True,
        )

    def _apply(self, result: tuple[Edit, str]) -> None:
        if self._link.is_over:  # the layer was left or removed meanwhile
            return
        self._unlock()
        edit, reason = result
        changed, title = self._link.correction.apply(edit), self._title
        self._link.refresh()
        what = f"{counted(changed, 'voxel')} changed." if changed else f"no change. {reason}".strip()
        self.done.emit(f"{title}: {what}")
        if self._then is not None:
            self._then()

    def _fail(self, error: Exception) -> None:
        if not self._link.is_over:
            self._unlock()
            self.failed.emit(error)

    def _unlock(self) -> None:
        self.is_busy = False
        self._link.layer.editable = True
        self._link.layer.mode = self._mode
        self.busy.emit("")


def _computed(
    session: CorrectionSession, tool: Tool, job: Job, why: Callable[[Job], str] | None
) -> tuple[Edit, str]:
    session.sync(everything=True)  # what was done before is no part of this step
    edit = tool(job)
    return edit, why(job) if edit.is_empty and why is not None else ""
