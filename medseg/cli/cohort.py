"""``medseg cohort``: studies over many scans."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Any

import typer

import medseg
from medseg.cli.commands import Commands
from medseg.cli.console import print_error, print_json, refusal_document, with_options
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
    Strict,
    listed,
)
from medseg.cli.progress import working
from medseg.errors import WriteFailed

FORMAT_VERSION = 1
_SHOWN = 5  # failures for each reason
_WHERE = "Where to compute"

app = Commands(
    help="Studies over many scans: a manifest in, one tidy table and one report out. Resumable.",
)
RUN_EXAMPLES = """[bold]Examples[/bold]
medseg cohort run cases.csv -m hippocampus -o study
medseg cohort run bids_folder -m brain -o study --max-memory 8GB
medseg cohort run cases.csv -m run/bundle -o study --workers 4
medseg cohort run cases.csv -m brain -o study --scheduler tcp://head-node:8786"""
MANIFEST_EXAMPLES = """[bold]Examples[/bold]
medseg cohort manifest dicom_folder -o cases.csv
medseg cohort manifest bids_folder -o cases.csv --bids t1=T1w,flair=FLAIR"""
STATUS_EXAMPLES = """[bold]Examples[/bold]
medseg cohort status study
medseg cohort status study --watch
medseg cohort status study --json"""

REPORT_EXAMPLES = """[bold]Examples[/bold]
medseg cohort report study
medseg cohort report study --group diagnosis --covariates age,sex
medseg cohort report study --compare study_of_another_model"""

Bids = Annotated[
    list[str] | None,
    typer.Option(
        "--bids",
        metavar="SUFFIX,...",
        help="Images of a BIDS dataset: T1w, acq-high_T1w, or one for each channel: t1=T1w,flair=FLAIR.",
    ),
]
StudyPath = Annotated[Path, typer.Argument(metavar="STUDY", help="The folder of a study.")]


