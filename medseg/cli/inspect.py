"""``medseg inspect``: what is there, and would medseg read it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

import medseg
from medseg.cli.console import print_json, print_reasons, print_table
from medseg.cli.options import Allow, Json, Quiet, listed
from medseg.cli.progress import working

EXAMPLES = """[bold]Examples[/bold]
medseg inspect scan.nii.gz
medseg inspect dicom_folder --json
medseg inspect tilted_ct --allow tilt,uneven-spacing"""


def command(
    path: Annotated[
        Path, typer.Argument(metavar="PATH", help="A file, a DICOM folder or DICOMDIR, or a zip of one.")
    ],
    allow: Allow = None,
    pixels: Annotated[
        bool | None,
        typer.Option(
            "--pixels/--no-pixels",
            help="Decode all DICOM pixels, or none; without it those of up to 128 MB.",
        ),
    ] = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Look at a scan before work starts: its series, their geometry, the verdict and why.

    Exit code 3 where the scan would be refused.
    """
    with working(quiet):
        found = medseg.inspect(path, allow=listed(allow), pixels=pixels)
    if as_json:
        print_json(found.to_json())
    else:
        _print(found.to_json())
    if found.verdict.status == "refused":
        raise typer.Exit(3)


def _print(document: dict[str, Any]) -> None:
    print_reasons(document["path"], document["verdict"], document["reasons"])
    series = document["series"]
    if series:
        _print_table(series)
    if len(series) > 1:  # else they stand above
        _print_reasons_of_series(series)
        typer.echo("  choose one of them with --series N")
    if not all(entry["pixels_decoded"] for entry in series):
        typer.echo("  pixels: judged by headers and sizes, not decoded; --pixels decodes them too")
    if document["set_aside"]:
        typer.echo("  set aside: " + "; ".join(entry["message"] for entry in document["set_aside"]))


def _print_table(series: list[dict[str, Any]]) -> None:
    rows = [
        (
            str(number),
            entry["summary"] or entry["modality"] or "-",
            " x ".join(map(str, entry["shape"] or ())) or "-",
            " x ".join(f"{mm:.4g}" for mm in entry["spacing_mm"] or ()) or "-",
            entry["verdict"],
            str(entry["id"]),
        )
        for number, entry in enumerate(series, start=1)
    ]
    print_table(("no", "what", "voxels", "spacing in mm", "verdict", "id"), rows, numbers=("no",))


def _print_reasons_of_series(series: list[dict[str, Any]]) -> None:
    """Each reason once, after the numbers of the series that it holds for."""
    numbers: dict[tuple[str, str], list[int]] = {}
    for number, entry in enumerate(series, start=1):
        for reason in entry["reasons"]:
            numbers.setdefault((reason["code"], reason["message"]), []).append(number)
    for (code, message), where in numbers.items():
        typer.echo(f"  {_ranges(where)} {code}: {message}")


def _ranges(numbers: list[int]) -> str:
    """``[1, 2, 3, 7]`` as ``1-3, 7``."""
    starts = [n for n in numbers if n - 1 not in numbers]
    ends = [n for n in numbers if n + 1 not in numbers]
    return ", ".join(str(a) if a == b else f"{a}-{b}" for a, b in zip(starts, ends, strict=True))
