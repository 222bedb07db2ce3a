"""Layouts that training reads as they are: the Decathlon (also several channels in one 4D file), nnU-Net v1
and v2, images/ beside labels/, and lists.

Sources: the Medical Segmentation Decathlon's dataset.json (http://medicaldecathlon.com), and nnU-Net's
documentation/dataset_format.md (v2) and dataset_conversion.md of branch nnunetv1.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

from medseg.datasets.absent import file_faults
from medseg.datasets.dataset import LABEL_MAPS, Case, Dataset
from medseg.datasets.reading import find_dataset
from medseg.datasets.sources.survey import Example, Problem, SourceCase, SourceOptions, Survey, safe_name
from medseg.errors import InputRefused, SeveralVolumes
from medseg.io import read, read_labels
from medseg.volume import Volume


def survey(path: Path, _: SourceOptions) -> Survey:
    """The cases of a dataset in a layout that `medseg.datasets.read_dataset` knows."""
    dataset = find_dataset(path)
    if dataset.layout == LABEL_MAPS:
        raise InputRefused(
            f"{path}: label maps without images: medseg train takes such a folder as it is",
            code="no-images",
            path=path,
        )
    problems = [
        Problem(fault.code, fault.case, f"{fault.message}: {fault.cure}")
        for fault in file_faults(dataset)
        if fault.code != "repeated-case"  # which is told of every layout's cases
    ]
    files = _file_names(dataset)
    return Survey(
        dataset.layout,
        dataset.name,
        files,
        dataset.channels,
        dataset.labels,
        tuple(
            SourceCase(
                safe_name(case.id),
                (*case.images, case.label),
                partial(_read, case, len(files)),
                patient=case.patient,
            )
            for case in dataset.cases
            if all(file.exists() for file in (*case.images, case.label))
        ),
        dataset.ignore_label,
        tuple(problems),
    )


def _file_names(dataset: Dataset) -> tuple[str, ...]:
    """One name per file of a case; files of several channels each, as of RGB and depth, are numbered."""
    is_4d = dataset.layout == "decathlon" and len(dataset.channels) > 1
    count = len(dataset.channels) if is_4d else len(dataset.cases[0].images)
    if count == 1:
        return ("",)
    named = tuple(map(safe_name, dataset.channels))
    return named if len(named) == count else tuple(f"{n:04d}" for n in range(count))


def _read(case: Case, files: int) -> Example:
    if len(case.images) == files:
        images = tuple(read(path) for path in case.images)
    else:
        images = _split(case.images[0], files)
    return Example(images, (read_labels(case.label),))


def _split(path: Path, channels: int) -> tuple[Volume, ...]:
    """The volumes of a 4D file, which the Decathlon uses for modalities, not for time."""
    try:
        found = len(read(path).data)
    except SeveralVolumes as several:
        found = several.count
    if found != channels:
        raise InputRefused(
            f"{path.name}: {found} volumes, dataset.json lists {channels} modalities: expected one for each",
            code="channels",
            path=path,
        )
    return tuple(read(path, series=n + 1) for n in range(channels))
