"""``medseg plan``: look at a dataset and write down what would be trained."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

import medseg
from medseg.cli.console import print_json
from medseg.cli.options import Config, Dataset, Json, Overrides, Overwrite, Quiet
from medseg.cli.progress import working
from medseg.cli.recipes import Recipes, Schema

EXAMPLES = """[bold]Examples[/bold]
medseg plan Task04_Hippocampus
medseg plan Task04_Hippocampus -o plan.yaml schedule.steps=500
medseg train Task04_Hippocampus -o run -c plan.yaml"""


def command(
    dataset: Dataset,
    overrides: Overrides = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", metavar="FILE", help="Write the plan there, not to stdout.")
    ] = None,
    config: Config = None,
    device: Annotated[
        str,
        typer.Option(help="What to plan for: auto, cpu, cuda or cuda:N. Its memory decides patch and batch."),
    ] = "auto",
    overwrite: Overwrite = False,
    recipes: Recipes = False,  # noqa: ARG001 - its callback has done all, and so has the schema's
    schema: Schema = False,  # noqa: ARG001
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Fingerprint a dataset and plan its training, as YAML to read and edit.

    What is not set in CONFIG or by KEY=VALUE follows from the dataset: spacing, patch, depth of the
    network, normalisation, batch size.
    """
    if out is not None and out.exists() and not overwrite:
        raise medseg.UsageError(f"{out} exists: give another name, or --overwrite")
    with working(quiet) as progress:
        plan = medseg.plan(
            dataset, config=config, overrides=tuple(overrides or ()), device=device, progress=progress
        )
    if out is not None:
        from medseg.io.files import write_text

        write_text(out, plan.to_yaml())
    if as_json:
        print_json(plan.model_dump(mode="json"))
    else:
        typer.echo(plan.to_yaml() if out is None else str(out))
