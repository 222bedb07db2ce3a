"""Layouts told by the names of folders and files alone: no header is read, and no tree is walked."""

from __future__ import annotations

from pathlib import Path

from medseg.datasets.sources import bids, cityscapes, nyu_depth, s3dis, voc
from medseg.datasets.tissue_tables import TABLE

_LISTS = (".csv", ".json")


def training_layout(path: Path) -> str | None:
    """How `medseg.datasets.read_dataset` would know a path for a dataset; None where it would not."""
    if path.is_file():
        return "a list of cases" if path.suffix.lower() in _LISTS else None
    if (path / "dataset.json").is_file():
        return "dataset.json"
    if (path / "images").is_dir() and (path / "labels").is_dir():
        return "images/ and labels/"
    return TABLE if (path / TABLE).is_file() else None


def foreign_layout(path: Path) -> str | None:
    """The name for ``--layout`` of a dataset that has to be imported; None where it is no such dataset.

    DICOM has no names to be known by.
    """
    if nyu_depth.home(path):
        return "nyu-depth"
    if path.is_dir():
        if voc.years(path):
            return "voc"
        if cityscapes.home(path):
            return "cityscapes"
        if s3dis.rooms(path):
            return "s3dis"
        if bids.home(path):
            return "bids"
    return None


def dataset_around(path: Path) -> tuple[Path, str] | None:
    """The dataset that a path is a part of, and how it is known: its folder, or the one above that."""
    for folder in path.resolve().parents[:2]:
        layout = _foreign_around(folder) or training_layout(folder)
        if layout is not None:
            return folder, layout
    return None


def _foreign_around(folder: Path) -> str | None:
    """As `foreign_layout`, without a look into folders that may have nothing to do with the path."""
    if voc.is_year(folder):
        return "voc"
    if cityscapes.home(folder):
        return "cityscapes"
    if bids.home(folder):
        return "bids"
    return "s3dis" if s3dis.is_area(folder) else None
