"""Which layout a path has, and whether all its files are there. No voxels are read here."""

from __future__ import annotations

from pathlib import Path

from medseg.datasets.absent import file_faults, folder_alike
from medseg.datasets.dataset import Dataset
from medseg.datasets.layouts.dataset_json import read_dataset_json
from medseg.datasets.layouts.folders import read_folders
from medseg.datasets.layouts.label_maps import read_label_maps
from medseg.datasets.layouts.lists import read_list
from medseg.datasets.recognition import dataset_around, foreign_layout
from medseg.datasets.tissue_tables import TABLE
from medseg.errors import InputRefused, NotFound
from medseg.words import counted

_SHOWN = 10  # faults in a message; the error's reasons hold all


def read_dataset(path: Path | str) -> Dataset:
    """Recognise the layout of a dataset and list its cases.

    Raises
    ------
    NotFound
        If the path does not exist.
    InputRefused
        If no layout fits, a file is missing, or no case is found; every fault is listed.
    """
    dataset = find_dataset(Path(path))
    faults = file_faults(dataset)
    if faults:
        lines = [str(fault) for fault in faults[:_SHOWN]]
        more = [f"and {len(faults) - _SHOWN} more"] if len(faults) > _SHOWN else []
        raise InputRefused(
            f"{dataset.path}: {counted(len(faults), 'fault')}\n  " + "\n  ".join([*lines, *more]),
            code=faults[0].code,
            path=dataset.path,
            reasons=[(fault.code, str(fault)) for fault in faults],
        )
    return dataset


def find_dataset(path: Path) -> Dataset:
    """As `read_dataset`, whether its files are there or not."""
    if not path.exists():
        raise NotFound(f"{path}: no such dataset")
    if path.is_file():
        dataset = read_list(path)
    elif (path / "dataset.json").is_file():
        dataset = read_dataset_json(path)
    elif (path / "images").is_dir() and (path / "labels").is_dir():
        dataset = read_folders(path)
    elif (path / TABLE).is_file():
        dataset = read_label_maps(path)
    else:
        raise _unknown(path)
    if not dataset.cases:
        raise InputRefused(
            f"{path}: no case with an image and a label: expected 'training' in dataset.json to list some, "
            f"or label maps in labels/ (nnU-Net: labelsTr/)",
            code="no-cases",
            path=path,
        )
    return dataset


def _unknown(path: Path) -> InputRefused:
    """A folder that is no dataset, and what may have been meant: an import, one around it, another name."""
    foreign, around = foreign_layout(path), dataset_around(path)
    if foreign is not None:
        text = f"has the layout {foreign}, which has to be imported: medseg data import {path} -o OUT"
    elif around is not None:
        folder, layout = around
        imported = foreign_layout(folder) is not None
        text = f"not a dataset that medseg knows: its folder {folder} is a dataset ({layout}): " + (
            f"medseg data import {folder} -o OUT" if imported else "give that"
        )
    else:
        text = (
            f"not a dataset that medseg knows{_slip(path)}. Expected one of: a folder with dataset.json "
            f"(Medical Segmentation Decathlon, nnU-Net), a folder with images/ and labels/, label maps "
            f"beside a {TABLE}, or a CSV/JSON list of image and label paths. Other layouts: medseg data "
            f"import"
        )
    return InputRefused(f"{path}: {text}", code="unknown-layout", path=path)


def _slip(path: Path) -> str:
    """Which of images/ and labels/ is missing beside the other, and which folder has nearly its name."""
    pair = (path / "images", path / "labels")
    for missing, there in (pair, pair[::-1]):
        if there.is_dir() and not missing.exists():
            alike = folder_alike(missing, pair)
            text = f": {there.name}/ is there, {missing.name}/ is not"
            return text if alike is None else f"{text}, but {alike.name}/: rename it"
    return ""
