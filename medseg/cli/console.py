"""What every command shares on its way out: results to stdout, everything else to stderr."""

from __future__ import annotations

import json
import os
import re
import sys
import traceback
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import typer

from medseg.errors import InputRefused, MedsegError

if TYPE_CHECKING:
    from medseg.verdict import Verdict

_COLOURS = {"ok": "green", "repaired": "yellow", "warning": "yellow", "refused": "red", "failed": "red"}

# Messages name keywords of the Python functions, as in ``allow=tilt`` and ``overwrite=True``.
_KEYWORD = re.compile(r"\b(allow|bids|series|layer|scan)=(?=[\w'])|\b(overwrite)=True")


def print_json(document: Any) -> None:
    """The one JSON document of a command. NaN and infinity are not JSON: they raise."""
    typer.echo(json.dumps(document, indent=2, allow_nan=False))


def refusal_document(error: MedsegError) -> dict[str, Any]:
    """What ``--json`` prints where a command ends before it has anything else to say."""
    kind = re.sub(r"(?<=[a-z])(?=[A-Z])", "-", type(error).__name__).lower()
    reasons = getattr(error, "reasons", ()) or ((kind, str(error)),)
    return {
        "format_version": 1,
        "verdict": "refused" if isinstance(error, InputRefused) else "failed",
        "reasons": [{"code": code, "message": message} for code, message in reasons],
        "exit_code": error.exit_code,
    }


def interruption_document() -> dict[str, Any]:
    """What ``--json`` prints after Ctrl-C."""
    message = "stopped by Ctrl-C; what was finished is kept, and the same command does the rest"
    return {
        "format_version": 1,
        "verdict": "failed",
        "reasons": [{"code": "interrupted", "message": message}],
        "exit_code": 130,
    }


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
    # As if there were room for everything: on a narrow terminal a long row runs over, it loses nothing.
    Console(width=10_000, highlight=False, markup=False).print(table, crop=False, no_wrap=True)


def print_verdict(subject: str, verdict: Verdict) -> None:
    """``subject: verdict``, and a line for each reason."""
    print_reasons(subject, verdict.status, [reason.to_json() for reason in verdict.reasons])


def print_reasons(subject: str, status: str, reasons: Sequence[Mapping[str, str]]) -> None:
    """The same from the parts of a JSON document."""
    typer.echo(f"{subject}: " + typer.style(status, fg=_COLOURS[status]), color=_colour(sys.stdout))
    for reason in reasons:
        typer.echo(f"  {reason['code']}: {with_options(reason['message'])}")


def print_error(message: str) -> None:
    """One red line on stderr."""
    typer.secho(f"medseg: error: {with_options(message)}", fg="red", err=True, color=_colour(sys.stderr))


def with_options(message: str) -> str:
    """A message whose cures are keywords (``allow=tilt``) with the command's options (``--allow tilt``)."""
    return _KEYWORD.sub(lambda found: f"--{found[1]} " if found[1] else f"--{found[2]}", message)


def print_bug(error: BaseException) -> None:
    """The traceback of an error that nobody foresaw, and what to do with it."""
    traceback.print_exception(error)
    print_error(
        f"unexpected {type(error).__name__}: this is a bug in medseg. Please report it with the lines above "
        "and the output of `medseg doctor --json`; look for patients' names in them first."
    )


def _colour(stream: Any) -> bool:
    return bool(stream.isatty()) and "NO_COLOR" not in os.environ
