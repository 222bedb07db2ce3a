"""Which layouts can be imported, and which one a path has."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Literal, get_args

from medseg.datasets.reading import is_known
from medseg.datasets.sources import bids, cityscapes, dicom_labels, known, nyu_depth, s3dis, voc
from medseg.datasets.sources.survey import SourceOptions, Survey, settled
from medseg.errors import InputRefused, NotFound, UsageError

Layout = Literal[
    "decathlon", "nnunet", "folders", "list", "bids", "dicom-seg", "rtstruct", "voc", "cityscapes",
    "nyu-depth", "s3dis",
]  # fmt: skip
LAYOUTS: tuple[str, ...] = get_args(Layout)

_SURVEYS: dict[str, Callable[[Path, SourceOptions], Survey]] = {
    **dict.fromkeys(("decathlon", "nnunet", "folders", "list"), known.survey),
    "bids": bids.survey,
    "dicom-seg": partial(dicom_labels.survey, layout="dicom-seg"),
    "rtstruct": partial(dicom_labels.survey, layout="rtstruct"),
    "voc": voc.survey,
    "cityscapes": cityscapes.survey,
    "nyu-depth": nyu_depth.survey,
    "s3dis": s3dis.survey,
}


def survey(path: Path, layout: str, options: SourceOptions) -> Survey:
    """What there is to import at a path. ``layout`` is one of `LAYOUTS`, or ``"auto"``.

    Raises
    ------
    NotFound
        If the path does not exist.
    UsageError
        If there is no such layout.
    InputRefused
        If the path has another layout, or none that is known.
    """
    if layout != "auto" and layout not in LAYOUTS:
        raise UsageError(f"layout {layout!r}: expected auto or one of {', '.join(LAYOUTS)}")
    if not path.exists():
        raise NotFound(f"{path}: no such dataset to import")
    name = recognised(path) if layout == "auto" else layout
    found = settled(_SURVEYS[name](path, options))
    if layout not in ("auto", found.layout):
        raise InputRefused(
            f"{path}: has the layout {found.layout}, not {layout}: leave --layout out, or name the right one",
            code="unknown-layout",
            path=path,
        )
    if not found.cases and not found.problems:
        raise InputRefused(f"{path}: no case with an image and labels ({name})", code="no-cases", path=path)
    return found


def recognised(path: Path) -> str:
    """The layout of a path by the folders and files it has; DICOM by its headers, if nothing else fits."""
    if nyu_depth.home(path):
        return "nyu-depth"
    if path.is_dir():
        if voc.home(path) is not None:
            return "voc"
        if cityscapes.home(path):
            return "cityscapes"
        if s3dis.rooms(path):
            return "s3dis"
        if bids.home(path):
            return "bids"
    if is_known(path):
        return "folders"  # or any of those that training reads: they share one survey
    if path.is_dir():
        found = dicom_labels.which(path)
        if found is not None:
            return found
    raise InputRefused(
        f"{path}: no layout that medseg knows ({', '.join(LAYOUTS)}): see docs/datasets.md for the folders "
        f"and files of each",
        code="unknown-layout",
        path=path,
    )
