"""All that is measured of the structures of a label map for the table of a cohort."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce

import numpy as np
from numpy.typing import NDArray

from medseg.geometry import Geometry
from medseg.measure.columns import ONLY_2D, measure_columns
from medseg.measure.intensity import STATISTICS, finite, statistics
from medseg.measure.structure import Found, Number, Structure, cut_out, place, shape, size
from medseg.measure.volumes import NO_SPACING, NO_THICKNESS, Total, why_no_volume
from medseg.plans import TotalSpec
from medseg.postprocess.boxes import boxes_of_labels, union
from medseg.volume import LabelMap, Volume

_NOT_FOUND = "it was not found"
_NO_SCAN = "no scan was given"
_NO_INTENSITY = "no voxel of it has a finite intensity"
_TOO_LARGE = "its intensities are too large to be squared"


@dataclass(frozen=True, slots=True)
class Description:
    """All measurements of a label, or of several labels as one.

    Parameters
    ----------
    name
        Of the label or total.
    labels
        Ids of the labels that it is made of: one for a label.
    is_total
        Whether it is a total.
    values
        By the names of `measure_columns`, in their order; ``area_mm2`` and ``perimeter_mm`` for 2D images
        only (`ONLY_2D`). A number that cannot be told is None, never NaN, infinite or 0.
    reasons
        Why a value is None, by its name.
    """

    name: str
    labels: tuple[int, ...]
    is_total: bool
    values: Mapping[str, Number | None]
    reasons: Mapping[str, str]


def describe(
    labelmap: LabelMap,
    volume: Volume | None = None,
    *,
    totals: Iterable[TotalSpec | Total] = (),
    channels: Sequence[str] = (),
) -> tuple[Description, ...]:
    """Measure every label of the label set, present or not, in ascending order of id, and then the totals.

    What each number is: `measure_columns`. The same voxels give the same numbers bit for bit, whatever the
    arrays' layout and however many threads there are.

    Parameters
    ----------
    labelmap
        The segmentation.
    volume
        The scan on the same grid, for intensities.
    totals
        Groups of labels to measure as one.
    channels
        Names of the scan's channels; needed where there are several.

    Raises
    ------
    ValueError
        If the scan is not on the label map's grid, or names do not fit its channels.
    """
    _check(labelmap, volume, channels)
    # In one order, so that nothing depends on how the array lies in memory; and for speed.
    data = np.ascontiguousarray(labelmap.data)
    boxes = boxes_of_labels(data)

    def measured(labels: tuple[int, ...]) -> Found:
        held = [boxes[label] for label in labels if label in boxes]
        structure = cut_out(data, labelmap.geometry, labels, reduce(union, held)) if held else None
        return _measured(structure, labelmap.geometry, volume, channels)

    structures: list[tuple[str, tuple[int, ...], bool]]
    structures = [(label.name, (label.id,), False) for label in labelmap.labels]
    structures += [(total.name, total.labels, True) for total in totals]
    return tuple(
        _description(name, labels, is_total, measured(labels)) for name, labels, is_total in structures
    )


def _check(labelmap: LabelMap, volume: Volume | None, channels: Sequence[str]) -> None:
    if volume is None:
        return
    if not labelmap.geometry.same_grid(volume.geometry):
        raise ValueError(
            f"the scan has {_grid(volume.geometry)}, the label map {_grid(labelmap.geometry)}, or they lie "
            "apart: bring the scan onto the label map's grid first"
        )
    count = len(volume.data)
    if len(channels) != count and (channels or count > 1):
        raise ValueError(f"the scan has {count} channels, found {len(channels)} names: give a name for each")


def _grid(geometry: Geometry) -> str:
    size = " x ".join(map(str, geometry.shape))
    return f"{size} voxels of {' x '.join(f'{step:.4g}' for step in geometry.spacing)} mm"


def _description(name: str, labels: tuple[int, ...], is_total: bool, found: Found) -> Description:
    return Description(
        name,
        labels,
        is_total,
        values={column: None if isinstance(value, str) else value for column, value in found.items()},
        reasons={column: value for column, value in found.items() if isinstance(value, str)},
    )


def _measured(
    structure: Structure | None, geometry: Geometry, volume: Volume | None, channels: Sequence[str]
) -> Found:
    """The measurements of a structure, None if absent, by column in the order of `measure_columns`."""
    if structure is not None:
        found = {**size(structure), **place(structure), **shape(structure)}
        if volume is not None:
            inside = [channel[structure.box][structure.mask] for channel in volume.data]
            for suffix, values in zip(("", *(f"_{name}" for name in channels[1:])), inside, strict=True):
                found |= _intensities(values, suffix)
    else:
        found = {"voxels": 0, "touches_border": False, "volume_ml": why_no_volume(geometry) or 0.0}

    def why_missing(name: str) -> str:
        if structure is None:
            return _NOT_FOUND
        if name.startswith("intensity_"):
            return _NO_SCAN
        return NO_THICKNESS if geometry.spacing_known else NO_SPACING

    names = (column.name for column in measure_columns(channels))
    return {
        name: found[name] if name in found else why_missing(name)
        for name in names
        if geometry.is_2d or name not in ONLY_2D
    }


def _intensities(values: NDArray[np.generic], suffix: str) -> Found:
    numbers = finite(values)
    found: Found = {f"intensity_voxels{suffix}": len(numbers)}
    told = statistics(numbers) if len(numbers) else {}
    for name in STATISTICS:
        value = told.get(name)
        if value is None:
            found[f"intensity_{name}{suffix}"] = _NO_INTENSITY
        else:
            found[f"intensity_{name}{suffix}"] = value if math.isfinite(value) else _TOO_LARGE
    return found
