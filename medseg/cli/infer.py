"""``medseg infer``: scans to segmentations."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from medseg.cli.console import print_json, print_reasons
from medseg.cli.options import (
    HOW,
    Allow,
    Backend,
    Device,
    Flips,
    Json,
    Overlap,
    Overwrite,
    Precision,
    Quiet,
    Series,
    Strict,
    listed,
    series_choice,
)
from medseg.cli.progress import working

EXAMPLES = """[bold]Examples[/bold]
medseg infer scan.nii.gz -m hippocampus --preview
medseg infer scans/*.nii.gz -m run/bundle -o segmentations
medseg infer dicom_folder -o out.nii.gz --series 2 --allow missing-slices
medseg infer --case t1=t1.nii.gz,flair=flair.nii.gz -m lesions --json"""

_SEGMENT = "What to segment and where to write"
_NAMED = 3  # of the inputs that are left out
_WIDTH = 14  # of the first column, unless a structure's name is longer
_PRECISIONS = {"f32": "float32", "bf16": "bfloat16", "f16": "float16"}
_PLACES = {"device": "on the GPU", "memory": "in memory", "disk": "on disk"}


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
            help="A built-in name, or a bundle's folder or zip; several are an ensemble. Without it: "
            "MEDSEG_MODEL, your config's model, else the one built-in model made for such scans.",
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
            "--probabilities",
            help="Also write every class's probability, into <stem>_seg_maps.zarr.",
            rich_help_panel=_SEGMENT,
        ),
    ] = False,
    entropy: Annotated[
        bool,
        typer.Option(
            "--entropy",
            help="Also write how undecided the model is per voxel (entropy in nats), there too.",
            rich_help_panel=_SEGMENT,
        ),
    ] = False,
    masks: Annotated[
        bool,
        typer.Option(
            "--masks",
            help="Also write a mask of each of the model's totals (whole brain, ...), "
            "<stem>_seg_<total>.nii.gz.",
            rich_help_panel=_SEGMENT,
        ),
    ] = False,
    overwrite: Overwrite = False,
    series: Series = None,
    allow: Allow = None,
    strict: Strict = False,
    backend: Backend = "auto",
    device: Device = "auto",
    precision: Precision = "auto",
    overlap: Overlap = None,
    tta: Flips = False,
    skip_empty: Annotated[
        bool,
        typer.Option(
            "--skip-empty/--no-skip-empty",
            help="Skip windows that hold nothing, by the model's own rule.",
            rich_help_panel=HOW,
        ),
    ] = True,
    threads: Annotated[
        int | None, typer.Option(help="CPU threads; all without it.", rich_help_panel=HOW)
    ] = None,
    max_memory: Annotated[
        str | None,
        typer.Option(
            metavar="SIZE",
            help="Memory to stay within, e.g. 4GB: the work is planned to fit, a scan fails only if nothing "
            "does. Without it: what is free.",
            rich_help_panel=HOW,
        ),
    ] = None,
    sums: Annotated[
        str,
        typer.Option(
            help="Precision of what is carried between windows: f32, f16 (half the memory), auto: f16 only "
            "where nothing else fits.",
            rich_help_panel=HOW,
        ),
    ] = "auto",
    scratch: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="Where that goes if memory does not do. Without it: MEDSEG_SCRATCH, else the system's "
            "temporary folder.",
            rich_help_panel=HOW,
        ),
    ] = None,
    postprocess: Annotated[
        str,
        typer.Option(
            metavar="plan|none",
            help="plan: clean up the labels as the model says; none: leave them as the network gives them.",
            rich_help_panel=HOW,
        ),
    ] = "plan",
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Segment scans, on their own grid, and measure what was found.

    Writes <stem>_seg.nii.gz and <stem>_seg.json per scan. A scan whose outputs are there already, from
    the same input, model and options, is not computed again.
    """
    from medseg.pipeline import infer_files

    with _told_how_to_go_on(), working(quiet) as progress:
        report = infer_files(
            inputs or (),
            model=_one_or_several(model),
            out=out,
            formats=listed(formats) or ("nii.gz",),
            preview=preview,
            probabilities=probabilities,
            entropy=entropy,
            masks=masks,
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
            skip_empty=skip_empty,
            threads=threads,
            max_memory=max_memory,
            sums=sums,
            scratch=scratch,
            postprocess=postprocess,
            progress=progress,
        )
    if report.left_out:
        typer.echo(_left_out(report.left_out), err=True)
    if as_json:
        print_json(report.to_json())
    else:
        network: list[str] = []
        for one in report.cases:
            network = _print_case(one, network)
    raise typer.Exit(report.exit_code)


def _left_out(paths: Sequence[Path]) -> str:
    results = "a result" if len(paths) == 1 else f"{len(paths)} results"
    named = ", ".join(path.name for path in paths[:_NAMED]) + (", ..." if len(paths) > _NAMED else "")
    return f"left out {results} of an earlier call: {named}"


def _one_or_several(models: list[str] | None) -> str | list[str] | None:
    return models[0] if models and len(models) == 1 else models


@contextmanager
def _told_how_to_go_on() -> Iterator[None]:
    """After Ctrl-C say that nothing is lost."""
    try:
        yield
    except KeyboardInterrupt:
        typer.echo("what is finished is kept: the same command does the rest", err=True)
        raise


def _print_case(case: Mapping[str, Any], network: list[str]) -> list[str]:
    """One case in words; which network ran only if it is another than for the last one. Returns that."""
    again = " (done before)" if case.get("already_done") else ""
    print_reasons(f"{case['input']}{again}", case["verdict"], case["reasons"])
    for kind in ("segmentation", "preview", "probabilities", "entropy"):
        if case.get(kind):
            _print_line(kind, case[kind])
    for paths in case.get("masks", {}).values():
        _print_line("mask", paths[0])
    volumes = _volumes(case)
    width = max([_WIDTH, *(len(subject) + 2 for subject, _ in volumes)])
    for subject, text in volumes:
        _print_line(subject, text, width)
    if not case["segmentation"]:
        return network
    execution = case["provenance"]["execution"]
    _print_line("model", case["model"])  # without -m, nobody has named it
    _print_line("windows", _windows(execution["windows"]))
    used = list(dict.fromkeys(map(_network, execution.get("members", [execution]))))
    if used != network:
        for member in used:
            _print_line("network", member)
    _print_line("memory", _memory(case["memory"], execution["memory"]))
    for note in execution["notes"]:
        _print_line("note", note)
    return used


def _print_line(subject: str, text: str, width: int = _WIDTH) -> None:
    typer.echo(f"  {subject:<{width}}{text}")


def _volumes(case: Mapping[str, Any]) -> list[tuple[str, str]]:
    """A line for each structure, left and right in one, then one for each total."""
    pairs = {pair["left_id"]: pair for pair in case.get("asymmetry", ())}
    right = {pair["right_id"] for pair in pairs.values()}
    lines = []
    for label in case["labels"]:
        if label["id"] in pairs:
            lines.append((pairs[label["id"]]["name"], _both_sides(pairs[label["id"]])))
        elif label["id"] not in right:
            lines.append((label["name"], _volume(label)))
    return lines + [(total["name"], _volume(total)) for total in case.get("totals", ())]


def _volume(measured: Mapping[str, Any]) -> str:
    volume = measured["volume_ml"]
    return f"- ({measured['reason']})" if volume is None else f"{volume:.3f} mL"


def _both_sides(pair: Mapping[str, Any]) -> str:
    if pair["left_ml"] is None or pair["right_ml"] is None:
        return f"- ({pair['reason']})"
    index = pair["index_percent"]
    asymmetry = f"- ({pair['reason']})" if index is None else f"{index:+.1f} %"
    return f"left {pair['left_ml']:.3f} mL, right {pair['right_ml']:.3f} mL, asymmetry {asymmetry}"


def _windows(count: Mapping[str, int]) -> str:
    return f"{count['total']}" + (f", {count['skipped']} skipped: empty" if count["skipped"] else "")


def _network(member: Mapping[str, Any]) -> str:
    precision = _PRECISIONS.get(member["precision"], member["precision"])
    device = "the CPU" if member["device"] == "cpu" else f"the GPU ({member['device']})"
    return f"{member['backend']} on {device}, {precision}: {member['chosen_because']}"


def _memory(peaks: Mapping[str, int], plan: Mapping[str, Any]) -> str:
    """Predicted and measured peak; where sums were carried, unless in memory in full precision."""
    text = "{predicted_peak_bytes:.2f} GB predicted, {measured_peak_bytes:.2f} GB measured".format(
        **{key: value / 1e9 for key, value in peaks.items()}
    )
    if (plan["place"], plan["sums"]) == ("memory", "f32"):
        return text
    return f"{text}; sums {_PLACES[plan['place']]} in {_PRECISIONS[plan['sums']]}"
