"""``medseg train``: from a dataset to a model bundle."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

import medseg
from medseg.cli.console import print_json, working
from medseg.cli.options import Config, Dataset, Json, Overrides, Quiet

EXAMPLES = """[bold]Examples[/bold]
medseg train Task04_Hippocampus -o run -c hippocampus
medseg train Task04_Hippocampus -o run --max-minutes 30
medseg train Task04_Hippocampus -o run --resume
medseg train images_and_labels -o run --fold all schedule.steps=500"""


def command(
    dataset: Dataset,
    out: Annotated[
        Path,
        typer.Option("--out", "-o", metavar="RUN", help="Folder of the run; the model is RUN/bundle."),
    ],
    overrides: Overrides = None,
    config: Config = None,
    fold: Annotated[
        str,
        typer.Option(metavar="0-4|all", help="Which fifth validates; all: train on every case."),
    ] = "0",
    max_minutes: Annotated[
        float | None, typer.Option(help="Time for the whole command, preparing and exporting included.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from RUN's last checkpoint.")] = False,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    devices: Annotated[int, typer.Option(help="Processes to train with (DDP), one per device.")] = 1,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Plan, train, validate on whole scans, and export a bundle.

    RUN also gets the log (CSV and TensorBoard), checkpoints, learning curves and overlay pictures.
    """
    with working(quiet) as progress:
        result = medseg.train(
            dataset,
            out,
            config=config,
            fold=_fold(fold),
            max_minutes=max_minutes,
            resume=resume,
            overrides=tuple(overrides or ()),
            device=device,
            devices=devices,
            progress=progress,
        )
    if as_json:
        print_json(
            {
                "format_version": 1,
                "run": str(result.run),
                "bundle": str(result.bundle),
                "scores": result.scores,
            }
        )
    else:
        typer.echo(str(result.bundle))


def _fold(text: str) -> int | Literal["all"]:
    if text == "all":
        return "all"
    if text.isdecimal():
        return int(text)
    raise medseg.UsageError(f"--fold {text!r}: expected 0 to 4, or all")
