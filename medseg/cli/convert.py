"""``medseg convert``: one format to another, the geometry kept."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

import medseg
from medseg.cli.console import print_json, print_verdict
from medseg.cli.options import Allow, Json, Overwrite, Quiet, Series, listed, series_choice
from medseg.cli.progress import working

if TYPE_CHECKING:
    from medseg.volume import LabelMap, Volume

EXAMPLES = """[bold]Examples[/bold]
medseg convert dicom_folder ct.nii.gz
medseg convert scan.nrrd scan.nii.gz --overwrite
medseg convert labels.nii.gz labels.seg.nrrd --labels
medseg convert segmentation.dcm labels.nii.gz --names
medseg convert structures.dcm organs.nii.gz --scan ct_folder
medseg convert overlapping.seg.nrrd lesion.nii.gz --layer 2"""


def command(
    source: Annotated[Path, typer.Argument(metavar="SRC", help="A file, or a DICOM folder.")],
    target: Annotated[
        Path, typer.Argument(metavar="DST", help="The file to write, its format by extension.")
    ],
    labels: Annotated[
        bool,
        typer.Option(
            "--labels",
            help="SRC is a label map: keep its structures' names and colours. Kept unasked from .seg.nrrd, "
            "DICOM segmentations, structure sets and NIfTI that bears names.",
        ),
    ] = False,
    names: Annotated[
        bool,
        typer.Option("--names", help="Print the names of the structures too, which anyone may have typed."),
    ] = False,
    scan: Annotated[
        Path | None,
        typer.Option(
            "--scan",
            metavar="PATH",
            help="The scan on whose grid the labels lie; a structure set's is looked for in its folder.",
        ),
    ] = None,
    layer: Annotated[
        int | None,
        typer.Option(
            "--layer",
            metavar="N",
            min=1,
            help="Where structures overlap: only the Nth label map. Without it, .seg.nrrd takes all in one "
            "file, other formats one file each: DST_1, DST_2, ...",
        ),
    ] = None,
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
        items: Sequence[Volume | LabelMap]
        if labels or scan is not None or layer is not None or _holds_labels(source, target):
            items = _read_labels(source, layer, series_choice(series), listed(allow), scan)
        else:
            items = (medseg.read(source, series=series_choice(series), allow=listed(allow)),)
            if "names" in items[0].source.header:  # a label map after all, and its names are to be kept
                items = _read_labels(source, layer, series_choice(series), listed(allow), scan)
        written = _write(items, target, overwrite)
    first = items[0]
    if as_json:
        print_json(
            {
                "format_version": 1,
                "input": str(source),
                "output": str(written[0]),
                "outputs": [str(path) for path in written],
                "verdict": first.verdict.status,
                "reasons": [reason.to_json() for reason in first.verdict.reasons],
                "shape": list(first.geometry.shape),
                "affine": first.geometry.affine.tolist(),
                "labels": [_structures(of_one, names) for of_one in _by_file(items, written)],
            }
        )
    else:
        print_verdict(str(source), first.verdict)
        for path, of_one in zip(written, _by_file(items, written), strict=True):
            typer.echo(str(path))
            for structure in _structures(of_one, names):
                typer.echo(f"  {structure['id']:>5} {structure.get('name', '')}".rstrip())


def _by_file(
    items: Sequence[Volume | LabelMap], written: Sequence[Path]
) -> list[Sequence[Volume | LabelMap]]:
    """What each file holds: one item, or in a ``.seg.nrrd`` all."""
    return [items] if len(written) == 1 else [(item,) for item in items]


def _structures(items: Sequence[Volume | LabelMap], named: bool) -> list[dict[str, Any]]:
    """Ids of the structures in label maps, and their names where asked for: anyone may have typed those."""
    from medseg.volume import LabelMap

    found = [label for item in items if isinstance(item, LabelMap) for label in item.labels]
    return [{"id": label.id, "name": label.name} if named else {"id": label.id} for label in found]


def _holds_labels(source: Path, target: Path) -> bool:
    from medseg.io.readers import is_label_file

    return target.name.lower().endswith(".seg.nrrd") or is_label_file(source)


def _read_labels(
    source: Path, layer: int | None, series: str | int | None, allow: Sequence[str], scan: Path | None
) -> tuple[LabelMap, ...]:
    if layer is None:
        return medseg.read_label_layers(source, series=series, allow=allow, scan=scan)
    return (medseg.read_labels(source, series=series, allow=allow, scan=scan, layer=layer),)


def _write(items: Sequence[Volume | LabelMap], target: Path, overwrite: bool) -> list[Path]:
    """One file; where label maps overlap and the format holds one, a file for each."""
    from medseg.io.files import extension
    from medseg.volume import LabelMap

    maps = [item for item in items if isinstance(item, LabelMap)]
    ending = extension(target)
    if len(items) == 1:
        return [medseg.write(items[0], target, overwrite=overwrite)]
    if ending == ".seg.nrrd":
        return [medseg.write(maps, target, overwrite=overwrite)]
    stem = target.name[: len(target.name) - len(ending)]
    targets = [target.with_name(f"{stem}_{n}{target.name[len(stem) :]}") for n in range(1, len(maps) + 1)]
    there = [path for path in targets if path.exists()]
    if there and not overwrite:
        raise medseg.UsageError(f"{there[0]}: exists already; overwrite=True replaces it")
    return [medseg.write(item, path, overwrite=overwrite) for item, path in zip(maps, targets, strict=True)]
