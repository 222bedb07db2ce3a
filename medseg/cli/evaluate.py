"""``medseg evaluate``: label maps against references."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

import medseg
from medseg.cli.console import print_json, print_reasons, print_table
from medseg.cli.options import Json, Quiet, listed
from medseg.cli.progress import working
from medseg.errors import UsageError

if TYPE_CHECKING:
    from medseg.evaluation import Evaluation

EXAMPLES = """[bold]Examples[/bold]
medseg evaluate predicted.nii.gz reference.nii.gz
medseg evaluate predictions labelsTr -o metrics.csv --workers 4
medseg evaluate predictions labelsTr --surface-tolerance-mm 2 --definition hd95=voxels --json
medseg evaluate study
medseg evaluate predictions labelsTr --metrics dice,lesions --lesion-smallest-mm3 10"""

_COLUMNS = {
    "dice": "Dice",
    "surface_dice": "surface Dice",
    "hd95_mm": "HD95 in mm",
    "volume_error_ml": "volume error in mL",
    "volume_error_percent": "in %",
    "mean_surface_distance_mm": "mean distance in mm",
    "hausdorff_mm": "Hausdorff in mm",
    "volumetric_similarity": "volumetric similarity",
    "lesions_tp": "lesions found",
    "lesions_fn": "missed",
    "lesions_fp": "invented",
    "lesion_sensitivity": "sensitivity",
    "lesion_precision": "precision",
    "lesion_f1": "F1",
}


def command(
    predicted: Annotated[
        Path, typer.Argument(metavar="PRED", help="A label map, a folder of them, or the folder of a study.")
    ],
    reference: Annotated[
        Path | None,
        typer.Argument(
            metavar="REF",
            help="The reference, or a folder of them; a study without it takes those of its manifest.",
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", metavar="CSV", help="Write every case and label as a table.")
    ] = None,
    metrics: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME,...",
            help="What to measure: dice, surface_dice, hd95, volume_error, mean_surface_distance (those five "
            "unless told), hausdorff, volumetric_similarity, lesions, all.",
        ),
    ] = None,
    definition: Annotated[
        list[str] | None,
        typer.Option(
            metavar="METRIC=NAME,...",
            help="Another definition: area (unless told) or voxels of surface_dice, hd95, hausdorff, "
            "mean_surface_distance; pooled of hd95.",
        ),
    ] = None,
    surface_tolerance_mm: Annotated[
        float,
        typer.Option(metavar="MM", help="Distance up to which surfaces count as equal in surface Dice."),
    ] = 1.0,
    lesion_connectivity: Annotated[
        int, typer.Option(metavar="N", help="Neighbours that join voxels to a lesion: 6, 18 or 26.")
    ] = 26,
    lesion_overlap: Annotated[
        float,
        typer.Option(metavar="SHARE", help="Share of a lesion to cover for it to be found; at 0 one voxel."),
    ] = 0.0,
    lesion_smallest_mm3: Annotated[
        float, typer.Option(metavar="MM3", help="Leave out lesions below this volume.")
    ] = 0.0,
    workers: Annotated[int, typer.Option(metavar="N", help="Processes that compare cases.")] = 1,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Dice, surface Dice, HD95, volume error, mean surface distance and more per label and case.

    Files of two folders are paired by name, with _seg and _0000 stripped. A metric that is not
    defined (a structure absent from both, say) is missing with a reason, never 0. Exit code 4 where some
    cases could not be compared.
    """
    with working(quiet) as progress:
        evaluation = _comparison(predicted, reference)(
            metrics=listed(metrics) or None,
            definitions=_definitions(listed(definition)),
            surface_tolerance_mm=surface_tolerance_mm,
            lesion_connectivity=lesion_connectivity,
            lesion_overlap=lesion_overlap,
            lesion_smallest_mm3=lesion_smallest_mm3,
            workers=workers,
            out=out,
            keep_cases=as_json,
            progress=progress,
        )
    if as_json:
        print_json(evaluation.to_json())
    else:
        _print(evaluation.to_json(), evaluation.settings.asked)
        if out is not None:
            typer.echo(str(out))
    if not all(case.was_scored for case in evaluation.cases):
        raise typer.Exit(4)


def _comparison(predicted: Path, reference: Path | None) -> Callable[..., Evaluation]:
    """What compares: two files or folders, or a study with its own references."""
    is_study = (predicted / "ledger.sqlite").is_file()
    if reference is not None:
        return partial(medseg.evaluate, predicted / "segmentations" if is_study else predicted, reference)
    if not is_study:
        raise UsageError(f"{predicted} is no study, whose manifest would name references: give REF as well")
    return medseg.open_study(predicted).evaluate


def _definitions(texts: Iterable[str]) -> dict[str, str]:
    """``hd95=voxels`` as a pair; each metric once."""
    found: dict[str, str] = {}
    for text in texts:
        metric, equals, name = text.partition("=")
        if not equals or metric in found:
            why = "is given twice" if equals else "is no METRIC=NAME, such as hd95=voxels"
            raise UsageError(f"--definition {text}: {metric if equals else 'it'} {why}")
        found[metric] = name
    return found


def _print(document: dict[str, Any], asked: Iterable[str]) -> None:
    """Each label's mean over the cases; what was left out, and why."""
    measured = [name for name in asked if name in _COLUMNS]
    rows = [
        (row["name"], str(max(row[name]["n"] for name in measured)), *(_mean(row[name]) for name in measured))
        for row in document["summary"]
    ]
    columns = [_COLUMNS[name] for name in measured]
    print_table(("mean over cases", "n", *columns), rows, numbers=("n", *columns))
    for case in document["cases"]:
        if case["reasons"]:
            print_reasons(case["case"], case["verdict"], case["reasons"])
    missing = document["without_prediction"]
    if missing:
        named = ", ".join(missing[:3]) + (f" and {len(missing) - 3} more" if len(missing) > 3 else "")
        typer.echo(f"nothing was predicted for {named}; such references enter no mean")


def _mean(statistics: dict[str, Any]) -> str:
    return "-" if statistics["mean"] is None else f"{statistics['mean']:.4f}"
