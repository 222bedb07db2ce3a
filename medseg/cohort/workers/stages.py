"""How far a worker is with its case, told now and then."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from medseg.pipeline.options import Progress

_EVERY_S = 0.5


@dataclass(frozen=True, slots=True)
class Stage:
    """``done`` of ``total`` steps of a stage of the case that is computed, as ``("predict", 40, 108)``."""

    stage: str
    done: int
    total: int


def seldom(tell: Callable[[Stage], None], every_s: float = _EVERY_S) -> Progress:
    """A progress callback that passes on at most one stage every so many seconds, and each one's end.

    Ends are never left out: who counts steps over many cases needs them.
    """
    last = -float("inf")

    def progress(stage: str, done: int, total: int) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= every_s or done >= total:
            last = now
            tell(Stage(stage, done, total))

    return progress
