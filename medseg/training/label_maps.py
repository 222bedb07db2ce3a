"""A dataset of label maps without images: what a plan for training by synthesis needs to know of it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from medseg.datasets import LABEL_MAPS, Case, Dataset
from medseg.datasets.tissue_tables import TABLE, read_contrasts, read_label_set, read_tissues
from medseg.errors import InputRefused
from medseg.geometry import Geometry
from medseg.io import read_labels
from medseg.labels import LabelSet
from medseg.plans import ChannelStatistics, Fingerprint, GridPlan, SynthesisPlan
from medseg.preprocess import network_geometry
from medseg.training.fingerprint import Progress, grid_facts


def made_from_maps(dataset: Dataset) -> bool:
    """Whether training images are made from the dataset's label maps."""
    return dataset.layout == LABEL_MAPS


def synthesis_of(dataset: Dataset) -> SynthesisPlan:
    """What the dataset's tables say of its tissues and contrasts; everything else at its default.

    Raises
    ------
    InputRefused
        ``bad-labels-csv``, see `medseg.datasets.tissue_tables`.
    """
    tissues = read_tissues(dataset.path)
    return SynthesisPlan(tissues=tissues, contrasts=read_contrasts(dataset.path, tissues))


def fingerprint_of_maps(
    dataset: Dataset, cases: Sequence[Case], progress: Progress | None = None
) -> tuple[Fingerprint, LabelSet]:
    """Grids and class frequencies of label maps; intensities are those of made images, 0 to 1.

    Raises
    ------
    InputRefused
        ``unknown-label`` if a map holds a value that is not in the dataset's table.
    """
    labels = read_label_set(dataset.path)
    segment = {tissue.value: tissue.segment for tissue in read_tissues(dataset.path)}
    grids: list[Geometry] = []
    voxels = dict.fromkeys((0, *labels.ids), 0)
    with_label = dict.fromkeys(labels.ids, 0)
    for number, case in enumerate(cases):
        label_map = read_labels(case.label)
        grids.append(network_geometry(label_map.geometry, GridPlan()))
        values, counts = np.unique(label_map.data, return_counts=True)
        if unknown := sorted(set(values.tolist()) - set(segment)):
            raise InputRefused(
                f"case {case.id!r}: values {unknown[:10]} are not in {TABLE}: add them, or remove them from "
                "the map",
                code="unknown-label",
                path=case.label,
            )
        for value, count in zip(values.tolist(), counts.tolist(), strict=True):
            voxels[segment[value]] += count
        for label in {segment[value] for value in values.tolist()} - {0}:
            with_label[label] += 1
        if progress is not None:
            progress("fingerprint", number + 1, len(cases))
    total = sum(voxels.values())
    image = ChannelStatistics(
        name="image", modality=None, mean=0.5, std=0.25, percentile_00_5=0.0, percentile_99_5=1.0
    )
    fingerprint = Fingerprint(
        cases=len(cases),
        dimensions=3,
        **grid_facts(grids),
        channels=(image,),
        voxel_fraction={label: round(count / total, 8) for label, count in voxels.items()},
        cases_with_label=with_label,
    )
    return fingerprint, labels
