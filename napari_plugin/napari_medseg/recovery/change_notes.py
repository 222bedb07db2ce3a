"""What was announced as changed and is not recorded yet, by the step of undo that it belongs to."""

from __future__ import annotations

import math
import threading
import time

from napari_medseg.recovery.differences import Ranges, is_empty, union

STEP_GAP_S = 0.5


class ChangeNotes:
    """Notes of changes, from any thread; nothing here takes longer than microseconds.

    Between `begin` and `end` all is one step: a stroke, a command. Otherwise changes belong together that
    follow each other within half a second.
    """

    def __init__(self, last_step: int) -> None:
        self._lock = threading.Lock()
        self._noted: dict[int, Ranges] = {}
        self._step = last_step + 1
        self._begun = False
        self._last = -math.inf

    def add(self, ranges: Ranges) -> None:
        """Something changed within ranges."""
        if is_empty(ranges):
            return
        with self._lock:
            step = self._step_now()
            self._noted[step] = union(self._noted.get(step, ranges), ranges)

    def take(self) -> dict[int, Ranges]:
        """All notes, by step in ascending order; they are forgotten here."""
        with self._lock:
            taken, self._noted = self._noted, {}
        return taken

    @property
    def are_awaited(self) -> bool:
        """Whether somebody who tells of changes may have made one that no note taken so far is of."""
        with self._lock:
            return self._begun or bool(self._noted)

    def begin(self) -> None:
        """A step begins."""
        with self._lock:
            self._step += 1
            self._begun = True

    def end(self) -> None:
        """The step ends, whether it was begun or not: the next change is of another one."""
        with self._lock:
            self._begun = False
            self._last = -math.inf

    def step_now(self) -> int:
        """The step of a change that nobody announced."""
        with self._lock:
            return self._step_now()

    def __bool__(self) -> bool:
        return bool(self._noted)

    def _step_now(self) -> int:
        now = time.monotonic()
        if not self._begun and now - self._last > STEP_GAP_S:
            self._step += 1
        self._last = now
        return self._step
