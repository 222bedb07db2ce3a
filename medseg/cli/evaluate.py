"""``medseg evaluate``: label maps against references."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

import medseg
from medseg.cli.console import print_json, print_reasons, print_table
from medseg.cli.options import Json, Quiet
from medseg.cli.progress import working

EXAMPLES = """[bold]Examples[/bold]
medseg evaluate predicted.nii.gz reference.nii.gz
medseg evaluate predictions labelsTr -o metrics.csv
medseg evaluate predictions labelsTr --surface-tolerance-mm 2 --json"""


def command(
    predicted: Annotated[Path, typer.Argument(metavar="PRED", help="A label map, or a folder of them.")],
    reference: Annotated[Path, typer.Argument(metavar="REF", help="The reference, or a folder of them.")],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", metavar="CSV", help="Write every case and label as a table.")
    ] = None,
    surface_tolerance_mm: Annotated[
        float,
        typer.Option(metavar="MM", help="Distance up to which surfaces count as equal in surface Dice."),
    ] = 1.0,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Dice, surface Dice, HD95 and volume error per label and case.

    Files of two folders are paired by name, with _seg and _0000 stripped. A metric that is not
    defined (a structure absent from both, say) is missing with a reason, never 0. Exit code 4 where some
    cases could not be compared.
    """
    with working(quiet) as progress:
        evaluation = medseg.evaluate(
            predicted, reference, surface_tolerance_mm=surface_tolerance_mm, progress=progress
        )
        if out is not None:
            evaluation.to_csv(out)
    if as_json:
        print_json(evaluation.to_json())
    else:
        _print(evaluation.to_json())
        if out is not None:
            typer.echo(str(out))
    if any(case.verdict.status == "refused" for case in evaluation.cases):
        raise typer.Exit(4)


def _print(document: dict[str, Any]) -> None:
    """Each label's mean over the cases; what was left out, and why."""
    columns = {
        "dice": "Dice",
        "surface_dice": "surface Dice",
        "hd95_mm": "HD95 in mm",
        "volume_error_ml": "volume error in mL",
    }
    rows = [
        (row["name"], str(row["dice"]["n"]), *(_mean(row[metric]["mean"]) for metric in columns))
        for row in document["summary"]
    ]
    print_table(("mean over cases", "n", *columns.values()), rows, numbers=("n", *columns.values()))
    for case in document["cases"]:
        if case["reasons"]:
            print_reasons(case["case"], case["verdict"], case["reasons"])
    missing = document["without_prediction"]
    if missing:
        named = ", ".join(missing[:3]) + (f" and {len(missing) - 3} more" if len(missing) > 3 else "")
        typer.echo(f"nothing was predicted for {named}; such references enter no mean")


def _mean(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"
