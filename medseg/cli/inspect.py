"""``medseg inspect``: what is there, and would medseg read it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

import medseg
from medseg.cli.console import print_json, print_table, print_verdict
from medseg.cli.options import Allow, Json, Quiet, listed
from medseg.cli.progress import working

EXAMPLES = """[bold]Examples[/bold]
medseg inspect scan.nii.gz
medseg inspect dicom_folder --json
medseg inspect tilted_ct --allow tilt"""


def command(
    path: Annotated[Path, typer.Argument(metavar="PATH", help="A file, or a DICOM folder.")],
    allow: Allow = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Look at a scan before work starts: its series, their geometry, the verdict and why.

    Exit code 3 where the scan would be refused.
    """
    with working(quiet):
        found = medseg.inspect(path, allow=listed(allow))
    if as_json:
        print_json(found.to_json())
    else:
        print_verdict(str(path), found.verdict)
        _print_series(found.to_json()["series"])
    if found.verdict.status == "refused":
        raise typer.Exit(3)


def _print_series(series: list[dict[str, Any]]) -> None:
    rows = [
        (
            str(number),
            entry["modality"] or "-",
            " x ".join(map(str, entry["shape"] or ())) or "-",
            " x ".join(f"{mm:.4g}" for mm in entry["spacing_mm"] or ()) or "-",
            entry["verdict"],
            str(entry["id"]),
        )
        for number, entry in enumerate(series, start=1)
    ]
    if rows:
        print_table(("no", "modality", "voxels", "spacing in mm", "verdict", "id"), rows, numbers=("no",))
    for number, entry in enumerate(series, start=1):
        for reason in entry["reasons"]:
            typer.echo(f"  {number} {reason['code']}: {reason['message']}")