@app.command("run", epilog=RUN_EXAMPLES)
def run(
    manifest: Annotated[
        Path,
        typer.Argument(
            metavar="MANIFEST",
            help="A CSV, Parquet or JSON table with columns case_id and image (or image_<channel>), a folder "
            "of images, a BIDS dataset, or a tree of DICOM studies.",
        ),
    ],
    model: Annotated[
        list[str] | None,
        typer.Option(
            "--model",
            "-m",
            metavar="MODEL",
            help="A built-in name, or a bundle's folder or zip; several are an ensemble. Without it: "
            "MEDSEG_MODEL, or your config's model.",
        ),
    ] = None,
    out: Annotated[Path, typer.Option("--out", "-o", metavar="STUDY", help="The study's folder.")] = Path(
        "study"
    ),
    bids: Bids = None,
    overwrite: Overwrite = False,
    check_contents: Annotated[
        bool,
        typer.Option(
            "--check-contents",
            help="Read every input again to see whether it has changed; without it size and time tell.",
        ),
    ] = False,
    allow: Allow = None,
    strict: Strict = False,
    pictures: Annotated[
        bool, typer.Option("--pictures/--no-pictures", help="Make an overlay of each case, for the report.")
    ] = True,
    scheduler: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS",
            help="Run on the workers of a Dask scheduler, tcp://host:8786, that see the same paths.",
            rich_help_panel=_WHERE,
        ),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(
            metavar="N", help="Start N Dask workers on this computer instead.", rich_help_panel=_WHERE
        ),
    ] = None,
    backend: Backend = "auto",
    device: Device = "auto",
    precision: Precision = "f32",
    overlap: Overlap = None,
    tta: Flips = False,
    threads: Annotated[
        int | None,
        typer.Option(
            help="CPU threads of each worker. Without it: a share of the cores, as in the study's first run.",
            rich_help_panel=HOW,
        ),
    ] = None,
    max_memory: Annotated[
        str | None,
        typer.Option(
            metavar="SIZE",
            help="Memory for each worker to stay within, e.g. 4GB. Without it: what is free.",
            rich_help_panel=HOW,
        ),
    ] = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Segment and measure every case of a manifest, or what is still missing of it.

    Cases that are refused or fail do not stop the others, and exit code 4 tells of them. The same command
    again goes on where it stopped: what is missing, what failed for a reason that may have passed, and what
    has changed (input, model, options) is done, nothing else.
    """
    try:
        with working(quiet) as progress:
            study = medseg.run_cohort(
                manifest,
                model,
                out,
                scheduler=scheduler,
                workers=workers,
                allow=listed(allow),
                strict=strict,
                backend=backend,
                device=device,
                precision=precision,
                overlap=overlap,
                tta=tta,
                threads=threads,
                max_memory=max_memory,
                pictures=pictures,
                check_contents=check_contents,
                overwrite=overwrite,
                bids=listed(bids),
                progress=progress,
                tell=_note,
            )
    except KeyboardInterrupt:
        typer.echo("what is finished is kept: the same command does the rest", err=True)
        raise
    except WriteFailed as error:  # a full disk: what came before is kept
        if as_json:
            print_json(refusal_document(error))
        print_error(str(error))
        raise typer.Exit(4) from error
    _show(study, as_json)
    raise typer.Exit(study.exit_code)


@app.command("manifest", epilog=MANIFEST_EXAMPLES)
def manifest(
    source: Annotated[
        Path,
        typer.Argument(
            metavar="SOURCE", help="A folder of images, a BIDS dataset, a tree of DICOM studies, or a table."
        ),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="CSV", help="The case table.")] = Path(
        "cases.csv"
    ),
    bids: Bids = None,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
) -> None:
    """Write the case table that a source gives as a CSV, for looking at, editing, and `cohort run`.

    It holds the paths of the scans.
    """
    from medseg.cohort import read_manifest, write_manifest

    with working(quiet) as progress:
        found = read_manifest(source, bids=listed(bids), progress=progress)
    path = write_manifest(found, out, overwrite=overwrite)
    typer.echo(f"{len(found.cases)} case{'s' if len(found.cases) != 1 else ''}")
    for reason in found.verdict.reasons:
        typer.echo(f"  {reason.message}")
    typer.echo(str(path))


@app.command("status", epilog=STATUS_EXAMPLES)
def status(
    study: StudyPath,
    watch: Annotated[
        bool, typer.Option("--watch", help="Go on showing it until every case is finished.")
    ] = False,
    as_json: Json = False,
) -> None:
    """How far a study is, and what failed; also while it runs."""
    opened = medseg.open_study(study)
    if watch and not as_json:
        _watch(opened)
    _show(opened, as_json)


@app.command("report", epilog=REPORT_EXAMPLES)
def report(
    study: StudyPath,
    group: Annotated[
        str | None,
        typer.Option(metavar="COLUMN", help="Compare the volumes of this column's groups."),
    ] = None,
    covariates: Annotated[
        list[str] | None,
        typer.Option("--covariates", metavar="COLUMN,...", help="Hold these equal in that comparison."),
    ] = None,
    compare: Annotated[
        Path | None,
        typer.Option(metavar="STUDY", help="Compare with another study of the same cases."),
    ] = None,
    quiet: Quiet = False,
) -> None:
    """One HTML page of a study, for offline use: summary, statistics, failures, every case with a picture."""
    with working(quiet) as progress:
        path = medseg.open_study(study).report(
            group=group, covariates=listed(covariates), compare=compare, progress=progress, tell=_note
        )
    typer.echo(str(path))


def _note(text: str) -> None:
    typer.echo(f"note: {with_options(text)}", err=True)


def _watch(study: medseg.Study) -> None:
    with working(quiet=False) as progress:
        while True:
            counts = study.counts
            finished = counts["done"] + counts["failed"]
            progress("cases", finished, counts["total"], f"{counts['failed']} failed")
            if counts["running"] + counts["pending"] == 0 or not study.is_running:
                return
            time.sleep(1)


def _show(study: medseg.Study, as_json: bool) -> None:
    document = study.status()
    if as_json:
        print_json({"format_version": FORMAT_VERSION, **document})
        return
    typer.echo(
        "{done} of {total} cases done, {failed} failed, {pending} pending, {running} running".format(
            **document
        )
    )
    for warning in document["warnings"]:
        typer.echo(f"  done with a warning, {warning['code']}: {warning['cases']}")
    _show_failures(document["failures"])
    typer.echo(str(study.path))


def _show_failures(failures: list[dict[str, Any]]) -> None:
    by_reason: dict[str, list[dict[str, Any]]] = {}
    for failure in failures:
        by_reason.setdefault(failure["reason"]["code"], []).append(failure)
    for code, same in sorted(by_reason.items(), key=lambda item: -len(item[1])):
        typer.echo(f"  {code}: {len(same)}")
        for failure in same[:_SHOWN]:
            typer.echo(f"    {failure['case_id']}: {failure['reason']['message']}")
        if len(same) > _SHOWN:
            typer.echo(f"    and {len(same) - _SHOWN} more: --json lists all")
