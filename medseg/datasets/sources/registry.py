"""Which layouts can be imported, and which one a path has."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Literal, get_args

from medseg.datasets.recognition import dataset_around, foreign_layout, training_layout
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
    try:
        found = settled(_SURVEYS[name](path, options))
    except InputRefused as refusal:
        meant = _meant(path, layout) if refusal.code in ("unknown-layout", "no-cases") else ""
        if not meant:
            raise
        raise InputRefused(
            f"{path}: no dataset of the layout {name}{meant}", code="unknown-layout", path=path
        ) from refusal
    if layout not in ("auto", found.layout):
        raise InputRefused(
            f"{path}: has the layout {found.layout}, not {layout}: leave --layout out, or name the right one",
            code="unknown-layout",
            path=path,
        )
    if not found.cases and not found.problems:
        text = f"{path}: no case with an image and labels ({name}){_meant(path, layout)}"
        raise InputRefused(text, code="no-cases", path=path)
    return found


def recognised(path: Path) -> str:
    """The layout of a path by the folders and files it has; DICOM by its headers, if nothing else fits."""
    foreign = foreign_layout(path)
    if foreign is not None:
        return foreign
    if training_layout(path) is not None:
        return "folders"  # or any of those that training reads: they share one survey
    if path.is_dir():
        found = dicom_labels.which(path)
        if found is not None:
            return found
    raise InputRefused(
        f"{path}: no layout that medseg knows ({', '.join(LAYOUTS)})"
        f"{_meant(path, 'auto') or ': see docs/datasets.md for the folders and files of each'}",
        code="unknown-layout",
        path=path,
    )


def _meant(path: Path, layout: str) -> str:
    """What a path looks like where ``layout`` does not fit, else the dataset that it is a part of; or ""."""
    foreign, training, around = foreign_layout(path), training_layout(path), dataset_around(path)
    if foreign is not None:
        fits = layout in ("auto", foreign)
        return "" if fits else f": it looks like {foreign}: leave --layout out, or give --layout {foreign}"
    if training is not None:
        fits = layout == "auto" or _SURVEYS[layout] is known.survey
        return "" if fits else f": it looks like what training reads ({training}): leave --layout out"
    if around is not None:
        return ": its folder {} is a dataset ({}): give that".format(*around)
    return ""
