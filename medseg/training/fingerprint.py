"""What a dataset looks like: read every case once, keep only numbers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medseg.datasets import Case, Dataset
from medseg.errors import InputRefused
from medseg.geometry import Geometry
from medseg.io import read, read_labels
from medseg.labels import LabelSet
from medseg.plans import ChannelStatistics, Fingerprint, GridPlan, with_ignored
from medseg.preprocess import network_geometry, stack_channels
from medseg.volume import LabelMap, Volume, count_ids
from medseg.words import counted

Progress = Callable[[str, int, int], None]
_SAMPLES_PER_CASE = 10_000
_COLOURS = ("red", "green", "blue")


def read_case(case: Case, labels: LabelSet | None = None) -> tuple[Volume, LabelMap]:
    """A case's channels as one Volume on the first one's grid, and its label map on that grid too.

    Raises
    ------
    InputRefused
        As `medseg.preprocess.stack_channels`; ``grid-differs`` if the label lies on another grid than the
        first channel; ``palette`` if a picture's pixels are numbers of colours.
    """
    volumes = [read(path) for path in case.images]
    for path, volume in zip(case.images, volumes, strict=True):
        if "palette" in volume.verdict.codes:
            raise InputRefused(
                f"case {case.id!r}: {path.name} has a palette, so that its pixels are numbers of colours, "
                "not intensities: save it as RGB or grey",
                code="palette",
                path=path,
            )
    try:
        volume = stack_channels(volumes, [path.name for path in case.images])
    except InputRefused as error:
        raise InputRefused(f"case {case.id!r}: {error}", code=error.code, path=case.label) from error
    label_map = read_labels(case.label, labels=labels)
    if not volume.geometry.same_grid(label_map.geometry):
        raise InputRefused(
            f"case {case.id!r}: the label {case.label.name} lies on another grid than the image "
            f"{case.images[0].name} ({label_map.geometry.unlike(volume.geometry)}): "
            f"resample it onto the image's grid",
            code="grid-differs",
            path=case.label,
        )
    return volume, label_map


def take_fingerprint(
    dataset: Dataset, cases: Sequence[Case], progress: Progress | None = None
) -> tuple[Fingerprint, LabelSet]:
    """Read every case and describe the dataset; also its label set (from ids where nobody named them).

    Shapes and spacings are in the order of the plan's orientation (RAS for 3D, as stored for 2D). Voxels of
    the dataset's ignore label are in no statistic and no count.
    """
    ignored = dataset.ignore_label
    named = None if dataset.labels is None else with_ignored(dataset.labels, ignored)
    grids: list[Geometry] = []
    ids: set[int] = set()
    samples: list[list[NDArray[np.float64]]] = []
    colours = True
    voxels: dict[int, int] = {}
    with_label: dict[int, int] = {}
    for number, case in enumerate(cases):
        volume, label_map = read_case(case, named)
        grids.append(network_geometry(volume.geometry, GridPlan()))
        samples.append(_foreground_samples(volume, label_map.data, ignored, seed=number))
        colours &= len(case.images) == 1 and volume.source.format == "image" and len(volume.data) == 3
        counts = {i: count for i, count in count_ids(label_map.data).items() if i != ignored}
        for label_id, count in counts.items():
            voxels[label_id] = voxels.get(label_id, 0) + count
        for label_id in set(counts) - {0}:
            with_label[label_id] = with_label.get(label_id, 0) + 1
        ids |= set(counts) - {0}
        if progress is not None:
            progress("fingerprint", number + 1, len(cases))
    labels = dataset.labels or LabelSet.from_ids(ids)
    if not ids:
        raise InputRefused(
            f"{dataset.path}: every label map is empty", code="empty-labels", path=dataset.path
        )
    channels = len(samples[0])
    for case, one in zip(cases, samples, strict=True):
        if len(one) != channels:
            raise InputRefused(
                f"{dataset.path}: case {cases[0].id!r} has {counted(channels, 'channel')}, "
                f"case {case.id!r} {len(one)}: "
                "give all cases the same ones, pictures all in grey or all in RGB",
                code="channels",
                path=dataset.path,
            )
    if len(dataset.channels) == channels:
        names = dataset.channels
    else:
        names = _COLOURS if colours else tuple(f"channel {n}" for n in range(channels))
    modalities = dataset.modalities if len(names) == len(dataset.modalities) else (None,) * channels
    total = sum(voxels.values())
    return (
        Fingerprint(
            cases=len(cases),
            dimensions=2 if all(grid.shape[2] == 1 for grid in grids) else 3,
            **grid_facts(grids),
            channels=tuple(
                _statistics(names[c], modalities[c], np.concatenate([one[c] for one in samples]))
                for c in range(channels)
            ),
            voxel_fraction={i: round(voxels.get(i, 0) / total, 8) for i in (0, *labels.ids)},
            cases_with_label={i: with_label.get(i, 0) for i in labels.ids},
        ),
        labels,
    )


def grid_facts(grids: Sequence[Geometry]) -> dict[str, Any]:
    """The fields of a `Fingerprint` that tell of the cases' grids."""
    spacing, shape = np.array([grid.spacing for grid in grids]), np.array([grid.shape for grid in grids])
    return {
        "spacing_known": all(grid.spacing_known for grid in grids),
        "spacing_median": _triple(np.median(spacing, axis=0)),
        "spacing_min": _triple(spacing.min(axis=0)),
        "spacing_max": _triple(spacing.max(axis=0)),
        "shape_median": _whole_triple(np.median(shape, axis=0)),
        "shape_min": _whole_triple(shape.min(axis=0)),
        "shape_max": _whole_triple(shape.max(axis=0)),
    }


def _foreground_samples(
    volume: Volume, ids: NDArray[Any], ignored: int | None, seed: int
) -> list[NDArray[np.float64]]:
    inside = np.flatnonzero(ids if ignored is None else (ids != 0) & (ids != ignored))
    if inside.size == 0:
        inside = np.arange(ids.size)
    chosen = np.random.default_rng(seed).choice(inside, min(_SAMPLES_PER_CASE, inside.size), replace=False)
    return [channel.ravel()[chosen].astype(np.float64) for channel in volume.data]


def _statistics(name: str, modality: str | None, values: NDArray[np.float64]) -> ChannelStatistics:
    low, high = np.percentile(values, (0.5, 99.5))
    return ChannelStatistics(
        name=name,
        modality=modality,
        mean=round(float(values.mean()), 4),
        std=round(float(values.std()), 4),
        percentile_00_5=round(float(low), 4),
        percentile_99_5=round(float(high), 4),
    )


def _triple(values: NDArray[np.float64]) -> tuple[float, float, float]:
    a, b, c = (round(float(v), 6) for v in values)
    return a, b, c


def _whole_triple(values: NDArray[np.float64]) -> tuple[int, int, int]:
    a, b, c = (round(float(v)) for v in values)
    return a, b, c
