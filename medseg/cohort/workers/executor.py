"""What the coordinator asks of workers, wherever they are."""

from __future__ import annotations

from typing import Protocol

from medseg.cohort.records import CaseResult, CaseTask, LostCase


class Executor(Protocol):
    """Workers, on this computer or others."""

    @property
    def capacity(self) -> int:
        """How many cases it can hold at a time, those included that are read ahead."""

    @property
    def crowded(self) -> bool:
        """Whether cases may lack memory only because others are computed beside them on the same computer."""

    def submit(self, task: CaseTask) -> None:
        """Begin a case; never waits for it."""

    def wait(self, seconds: float) -> list[CaseResult | LostCase]:
        """What has come in since; waits for the first so many seconds.

        Raises
        ------
        ModelRefused
            If a worker cannot use the model.
        """

    def close(self) -> None:
        """Let workers go. Cases under way are dropped; nothing is left half-written under its name."""
