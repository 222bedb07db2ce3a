"""A training dataset: which cases, which files, which labels. No voxels."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from medseg.io import files
from medseg.labels import LabelSet
from medseg.plans import RegionSpec

LABEL_MAPS = "label-maps"  # the layout whose images are made


@dataclass(frozen=True, slots=True)
class Case:
    """One case: its id, its image files in order of the channels, its label file.

    No image: the label file is a map that images are made from. ``patient`` is who the case is of, where the
    dataset says so.
    """

    id: str
    images: tuple[Path, ...]
    label: Path
    patient: str | None = None


@dataclass(frozen=True, slots=True)
class Dataset:
    """A dataset. ``cases`` are sorted by id; ``labels`` is None where no file names them.

    ``ignore_label`` is the value of voxels that nobody judged (nnU-Net's label ``ignore``, the void of a
    benchmark); None where there is none. It is not in ``labels``. ``regions`` are nnU-Net's labels of several
    ids, which may overlap; empty where there are none. ``listed_in`` is the file that names the cases; None
    where they are found by the names of their files.
    """

    name: str
    path: Path
    layout: str
    channels: tuple[str, ...]
    modalities: tuple[str | None, ...]
    labels: LabelSet | None
    cases: tuple[Case, ...]
    ignore_label: int | None = None
    regions: tuple[RegionSpec, ...] = ()
    listed_in: Path | None = None


def make_dataset(
    path: Path,
    layout: str,
    channels: tuple[str, ...],
    modalities: tuple[str | None, ...],
    labels: LabelSet | None,
    cases: list[Case],
    ignore_label: int | None = None,
    listed_in: Path | None = None,
) -> Dataset:
    """A dataset under its path's name, with its cases sorted by id."""
    name = files.stem(path) if path.is_file() else path.resolve().name
    ordered = tuple(sorted(cases, key=lambda case: case.id))
    return Dataset(name, path, layout, channels, modalities, labels, ordered, ignore_label, (), listed_in)


def modality_of(channel: str) -> str | None:
    """``"CT"`` or ``"MR"`` where a channel's name says so, else None."""
    word = channel.strip().lower()
    if word.startswith("ct"):
        return "CT"
    if word.startswith(("mr", "t1", "t2", "flair", "pd", "dwi", "adc")):
        return "MR"
    return None
