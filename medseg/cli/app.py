"""The command itself: which commands there are, and which error ends in which exit code."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from medseg import __version__
from medseg.cli import cohort, convert, data, doctor, evaluate, infer, inspect, model, plan, train
from medseg.cli.commands import Commands
from medseg.cli.console import interruption_document, print_bug, print_error, print_json, refusal_document
from medseg.errors import MedsegError, UsageError

INTERRUPTED = 130

app = Commands(
    name="medseg",
    help="Segmentation of 2D and 3D medical images: from a scan on disk to a measured label map.",
    epilog=(
        "[bold]Exit codes[/bold]\n"
        "0 done, 1 a bug (please report it), 2 usage, 3 every input was refused, "
        "4 some cases were refused or failed, 5 the model was refused, 130 interrupted."
    ),
    pretty_exceptions_enable=False,
)
for _module in (infer, inspect, convert, plan, train, evaluate, doctor):
    app.command(_module.__name__.rpartition(".")[2], epilog=_module.EXAMPLES)(_module.command)
app.add_typer(cohort.app, name="cohort")
app.add_typer(data.app, name="data")
app.add_typer(model.app, name="model")


def _show_version(asked: bool) -> None:
    if asked:
        typer.echo(f"medseg {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", is_eager=True, callback=_show_version)
    ] = False,
) -> None: ...


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command line and return its exit code.

    Parameters
    ----------
    arguments
        What follows ``medseg``; None takes the process's own.
    """
    words = sys.argv[1:] if arguments is None else list(arguments)
    try:
        if "" in words:
            raise UsageError("one of the arguments is empty: is a variable not set?")
        code = app(words, prog_name="medseg", standalone_mode=False)
    except MedsegError as error:
        if "--json" in words:
            print_json(refusal_document(error))
        print_error(str(error))
        return error.exit_code
    except typer.TyperException as error:  # the command line did not parse; Typer words the reason
        message = error.format_message()
        if message:  # empty where a lone `medseg` has just shown its help
            print_error(f"{message}{_where_to_write(error)} (see `{_command_of(error)} --help`)")
        return error.exit_code
    except (KeyboardInterrupt, typer.Abort):
        code = INTERRUPTED
    except Exception as error:  # noqa: BLE001 - the outermost frame: anything that gets here is a bug
        print_bug(error)
        return 1
    if code == INTERRUPTED:
        if "--json" in words:
            print_json(interruption_document())
        print_error("interrupted")
    return int(code or 0)


def _command_of(error: typer.TyperException) -> str:
    """The command whose line did not parse, as people write it."""
    context = getattr(error, "ctx", None)
    return "medseg" if context is None else str(context.command_path)


def _where_to_write(error: typer.TyperException) -> str:
    """A hint for people who name the output last, as with `cp`."""
    context = getattr(error, "ctx", None)
    if context is None or "unexpected extra argument" not in error.format_message():
        return ""
    takes_out = any("--out" in parameter.opts for parameter in context.command.params)
    return ": where to write is given with -o" if takes_out else ""


if __name__ == "__main__":
    sys.exit(main())
