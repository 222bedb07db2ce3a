"""``medseg model``: list, info, verify, export, postprocess."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Annotated, Any

import typer

import medseg
from medseg.cli.commands import Commands
from medseg.cli.console import print_json, print_reasons
from medseg.cli.options import Device, Json, Quiet
from medseg.cli.progress import working

app = Commands(help="Model bundles: list, look at, verify, export, post-process.")
Model = Annotated[str, typer.Argument(metavar="MODEL", help="A built-in name, or a bundle's folder or zip.")]


@app.command("list", epilog="[bold]Example[/bold]\nmedseg model list --json")
def list_(as_json: Json = False) -> None:
    """The models that are there without naming a path, and which of them is your default."""
    from medseg.models import list_models

    entries = [entry.to_json() for entry in list_models()]
    if as_json:
        print_json({"format_version": 1, "models": entries})
        return
    for entry in entries:
        default = ", your default" if entry["default"] else ""
        labels = ", ".join(entry["labels"][:6]) + (", ..." if len(entry["labels"]) > 6 else "")
        typer.echo(f"{entry['name']} ({entry['dimensions']}D{default}): {labels}")
        typer.echo(textwrap.indent(textwrap.fill(entry["description"], 96), "    "))


@app.command(epilog="[bold]Example[/bold]\nmedseg model info hippocampus")
def info(model: Model, as_json: Json = False) -> None:
    """What a model is: its labels, the scans it was made for, its scores, its model card."""
    bundle = medseg.load_model(model)
    if as_json:
        print_json(_facts(bundle))
    else:
        typer.echo(bundle.text("docs/README.md"))
        typer.echo(f"path: {bundle.path}\nhash: {bundle.hash}")


@app.command(epilog="[bold]Example[/bold]\nmedseg model verify run/bundle")
def verify(model: Model, as_json: Json = False) -> None:
    """Check every file of a bundle, and that its ONNX file holds the same weights.

    Exit code 5 where anything is found.
    """
    from medseg.models import verify_bundle

    bundle = medseg.load_model(model)
    reasons = [finding.to_json() for finding in verify_bundle(bundle)]
    status = "refused" if reasons else "ok"
    if as_json:
        print_json({"format_version": 1, "model": bundle.name, "verdict": status, "reasons": reasons})
    else:
        print_reasons(bundle.name, status, reasons)
    if reasons:
        raise typer.Exit(5)


@app.command(epilog="[bold]Example[/bold]\nmedseg model export hippocampus --monai -o hippocampus_monai")
def export(
    model: Model,
    out: Annotated[Path, typer.Option("--out", "-o", metavar="FOLDER", help="The folder to write.")],
    monai: Annotated[
        bool,
        typer.Option(
            "--monai", help="A full MONAI Bundle, which `python -m monai.bundle run` runs without medseg."
        ),
    ] = False,
    as_json: Json = False,
) -> None:
    """Write a model in the form of another tool. There is one so far: --monai."""
    if not monai:
        raise medseg.UsageError("export: say in which form; --monai is the only one so far")
    from medseg.training.monai_export import export_monai

    with working(quiet=True):
        written = export_monai(medseg.load_model(model), out)
    if as_json:
        print_json({"format_version": 1, "model": model, "output": str(written)})
    else:
        typer.echo(str(written))


@app.command(
    epilog="[bold]Example[/bold]\nmedseg model postprocess fold0 fold1 fold2 fold3 fold4 --dataset Task04"
)
def postprocess(
    runs: Annotated[
        list[Path], typer.Argument(metavar="RUN...", help="Folders of finished runs, one for each fold.")
    ],
    dataset: Annotated[
        Path, typer.Option("--dataset", metavar="DATASET", help="The dataset that they were trained on.")
    ],
    device: Device = "auto",
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Choose post-processing on the validation cases of runs together, and store it in their bundles.

    A step is taken if it lowers the mean Dice of no label or region, and raises the mean.
    """
    from medseg.training.postprocessing import choose_for_runs

    with working(quiet) as progress:
        chosen = choose_for_runs(runs, dataset, device=device, progress=progress)
    facts = chosen.choice.to_json(chosen.plan)
    bundles = [str(bundle.path) for bundle in chosen.bundles]
    if as_json:
        print_json({"format_version": 1, **facts, "bundles": bundles})
        return
    typer.echo(f"mean Dice over {facts['cases']} cases: {facts['mean_dice_before']:.4f}")
    for step in facts["steps"]:
        rest = ", ".join(f"{k} {v}" for k, v in step.items() if k not in ("step", "mean_dice"))
        typer.echo(f"  {step['mean_dice']:.4f} with {step['step']}" + (f" ({rest})" if rest else ""))
    typer.echo("stored in " + ", ".join(bundles) if facts["steps"] else "no step helps: none is stored")


def _facts(bundle: medseg.ModelBundle) -> dict[str, Any]:
    return {
        "format_version": 1,
        "name": bundle.name,
        "path": str(bundle.path),
        "hash": bundle.hash,
        "medseg_version": bundle.medseg_version,
        "dimensions": bundle.plan.dimensions,
        "channels": [channel.model_dump(mode="json") for channel in bundle.plan.channels],
        "labels": [
            {"id": label.id, "name": label.name, "snomed": label.snomed} for label in bundle.label_set
        ],
        "scope": bundle.scope.model_dump(mode="json"),
        "precision": bundle.precision,
        "execution": dict(bundle.execution),
        "training": dict(bundle.training),
        "scores": dict(bundle.scores),
        "quality": None if bundle.quality is None else bundle.quality.model_dump(mode="json"),
        "files": dict(bundle.files),
    }
