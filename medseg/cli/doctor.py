"""``medseg doctor``: what this machine has, what it lacks, and how to get that."""

from __future__ import annotations

from typing import Any

import typer

from medseg.cli.console import print_json
from medseg.cli.environment import environment
from medseg.cli.options import Json

EXAMPLES = """[bold]Examples[/bold]
medseg doctor
medseg doctor --json"""


def command(as_json: Json = False) -> None:
    """Versions, devices, backends, napari; what is missing and how to install it.

    Exit code 2 where something that every command needs is missing.
    """
    found = environment()
    if as_json:
        print_json(found)
    else:
        _print(found)
    if any(entry["extra"] is None for entry in found["missing"]):
        raise typer.Exit(2)


def _print(found: dict[str, Any]) -> None:
    processor, memory = found["processor"], found["memory"]["total_gb"]
    lines = [
        ("medseg", found["medseg"]),
        ("Python", found["python"]),
        ("system", found["platform"]),
        (
            "processor",
            f"{processor['name']}, {processor['usable_cores']} of {processor['cores']} cores usable",
        ),
        ("computes in", ", ".join(processor["precisions"]) or "unknown"),
        ("CPU features", ", ".join(processor["flags"]) or "unknown"),
        ("memory", "unknown" if memory is None else f"{memory} GB"),
        *(("device", _device(device)) for device in found["devices"]),
        *(("backend", _backend(backend)) for backend in found["backends"]),
        ("models", ", ".join(found["models"]) or "none"),
        *_viewer(found["viewer"]),
    ]
    for name, value in lines:
        typer.echo(f"{name:<13} {value}")
    for entry in found["missing"]:
        need = f"for the extra '{entry['extra']}'" if entry["extra"] else "for every command"
        typer.echo(f"missing {need}: {', '.join(entry['packages'])}")
        typer.echo(f"  install: {entry['install']}")
    problems = (
        found["viewer"]["problems"] if found["viewer"]["napari"] else []
    )  # else it is among the missing
    for problem in problems:
        typer.echo(problem["message"])
        typer.echo(f"  install: {problem['install']}")
    for text in found["advice"]:
        typer.echo(text)
    if not (found["missing"] or problems or found["advice"]):
        typer.echo("nothing is missing")


def _device(device: dict[str, Any]) -> str:
    memory = f", {device['memory_gb']} GB" if "memory_gb" in device else ""
    return f"{device['device']}: {device['name']}{memory}"


def _viewer(viewer: dict[str, Any]) -> list[tuple[str, str]]:
    bindings = ", ".join(f"{qt['binding']} {qt['version']}" for qt in viewer["qt"])
    return [
        ("napari", viewer["napari"] or "(not installed)"),
        ("Qt", bindings or "(no binding installed)"),
        ("plugin", "found by napari" if viewer["manifest"] else "(not found by napari)"),
    ]


def _backend(backend: dict[str, Any]) -> str:
    return f"{backend['name']} {backend['version'] if backend['available'] else '(not installed)'}"
