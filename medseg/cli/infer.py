"""``medseg infer``: scans to segmentations."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

import medseg
from medseg.cli.console import print_json, print_reasons
from medseg.cli.options import Allow, Json, Overwrite, Quiet, Series, listed, series_choice
from medseg.cli.progress import working

EXAMPLES = """[bold]Examples[/bold]
medseg infer scan.nii.gz -m hippocampus --preview
medseg infer scans/*.nii.gz -m run/bundle -o segmentations
medseg infer dicom_folder -o out.nii.gz --series 2 --allow missing-slices
medseg infer --case t1=t1.nii.gz,flair=flair.nii.gz -m lesions --json"""

_SEGMENT, _HOW = "What to segment and where to write", "How to compute"


def command(
    inputs: Annotated[
        list[Path] | None, typer.Argument(metavar="INPUT...", help="Files or DICOM folders, one scan each.")
    ] = None,
    model: Annotated[
        list[str] | None,
        typer.Option(
            "--model",
            "-m",
            metavar="MODEL",
            help="A built-in name, or a bundle's folder or zip. Without it: MEDSEG_MODEL, your config's "
            "model, else the one built-in model made for such scans.",
            rich_help_panel=_SEGMENT,
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            metavar="OUT",
            help="A folder; for a lone input also a file's name. Without it: beside each input.",
            rich_help_panel=_SEGMENT,
        ),
    ] = None,
    case: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=PATH,...",
            help="A scan of several channels: t1=a.nii.gz,flair=b.nii.gz.",
            rich_help_panel=_SEGMENT,
        ),
    ] = None,
    formats: Annotated[
        list[str] | None,
        typer.Option(
            "--format",
            metavar="FORMAT,...",
            help="nii.gz, nii, nrrd, seg.nrrd. \\[default: nii.gz]",
            rich_help_panel=_SEGMENT,
        ),
    ] = None,
    preview: Annotated[
        bool,
        typer.Option("--preview", help="Also write a picture, <stem>_seg.png.", rich_help_panel=_SEGMENT),
    ] = False,
    probabilities: Annotated[
        bool,
        typer.Option(
            "--probabilities", help="Also write every class's probability.", rich_help_panel=_SEGMENT
        ),
    ] = False,
    overwrite: Overwrite = False,
    series: Series = None,
    allow: Allow = None,
    strict: Annotated[bool, typer.Option("--strict", help="Refuse where there would be a warning.")] = False,
    backend: Annotated[str, typer.Option(help="auto, openvino or torch.", rich_help_panel=_HOW)] = "auto",
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.", rich_help_panel=_HOW)] = "auto",
    precision: Annotated[str, typer.Option(help="auto, f32, bf16 or f16.", rich_help_panel=_HOW)] = "auto",
    overlap: Annotated[
        float | None,
        typer.Option(
            help="Share that neighbouring windows overlap; the model's own without it.", rich_help_panel=_HOW
        ),
    ] = None,
    tta: Annotated[
        bool,
        typer.Option("--tta", help="Average over the flips that the model allows.", rich_help_panel=_HOW),
    ] = False,
    threads: Annotated[
        int | None, typer.Option(help="CPU threads; all without it.", rich_help_panel=_HOW)
    ] = None,
    max_memory: Annotated[
        str | None,
        typer.Option(
            metavar="SIZE", help="Refuse scans that would need more, e.g. 4GB.", rich_help_panel=_HOW
        ),
    ] = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Segment scans, on their own grid, and measure what was found.

    Writes <stem>_seg.nii.gz and <stem>_seg.json per scan. A scan whose outputs are there already, from
    the same input, model and options, is not computed again.
    """
    from medseg.pipeline import infer_files

    with working(quiet) as progress:
        report = infer_files(
            inputs or (),
            model=_one_model(model),
            out=out,
            formats=listed(formats) or ("nii.gz",),
            preview=preview,
            probabilities=probabilities,
            overwrite=overwrite,
            case=case,
            series=series_choice(series),
            allow=listed(allow),
            strict=strict,
            backend=backend,
            device=device,
            precision=precision,
            overlap=overlap,
            tta=tta,
            threads=threads,
            max_memory=max_memory,
            progress=progress,
        )
    if as_json:
        print_json(report.to_json())
    else:
        for one in report.cases:
            _print_case(one)
    raise typer.Exit(report.exit_code)


def _one_model(models: list[str] | None) -> str | None:
    if models and len(models) > 1:
        raise medseg.UsageError(
            f"-m given {len(models)} times: medseg {medseg.__version__} has no ensembles yet"
        )
    return models[0] if models else None


def _print_case(case: Mapping[str, Any]) -> None:
    again = " (done before)" if case.get("already_done") else ""
    print_reasons(f"{case['input']}{again}", case["verdict"], case["reasons"])
    for kind in ("segmentation", "preview", "probabilities"):
        if case.get(kind):
            typer.echo(f"  {kind:<14}{case[kind]}")
    for label in case["labels"]:
        volume = (
            f"{label['volume_ml']:.3f} mL" if label["volume_ml"] is not None else f"- ({label['reason']})"
        )
        typer.echo(f"  {label['name']:<14}{volume}")
