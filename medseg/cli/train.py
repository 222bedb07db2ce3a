"""``medseg train``: from a dataset to a model bundle."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

import medseg
from medseg.cli.console import print_json
from medseg.cli.options import Config, Dataset, Json, Overrides, Quiet
from medseg.cli.progress import Progress, working
from medseg.cli.recipes import Recipes

if TYPE_CHECKING:
    from medseg.training import Status, TrainResult

EXAMPLES = """[bold]Examples[/bold]
medseg train --recipes
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
    recipes: Recipes = False,  # noqa: ARG001 - its callback has done all
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Plan, train, validate on whole scans, and export a bundle.

    RUN also gets the log (CSV and TensorBoard), checkpoints, learning curves, overlay pictures, and a report
    of the validation: what is taken for what, borders, the worst cases.
    """
    if resume and not (out / "run.json").is_file():
        typer.echo(f"{out}: holds no run to go on with: one is begun", err=True)
    with _told_how_to_go_on(out), working(quiet) as progress:
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
            progress=_but_steps(progress),
            on_status=_steps(progress),
        )
    document = _document(result)
    if as_json:
        print_json(document)
    else:
        for part, scores in document["scores"].items():
            if scores["cases"]:
                typer.echo(f"{part}: mean Dice of {len(scores['cases'])} cases: {_dice(scores['mean_dice'])}")
        typer.echo(f"bundle: {document['bundle']}")
        for remark in result.remarks:
            typer.echo(f"note: {remark}")


@contextmanager
def _told_how_to_go_on(run: Path) -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt:
        if (run / "checkpoints" / "last.pt").is_file():
            typer.echo(f"{run} keeps what was learnt: the same command with --resume goes on", err=True)
        raise


def _but_steps(progress: Progress) -> Callable[[str, int, int], None]:
    """Every stage but the training itself, which `_steps` shows with loss and Dice."""

    def show(stage: str, done: int, total: int) -> None:
        if stage != "train":
            progress(stage, done, total)

    return show


def _steps(progress: Progress) -> Callable[[Status], None]:
    """Loss, Dice of the last validation, and how far: by steps, or by time where that is limited."""

    def show(status: Status) -> None:
        note = f"loss {status.loss:.3f}"
        if status.dice:
            note += f", Dice {_dice(status.dice)}"
        by_steps = status.step / status.steps
        if status.fraction > by_steps + 1e-3:
            progress(
                "train, % of the time",
                min(100, round(100 * status.fraction)),
                100,
                f"step {status.step}, {note}",
            )
        else:
            progress("train", status.step, status.steps, note)

    return show


def _document(result: TrainResult) -> dict[str, Any]:
    names = result.plan.scored
    return {
        "format_version": 1,
        "run": str(result.run),
        "bundle": str(result.bundle.path),
        "remarks": list(result.remarks),
        "scores": {
            part: {
                "mean_dice": {name: _mean([case.dice[n] for case in cases]) for n, name in names.items()},
                "cases": [
                    {"case": case.case, "dice": {names[n]: value for n, value in case.dice.items()}}
                    for case in cases
                ],
            }
            for part, cases in result.scores.items()
        },
    }


def _mean(values: list[float | None]) -> float | None:
    found = [value for value in values if value is not None]
    return sum(found) / len(found) if found else None


def _dice(by_label: Mapping[str, float | None]) -> str:
    return ", ".join(f"{name} {'-' if value is None else f'{value:.4f}'}" for name, value in by_label.items())


def _fold(text: str) -> int | Literal["all"]:
    if text == "all":
        return "all"
    if text.isdecimal():
        return int(text)
    raise medseg.UsageError(f"--fold {text!r}: expected 0 to 4, or all")
