"""Measurements of a label map: how large each structure is, and whether the scan cuts it off."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from medseg.geometry import Geometry
from medseg.volume import LabelMap, count_ids, present_ids


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
    """

    id: int
    name: str
    voxels: int
    volume_ml: float | None
    touches_border: bool
    reason: str | None = None

    def to_json(self) -> dict[str, Any]:
        """The label as it stands in the ``infer --json`` document."""
        document: dict[str, Any] = {
            "id": self.id,
            "name": self.name,
            "volume_ml": None if self.volume_ml is None else round(self.volume_ml, 6),
            "voxels": self.voxels,
            "touches_border": self.touches_border,
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


def why_no_volume(geometry: Geometry) -> str | None:
    """Why voxels of this grid have no volume in mL, or None where they have one."""
    if geometry.is_2d:
        return "a 2D image has no thickness"
    if not geometry.spacing_known:
        return "the file does not tell the size of a voxel"
    return None


def _ids_on_border(labelmap: LabelMap) -> set[int]:
    found: set[int] = set()
    for axis, size in enumerate(labelmap.data.shape):
        if size > 1:
            for index in (0, size - 1):
                found.update(present_ids(labelmap.data.take(index, axis)))
    return found
