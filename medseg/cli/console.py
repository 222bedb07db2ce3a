"""What every command shares on its way out: results to stdout, everything else to stderr."""

from __future__ import annotations

import json
import os
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from medseg.verdict import Verdict

Progress = Callable[[str, int, int], None]

_SILENT_S = 0.7  # work that is over by then shows no progress at all
_LINE_EVERY_S = 10.0  # between two lines where stderr is no terminal
_COLOURS = {"ok": "green", "repaired": "yellow", "warning": "yellow", "refused": "red", "failed": "red"}


def print_json(document: Any) -> None:
    """The one JSON document of a command. NaN and infinity are not JSON: they raise."""
    typer.echo(json.dumps(document, indent=2, allow_nan=False))


def print_table(
    columns: Sequence[str], rows: Sequence[Sequence[str]], *, numbers: Sequence[str] = ()
) -> None:
    """A table on stdout; columns named in ``numbers`` are set to the right. Never cut or wrapped."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table

    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        table.add_column(column, justify="right" if column in numbers else "left", no_wrap=True)
    for row in rows:
        table.add_row(*row)
    console = Console(highlight=False, markup=False)
    width = max(console.width, console.measure(table).maximum)
    console.print(table, width=width, crop=False, no_wrap=True)


def print_verdict(subject: str, verdict: Verdict) -> None:
    """``subject: verdict``, and a line for each reason."""
    print_reasons(subject, verdict.status, [reason.to_json() for reason in verdict.reasons])


def print_reasons(subject: str, status: str, reasons: Sequence[Mapping[str, str]]) -> None:
    """The same from the parts of a JSON document."""
    typer.echo(f"{subject}: " + typer.style(status, fg=_COLOURS[status]), color=_colour(sys.stdout))
    for reason in reasons:
        typer.echo(f"  {reason['code']}: {reason['message']}")


def print_error(message: str) -> None:
    """One red line on stderr."""
    typer.secho(f"medseg: error: {message}", fg="red", err=True, color=_colour(sys.stderr))


def print_bug(error: BaseException) -> None:
    """The traceback of an error that nobody foresaw, and what to do with it."""
    traceback.print_exception(error)
    print_error(
        f"unexpected {type(error).__name__}: this is a bug in medseg. Please report it with the lines above and "
        "the output of `medseg doctor --json`; look for patients' names in them first."
    )


@contextmanager
def working(quiet: bool) -> Iterator[Progress]:
    """Progress of the work inside, on stderr: a bar with the time left, or plain lines where it is no terminal.

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


def _say_nothing(stage: str, done: int, total: int) -> None: ...


class _Bar:
    """One bar for the stage under way, shown once the work has taken a moment."""

    def __init__(self) -> None:
        self._started = time.monotonic()
        self._stage = ""
        self._display: Any = None

    def __call__(self, stage: str, done: int, total: int) -> None:
        if self._display is None:
            if time.monotonic() - self._started < _SILENT_S:
                return
            self._open()
        if stage != self._stage:
            self._display.reset(self._task)
            self._stage = stage
        self._display.update(self._task, description=stage, completed=done, total=total)

    def _open(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        self._display = Progress(*columns, console=Console(stderr=True), transient=True)
        self._task = self._display.add_task("")
        self._display.start()

    def stop(self) -> None:
        if self._display is not None:
            self._display.stop()


class _Lines:
    """A line every ten seconds, with the time left of the stage at its mean speed so far."""

    def __init__(self) -> None:
        self._stage = ""
        self._began = self._last = time.monotonic()

    def __call__(self, stage: str, done: int, total: int) -> None:
        now = time.monotonic()
        if stage != self._stage:
            self._stage, self._began = stage, now
        if now - self._last < _LINE_EVERY_S:
            return
        self._last = now
        left = f", {(now - self._began) / done * (total - done):.0f} s left" if done else ""
        typer.echo(f"{stage}: {done} of {total}{left}", err=True)


def _colour(stream: Any) -> bool:
    return bool(stream.isatty()) and "NO_COLOR" not in os.environ
