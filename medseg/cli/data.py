"""``medseg data``: training datasets, brought in from other layouts and looked over."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

import medseg
from medseg.cli.commands import Commands
from medseg.cli.console import print_json, print_table
from medseg.cli.options import Dataset as DatasetPath
from medseg.cli.options import Json, Overwrite, Quiet, listed
from medseg.cli.progress import working
from medseg.words import counted

if TYPE_CHECKING:
    from medseg.datasets import DatasetReport, ImportReport

app = Commands(help="Training datasets: import other layouts, find what is wrong.")
CHECK_EXAMPLES = """[bold]Examples[/bold]
medseg data check Task04_Hippocampus
medseg data check dataset -o looked_at
medseg data check cases.csv --json"""
IMPORT_EXAMPLES = """[bold]Examples[/bold]
medseg data import Task01_BrainTumour -o brain_tumour
medseg data import bids_folder -o lesions --target lesion-manual --channels T2w
medseg data import dicom_folder -o liver --layout rtstruct --target liver
medseg data import Stanford3dDataset_v1.2/Area_1 -o area_1 --voxel-mm 40
medseg data import VOCdevkit --dry-run  # a look writes nothing and needs no -o"""
_SHOWN = 20  # findings of one code


@app.command("check", epilog=CHECK_EXAMPLES)
def check(
    dataset: DatasetPath,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", "-o", metavar="FOLDER", help="Write findings.json, and worst.png with the worst cases."
        ),
    ] = None,
    overwrite: Overwrite = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Look for mistakes in a training dataset: unlabelled slices, copies, sides mixed up, and more.

    Every finding names its file and what to do. Exit code 0 where there are notes alone, 4 where there are
    faults: what spoils training or its scores. Nothing is changed.
    """
    with working(quiet) as progress:
        report = medseg.check_dataset(dataset, out, overwrite=overwrite, progress=progress)
    if as_json:
        print_json(report.to_json())
    else:
        _print_findings(report)
    if report.faults:
        raise typer.Exit(4)


@app.command("import", epilog=IMPORT_EXAMPLES)
def import_(
    source: Annotated[
        Path,
        typer.Argument(metavar="SRC", help="A dataset's folder or file, in any layout that is known."),
    ],
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", metavar="OUT", help="The folder to write to. Needed, unless --dry-run."),
    ] = None,
    layout: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="auto, decathlon, nnunet, folders, list, bids, dicom-seg, rtstruct, voc, cityscapes, "
            "nyu-depth or s3dis.",
        ),
    ] = "auto",
    target: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME,...",
            help="Which labels, where there are several kinds: seg-manual (BIDS), trainIds or labelIds "
            "(Cityscapes), structures by name (DICOM).",
        ),
    ] = None,
    channels: Annotated[
        list[str] | None,
        typer.Option(
            metavar="SUFFIX,...",
            help="Images of a case by their BIDS suffix, first the one that labels are drawn on: T2w,T1w.",
        ),
    ] = None,
    voxel_mm: Annotated[
        float, typer.Option(metavar="MM", help="Edge of the voxels that points are gathered in (S3DIS).")
    ] = 50.0,
    separate: Annotated[
        bool,
        typer.Option("--separate", help="A label map and a list for each structure, for those that overlap."),
    ] = False,
    skip_faulty: Annotated[
        bool, typer.Option("--skip-faulty", help="Leave cases with problems out.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Read and judge every case, write nothing.")
    ] = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Bring a dataset of another layout into one that `medseg train` takes.

    Give the folder to write to with -o, or only look with --dry-run.
    The same command goes on where it was interrupted; nothing is overwritten. Exit code 3 where the layout
    has problems (all are listed) and nothing was written, 4 where some cases were refused.
    """
    with working(quiet) as progress:
        report = medseg.import_dataset(
            source,
            out,
            layout=layout,
            target=listed(target),
            channels=listed(channels),
            voxel_mm=voxel_mm,
            separate=separate,
            skip_faulty=skip_faulty,
            dry_run=dry_run,
            progress=progress,
        )
    if as_json:
        print_json(report.to_json())
    else:
        _print_import(report)
    if report.refused:
        raise typer.Exit(4 if report.cases else 3)


def _print_findings(report: DatasetReport) -> None:
    by_code: dict[str, int] = {}
    rows = []
    for finding in report.findings:
        by_code[finding.code] = by_code.get(finding.code, 0) + 1
        if by_code[finding.code] <= _SHOWN:
            rows.append(
                (finding.severity, finding.code, finding.case or "all", finding.message, finding.cure)
            )
    if rows:
        print_table(("", "code", "case", "finding", "what to do"), rows)
    for code, count in by_code.items():
        if count > _SHOWN:
            typer.echo(f"and {count - _SHOWN} more of {code}: --json lists all")
    notes = len(report.findings) - len(report.faults)
    cases, faults = counted(len(report.dataset.cases), "case"), counted(len(report.faults), "fault")
    typer.echo(f"{cases}, {faults}, {counted(notes, 'note')}")
    for file in report.files:
        typer.echo(str(file))


def _print_import(report: ImportReport) -> None:
    for note in report.notes:
        typer.echo(f"{note.code}: {note}")
    for problem in report.refused:
        typer.echo(f"refused: {problem.code}: {problem}")
    problems = counted(len(report.refused), "problem")
    typer.echo(f"{report.layout}: {counted(len(report.cases), 'case')} {_done(report)}, {problems}")
    for path in report.datasets:
        typer.echo(str(path))
    if report.out is not None and not report.datasets:
        typer.echo("not finished: correct the cases and run the command again, or --skip-faulty")


def _done(report: ImportReport) -> str:
    """What has become of the cases, and whether by this run or an earlier one."""
    earlier = len(report.earlier)
    if report.out is None:
        return "can be imported"
    if earlier == 0:
        return "imported"
    if earlier < len(report.cases):
        return f"imported, {earlier} of them by an earlier run"
    return "imported already by an earlier run"
