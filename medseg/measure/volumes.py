"""Volumes of structures and of groups of them, and how unlike left and right are."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from medseg.geometry import Geometry
from medseg.labels import LabelSet
from medseg.plans import TotalSpec
from medseg.volume import LabelMap, count_ids, present_ids

NO_THICKNESS = "a 2D image has no thickness"
NO_SPACING = "the file does not tell the size of a voxel"


@dataclass(frozen=True, slots=True)
class Measurement:
    """One label of a label map.

    Parameters
    ----------
    id, name
        As in the label set.
    voxels
        Voxels that carry the label; 0 if it is absent.
    volume_ml
        Volume in millilitres; 0.0 if the label is absent, None where the grid cannot tell.
    touches_border
        Whether a voxel lies on the outermost layer of the grid: the structure may go on outside, and
        its volume is then too small. Axes of one voxel do not count.
    reason
        Why ``volume_ml`` is None, else None.
    quality
        The Dice that the label probably has, 0 to 1, where the model can estimate it.
    quality_low
        Whether that is lower than the model's usual.
    quality_reason
        Why ``quality`` is None; None too where the model never estimates it.
    """

    id: int
    name: str
    voxels: int
    volume_ml: float | None
    touches_border: bool
    reason: str | None = None
    quality: float | None = None
    quality_low: bool = False
    quality_reason: str | None = None

    def to_json(self) -> dict[str, Any]:
        """The label as it stands in the ``infer --json`` document."""
        document: dict[str, Any] = {
            "id": self.id,
            "name": self.name,
            "volume_ml": _rounded(self.volume_ml),
            "voxels": self.voxels,
            "touches_border": self.touches_border,
        }
        if self.reason is not None:
            document["reason"] = self.reason
        if self.quality is not None:
            document |= {"quality": round(self.quality, 3), "quality_low": self.quality_low}
        elif self.quality_reason is not None:
            document |= {"quality": None, "quality_reason": self.quality_reason}
        return document


@dataclass(frozen=True, slots=True)
class Total:
    """Several labels of a label map as one, as the model's plan names them.

    Parameters
    ----------
    name
        As in the plan.
    labels
        Ids of the labels that it is made of.
    voxels, volume_ml, touches_border, reason
        As in `Measurement`, over all its labels.
    """

    name: str
    labels: tuple[int, ...]
    voxels: int
    volume_ml: float | None
    touches_border: bool
    reason: str | None = None

    def to_json(self) -> dict[str, Any]:
        """The total as it stands in the ``infer --json`` document."""
        document: dict[str, Any] = {
            "name": self.name,
            "labels": list(self.labels),
            "volume_ml": _rounded(self.volume_ml),
            "voxels": self.voxels,
            "touches_border": self.touches_border,
        }
        return document if self.reason is None else {**document, "reason": self.reason}


@dataclass(frozen=True, slots=True)
class Asymmetry:
    """How much larger a structure is on the left than on the right.

    Parameters
    ----------
    name
        The structure's name without the side.
    left_id, right_id
        Its two labels. Whether the scan cuts one of them off, their measurements tell.
    left_ml, right_ml
        Their volumes, as in `Measurement`.
    index_percent
        ``100 * (left - right) / ((left + right) / 2)``: the asymmetry index of Kong et al. (PNAS 115(22),
        2018, E5154) in percent. 0 for equal volumes, above 0 where the left one is larger, 200 or -200
        where the other one is absent. None where volumes cannot be told, or both are absent.
    reason
        Why ``index_percent`` is None, else None.
    """

    name: str
    left_id: int
    right_id: int
    left_ml: float | None
    right_ml: float | None
    index_percent: float | None
    reason: str | None = None

    def to_json(self) -> dict[str, Any]:
        """The pair as it stands in the ``infer --json`` document."""
        document: dict[str, Any] = {
            "name": self.name,
            "left_id": self.left_id,
            "right_id": self.right_id,
            "left_ml": _rounded(self.left_ml),
            "right_ml": _rounded(self.right_ml),
            "index_percent": _rounded(self.index_percent),
        }
        return document if self.reason is None else {**document, "reason": self.reason}


def measure(labelmap: LabelMap) -> tuple[Measurement, ...]:
    """Measure every label of the label set, present or not, in ascending order of id.

    A voxel's volume is the determinant of the affine, so a sheared (gantry-tilted) voxel counts rightly.
    """
    reason = why_no_volume(labelmap.geometry)
    voxel_ml = labelmap.geometry.voxel_volume_mm3 / 1000.0
    counts = count_ids(labelmap.data)
    outermost = _ids_on_border(labelmap)
    return tuple(
        Measurement(
            id=label.id,
            name=label.name,
            voxels=counts.get(label.id, 0),
            volume_ml=None if reason else counts.get(label.id, 0) * voxel_ml,
            touches_border=label.id in outermost,
            reason=reason,
        )
        for label in labelmap.labels
    )


def add_up(measurements: Iterable[Measurement], totals: Iterable[TotalSpec]) -> tuple[Total, ...]:
    """Each total of a plan, in its order, from the measurements of its labels.

    A voxel carries one label, so that the volumes add up. A total of absent labels has 0.0 mL, and none
    where the grid cannot tell.
    """
    measured = {measurement.id: measurement for measurement in measurements}
    return tuple(_total(spec, [measured[label] for label in spec.labels]) for spec in totals)


def compare_sides(measurements: Iterable[Measurement], labels: LabelSet) -> tuple[Asymmetry, ...]:
    """The asymmetry of every left and right pair of a label set, in the order of the left ids."""
    measured = {measurement.id: measurement for measurement in measurements}
    return tuple(_asymmetry(pair.name, measured[pair.left], measured[pair.right]) for pair in labels.pairs)


def why_no_volume(geometry: Geometry) -> str | None:
    """Why voxels of this grid have no volume in mL, or None where they have one."""
    if geometry.is_2d:
        return NO_THICKNESS
    if not geometry.spacing_known:
        return NO_SPACING
    return None


def _ids_on_border(labelmap: LabelMap) -> set[int]:
    found: set[int] = set()
    for axis, size in enumerate(labelmap.data.shape):
        if size > 1:
            for index in (0, size - 1):
                # Not take(): that first copies the whole of an array that is not in C order.
                found.update(present_ids(labelmap.data[(slice(None),) * axis + (index,)]))
    return found


def _total(spec: TotalSpec, parts: Sequence[Measurement]) -> Total:
    volumes = [part.volume_ml for part in parts if part.volume_ml is not None]
    return Total(
        name=spec.name,
        labels=spec.labels,
        voxels=sum(part.voxels for part in parts),
        volume_ml=math.fsum(volumes) if len(volumes) == len(parts) else None,
        touches_border=any(part.touches_border for part in parts),
        reason=_first_reason(parts),
    )


def _asymmetry(name: str, left: Measurement, right: Measurement) -> Asymmetry:
    index, reason = None, _first_reason((left, right))
    if left.volume_ml is not None and right.volume_ml is not None:
        both = left.volume_ml + right.volume_ml
        if both > 0:
            index = 100 * (left.volume_ml - right.volume_ml) / (both / 2)
        else:
            reason = "neither side was found"
    return Asymmetry(name, left.id, right.id, left.volume_ml, right.volume_ml, index, reason)


def _first_reason(parts: Iterable[Measurement]) -> str | None:
    return next((part.reason for part in parts if part.reason is not None), None)


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 6)
