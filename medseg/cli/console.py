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

_CASES = "cases"  # the stage that counts whole inputs; every other stage is part of one
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
        f"unexpected {type(error).__name__}: this is a bug in medseg. Please report it with the lines above "
        "and the output of `medseg doctor --json`; look for patients' names in them first."
    )


@contextmanager
def working(quiet: bool) -> Iterator[Progress]:
    """Progress of the work inside, on stderr: a bar with the time left; plain lines where it is no terminal.

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
    """A bar for the cases, where there are several, and one for the stage under way.

    Nothing is shown until the work has taken a moment.
    """

    def __init__(self) -> None:
        self._started = time.monotonic()
        self._stage = ""
        self._tasks: dict[str, Any] = {}
        self._display: Any = None

    def __call__(self, stage: str, done: int, total: int) -> None:
        if self._display is None:
            if time.monotonic() - self._started < _SILENT_S:
                return
            self._display = self._open()
        if stage == _CASES and total == 1:
            return
        row = _CASES if stage == _CASES else "stage"
        if row not in self._tasks:
            self._tasks[row] = self._display.add_task(stage, total=total)
        elif row == "stage" and stage != self._stage:
            self._display.reset(self._tasks[row])  # its speed says nothing about the next stage
        self._stage = stage if row == "stage" else ""
        self._display.update(self._tasks[row], description=stage, completed=done, total=total)

    def _open(self) -> Any:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        display = Progress(*columns, console=Console(stderr=True), transient=True)
        display.start()
        return display

    def stop(self) -> None:
        if self._display is not None:
            self._display.stop()


class _Lines:
    """A line every ten seconds, with the time left at the mean speed so far.

    Where there are several cases the lines count those, not the stages within each.
    """

    def __init__(self) -> None:
        self._last = time.monotonic()
        self._began: dict[str, tuple[float, int]] = {}
        self._counts_cases = False

    def __call__(self, stage: str, done: int, total: int) -> None:
        now = time.monotonic()
        began, before = self._began.get(stage, (now, 0))
        if done < before:
            began = now  # the same stage of the next case
        self._began[stage] = (began, done)
        self._counts_cases |= stage == _CASES and total > 1
        if self._counts_cases != (stage == _CASES) or now - self._last < _LINE_EVERY_S:
            return
        self._last = now
        left = f", about {(now - began) / done * (total - done):.0f} s left" if done else ""
        typer.echo(f"{stage}: {done} of {total}{left}", err=True)


def _colour(stream: Any) -> bool:
    return bool(stream.isatty()) and "NO_COLOR" not in os.environ
