"""What can be undone and redone: steps of a session, and where the journal holds their edits.

No voxels are here: a step is a few places in the journal's file, so a day of painting takes some kilobytes.
"""

from __future__ import annotations

from dataclasses import dataclass, field

IDLE_AFTER_S = 60.0  # of a longer pause only this much counts as work


@dataclass(frozen=True, slots=True)
class Step:
    """What one undo takes back, such as a brush stroke: its number and its edits' offsets, ascending."""

    number: int
    edits: tuple[int, ...]


@dataclass(slots=True)
class History:
    """The steps that stand, in order, and those that were undone, the next one to redo last."""

    applied: list[Step] = field(default_factory=list)
    undone: list[Step] = field(default_factory=list)

    def add(self, number: int, offset: int) -> None:
        """An edit has been made. It joins the last step if that has its number; what was undone is gone."""
        self.undone.clear()
        if self.applied and self.applied[-1].number == number:
            self.applied[-1] = Step(number, (*self.applied[-1].edits, offset))
        else:
            self.applied.append(Step(number, (offset,)))

    def undo(self) -> Step:
        """Take back the last step that stands. There must be one."""
        self.undone.append(self.applied.pop())
        return self.undone[-1]

    def redo(self) -> Step:
        """Make the step again that was undone last. There must be one."""
        self.applied.append(self.undone.pop())
        return self.applied[-1]

    @property
    def position(self) -> int:
        """The last edit that stands, 0 for none. One position has one array: every edit has one before it."""
        return self.applied[-1].edits[-1] if self.applied else 0


@dataclass(slots=True)
class WorkClock:
    """Seconds that somebody worked: the pauses between edits, each up to `IDLE_AFTER_S`.

    Parameters
    ----------
    last
        When the session began or the last edit was made, in seconds since 1970.
    seconds
        Worked until then.
    """

    last: float
    seconds: float = 0.0

    def tick(self, now: float) -> None:
        """An edit at this time. A clock that was set back in between adds nothing."""
        self.seconds += min(max(now - self.last, 0.0), IDLE_AFTER_S)
        self.last = now
