"""``medseg convert``: one format to another, the geometry kept."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

import medseg
from medseg.cli.console import print_json, print_verdict
from medseg.cli.options import Allow, Json, Overwrite, Quiet, Series, listed, series_choice
from medseg.cli.progress import working

EXAMPLES = """[bold]Examples[/bold]
medseg convert dicom_folder ct.nii.gz
medseg convert scan.nrrd scan.nii.gz --overwrite
medseg convert labels.nii.gz labels.seg.nrrd --labels"""


def command(
    source: Annotated[Path, typer.Argument(metavar="SRC", help="A file, or a DICOM folder.")],
    target: Annotated[
        Path, typer.Argument(metavar="DST", help="The file to write, its format by extension.")
    ],
    labels: Annotated[
        bool,
        typer.Option(
            "--labels",
            help="SRC is a label map: keep its structures' names and colours. Implied by .seg.nrrd.",
        ),
    ] = False,
    series: Series = None,
    allow: Allow = None,
    overwrite: Overwrite = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Read any format and write any other, on the same grid.

    The output is read back and compared before it takes its name.
    """
    with working(quiet):
        item = (
            medseg.read_labels(source, series=series_choice(series), allow=listed(allow))
            if labels or target.name.endswith(".seg.nrrd")
            else medseg.read(source, series=series_choice(series), allow=listed(allow))
        )
        written = medseg.write(item, target, overwrite=overwrite)
    if as_json:
        print_json(
            {
                "format_version": 1,
                "input": str(source),
                "output": str(written),
                "verdict": item.verdict.status,
                "reasons": [reason.to_json() for reason in item.verdict.reasons],
                "shape": list(item.geometry.shape),
                "affine": item.geometry.affine.tolist(),
            }
        )
    else:
        print_verdict(str(source), item.verdict)
        typer.echo(str(written))
