"""Options that several commands share, and how their values are parsed."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import typer

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document to stdout, nothing else.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace outputs that exist.")]
Series = Annotated[
    str | None,
    typer.Option(
        "--series",
        metavar="UID|N",
        help="Which series of a DICOM folder, or volume of a file: UID, or number in `medseg inspect`.",
    ),
]
Allow = Annotated[
    list[str] | None,
    typer.Option(
        "--allow",
        metavar="NAME,...",
        help="Repairs to permit: missing-slices, uneven-spacing, tilt, shear, non-finite.",
    ),
]
Strict = Annotated[bool, typer.Option("--strict", help="Refuse where there would be a warning.")]

HOW = "How to compute"
Backend = Annotated[str, typer.Option(help="auto, openvino or torch.", rich_help_panel=HOW)]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.", rich_help_panel=HOW)]
Precision = Annotated[str, typer.Option(help="auto, f32, bf16 or f16.", rich_help_panel=HOW)]
Overlap = Annotated[
    float | None,
    typer.Option(
        help="Share that neighbouring windows overlap; the model's own without it.", rich_help_panel=HOW
    ),
]
Flips = Annotated[
    bool, typer.Option("--tta", help="Average over the flips that the model allows.", rich_help_panel=HOW)
]

Overrides = Annotated[
    list[str] | None,
    typer.Argument(metavar="[KEY=VALUE]...", help="Values of the plan to set, e.g. schedule.steps=500."),
]
Config = Annotated[
    str | None,
    typer.Option(
        "--config",
        "-c",
        metavar="NAME|FILE",
        help="A recipe's name (see --recipes), or a YAML file of plan values.",
    ),
]
Dataset = Annotated[
    Path,
    typer.Argument(
        metavar="DATASET",
        help="A Decathlon or nnU-Net v2 folder, a folder with images/ and labels/, label maps beside a "
        "labels.csv, or a CSV or JSON list.",
    ),
]


def listed(values: Iterable[str] | None) -> tuple[str, ...]:
    """``--allow a,b --allow c`` as ``("a", "b", "c")``."""
    return tuple(part.strip() for value in values or () for part in value.split(",") if part.strip())


def series_choice(value: str | None) -> str | int | None:
    """A series' number as an int; a UID (which has dots) as it is."""
    return int(value) if value is not None and value.isdecimal() else value
