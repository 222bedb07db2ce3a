"""Which layout a path has, and whether all its files are there. No voxels are read here."""

from __future__ import annotations

from pathlib import Path

from medseg.datasets.dataset import Dataset
from medseg.datasets.layouts.dataset_json import read_dataset_json
from medseg.datasets.layouts.folders import read_folders
from medseg.datasets.layouts.label_maps import read_label_maps
from medseg.datasets.layouts.lists import read_list
from medseg.datasets.tissue_tables import TABLE
from medseg.errors import InputRefused, NotFound

_LISTS = (".csv", ".json")


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
        lines = [f"case {case_id!r}{text}" for _, case_id, text in faults[:10]]
        more = [f"and {len(faults) - 10} more"] if len(faults) > 10 else []
        raise InputRefused(
            f"{dataset.path}: {len(faults)} fault(s)\n  " + "\n  ".join([*lines, *more]),
            code=faults[0][0],
            path=dataset.path,
            reasons=[(code, f"case {case_id!r}{text}") for code, case_id, text in faults],
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
        raise InputRefused(
            f"{path}: not a dataset that medseg knows. Expected one of: a folder with dataset.json (Medical "
            f"Segmentation Decathlon, nnU-Net), a folder with images/ and labels/, label maps beside a "
            f"{TABLE}, or a CSV/JSON list of image and label paths. Other layouts: medseg data import",
            code="unknown-layout",
            path=path,
        )
    if not dataset.cases:
        raise InputRefused(f"{path}: no case with an image and a label", code="no-cases", path=path)
    return dataset


def is_known(path: Path) -> bool:
    """Whether `read_dataset` would take a path for a dataset."""
    if path.is_file():
        return path.suffix.lower() in _LISTS
    folders = (path / "images").is_dir() and (path / "labels").is_dir()
    return folders or (path / "dataset.json").is_file() or (path / TABLE).is_file()


def file_faults(dataset: Dataset) -> list[tuple[str, str, str]]:
    """Code, case and fault for each case that is there twice and each file that is not there."""
    faults: list[tuple[str, str, str]] = []
    seen: set[str] = set()
    for case in dataset.cases:
        if case.id in seen:
            faults.append(("repeated-case", case.id, " appears more than once"))
        seen.add(case.id)
        faults.extend(
            ("missing-file", case.id, f": {file} does not exist")
            for file in (*case.images, case.label)
            if not file.exists()
        )
    return faults
