"""How far the work is: a bar on a terminal, a line now and then where stderr is none."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, redirect_stdout
from typing import Any, Protocol

import typer

_CASES = "cases"  # the stage that counts whole inputs; every other stage is part of one
_UNITS = {"predict": "windows"}  # stages whose speed people compare: machines, precisions, batches
_SILENT_S = 0.7  # work that is over by then shows no progress at all
_LINE_EVERY_S = 10.0
_SIGN_OF_LIFE_S = 30.0  # a case that takes longer shows which stage it is in


class Progress(Protocol):
    """What medseg's functions call as ``progress(stage, done, total)``; a command may add a note."""

    def __call__(self, stage: str, done: int, total: int, note: str = "") -> None: ...


@contextmanager
def working(quiet: bool) -> Iterator[Progress]:
    """Show progress of the work inside on stderr, with the time left.

    Whatever a library prints meanwhile goes to stderr too: stdout holds the result alone.
    """
    with redirect_stdout(sys.stderr):
        if quiet:
            yield _say_nothing
        elif sys.stderr.isatty():
            bar = _Bar()
            try:
                yield bar
            finally:
                bar.stop()
        else:
            yield _Lines()


def _say_nothing(stage: str, done: int, total: int, note: str = "") -> None: ...


class _Bar:
    """A bar for the cases, where there are several, and one for the stage under way.

    Nothing is shown until the work has taken a moment.
    """

    def __init__(self) -> None:
        self._started = time.monotonic()
        self._stage = ""
        self._tasks: dict[str, Any] = {}
        self._cases: tuple[int, int, str] | None = None
        self._display: Any = None
        self._speeds = _Speeds()

    def __call__(self, stage: str, done: int, total: int, note: str = "") -> None:
        if stage == _CASES:
            if total == 1:
                return
            self._cases = (done, total, note)
        self._speeds.count(stage, done)
        if self._display is None:
            if time.monotonic() - self._started < _SILENT_S:
                return
            self._display = self._open()
            if stage != _CASES and self._cases is not None:
                self(_CASES, *self._cases)  # from before there was a display; its bar is the upper one
        row = _CASES if stage == _CASES else "stage"
        if row not in self._tasks:
            self._tasks[row] = self._display.add_task(stage, total=total, speed="")
        elif row == "stage" and stage != self._stage:
            self._display.reset(self._tasks[row])  # its speed says nothing about the next stage
        if row == "stage":
            self._stage = stage
        text = f"{stage} ({note})" if note else stage
        speed = self._speeds.text(stage)
        self._display.update(self._tasks[row], description=text, completed=done, total=total, speed=speed)

    def _open(self) -> Any:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        text = TextColumn("{task.description}", markup=False)
        speed = TextColumn("{task.fields[speed]}", markup=False)
        columns = (text, BarColumn(), MofNCompleteColumn(), speed, TimeRemainingColumn())
        display = Progress(*columns, console=Console(stderr=True), transient=True)
        display.start()
        return display

    def stop(self) -> None:
        if self._display is not None:
            self._display.stop()


class _Lines:
    """A line every ten seconds, with windows per second and the time left at the mean speed so far; and
    one more when a stage that had lines is done.

    Where there are several cases the lines count those, not the stages within each; windows are then those
    of all cases. After half a minute without a line one says which stage the case under way is in.
    """

    def __init__(self) -> None:
        self._last = time.monotonic()
        self._began: dict[str, tuple[float, int, int]] = {}
        self._cases: tuple[int, int] | None = None
        self._open = ""  # the stage of the last line, while it is not done
        self._speeds = _Speeds()

    def __call__(self, stage: str, done: int, total: int, note: str = "") -> None:
        if stage == _CASES:
            if total <= 1:
                return
            self._cases = (done, total)
        now = time.monotonic()
        began, first, before = self._began.get(stage, (now, done, done))
        if done < before:
            began, first = now, done  # the same stage of the next case
        self._began[stage] = (began, first, done)
        self._speeds.count(stage, done)
        if self._cases is not None and stage != _CASES:
            if now - self._last >= _SIGN_OF_LIFE_S:
                step = " ".join(filter(None, (f"{stage} {done} of {total}", _UNITS.get(stage))))
                self._say(now, _CASES, *self._cases, _UNITS, f"working ({step})")
            return
        finished = done >= total
        due = stage == self._open if finished else now - self._last >= _LINE_EVERY_S
        if not due:
            return
        self._open = "" if finished else stage
        left = ""
        if done > first and not finished:
            left = f"about {duration((now - began) / (done - first) * (total - done))} left"
        self._say(now, stage, done, total, [stage] if self._cases is None else _UNITS, left, note)

    def _say(self, now: float, stage: str, done: int, total: int, speeds: Iterable[str], *more: str) -> None:
        self._last = now
        parts = (f"{stage}: {done} of {total}", *map(self._speeds.text, speeds), *more)
        typer.echo(", ".join(filter(None, parts)), err=True)


class _Speeds:
    """Steps per second of the stages in `_UNITS`, over any number of cases that each count from the start."""

    def __init__(self) -> None:
        self._began: dict[str, float] = {}
        self._steps: dict[str, int] = {}
        self._before: dict[str, int] = {}

    def count(self, stage: str, done: int) -> None:
        """``done`` steps are done; no more than last time: another case has begun."""
        if stage not in _UNITS:
            return
        if stage in self._began:
            before = self._before[stage]
            self._steps[stage] += done - before if done > before else done
        else:  # the clock starts after the first step, which has all that is done only once in it
            self._began[stage], self._steps[stage] = time.monotonic(), 0
        self._before[stage] = done

    def text(self, stage: str) -> str:
        """As in ``2.4 windows/s``; nothing before there are two steps."""
        if not self._steps.get(stage):
            return ""
        seconds = time.monotonic() - self._began[stage]
        return f"{self._steps[stage] / seconds:.3g} {_UNITS[stage]}/s" if seconds > 0 else ""


def duration(seconds: float) -> str:
    """Seconds as people say them: ``40 s``, ``12 min``, ``3 h 20 min``."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02d} min"
