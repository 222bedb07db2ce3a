"""``medseg evaluate``: label maps against references."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

import medseg
from medseg.cli.console import print_json, print_table, working
from medseg.cli.options import Json, Quiet

EXAMPLES = """[bold]Examples[/bold]
medseg evaluate predicted.nii.gz reference.nii.gz
medseg evaluate predictions labelsTr -o metrics.csv
medseg evaluate predictions labelsTr --surface-tolerance 2 --json"""


def command(
    predicted: Annotated[Path, typer.Argument(metavar="PRED", help="A label map, or a folder of them.")],
    reference: Annotated[
        Path, typer.Argument(metavar="REF", help="The reference label map, or a folder of them.")
    ],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", metavar="CSV", help="Write every case and label as a table.")
    ] = None,
    surface_tolerance: Annotated[
        float, typer.Option(help="Distance in mm up to which two surfaces count as equal in surface Dice.")
    ] = 1.0,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Dice, surface Dice, HD95 and volume error per label and case.

    Files of two folders are paired by name, with _seg and _0000 stripped. A metric that is not
    defined (a structure absent from both, say) is missing with a reason, never 0.
    """
    with working(quiet) as progress:
        evaluation = medseg.evaluate(
            predicted, reference, surface_tolerance_mm=surface_tolerance, progress=progress
        )
        if out is not None:
            evaluation.to_csv(out)
    document = evaluation.to_json()
    if as_json:
        print_json(document)
        return
    _print_summary(document["summary"])
    if out is not None:
        typer.echo(str(out))


def _print_summary(summary: list[dict[str, Any]]) -> None:
    raise NotImplementedError  # written once medseg.evaluation has its JSON
