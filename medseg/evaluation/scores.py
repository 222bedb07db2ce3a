"""The scores of one case: every label of a predicted label map against its reference."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medseg.evaluation.metrics import dice_per_label, hd95_of, surface_dice_of
from medseg.evaluation.surface import surface_distances
from medseg.labels import Label
from medseg.measure import why_no_volume
from medseg.volume import LabelMap

METRICS = ("dice", "surface_dice", "hd95_mm", "volume_error_ml")
_VOLUMES = ("volume_error_ml", "volume_ml", "reference_volume_ml")
_NUMBERS = (*METRICS, "volume_ml", "reference_volume_ml")
_Box = tuple[slice, ...]
_Missing = tuple[str, str]
_ABSENT = ("absent-in-both", "the structure is absent in both the prediction and the reference")
_NO_SPACING = ("spacing-unknown", "the file does not tell the size of a voxel")


@dataclass(frozen=True, slots=True)
class LabelScores:
    """One label of one case. A number that is None is missing for the reason under its name.

    Parameters
    ----------
    id, name
        The label.
    dice, surface_dice
        0 to 1. 0 where the structure is in only one of the two.
    hd95_mm
        The larger of the two directed 95th percentiles.
    volume_error_ml
        Predicted minus reference volume.
    volume_ml, reference_volume_ml
        The two volumes; 0 where the structure is absent.
    missing
        For each number that is None, its ``(code, message)``.
    """

    id: int
    name: str
    dice: float | None
    surface_dice: float | None
    hd95_mm: float | None
    volume_error_ml: float | None
    volume_ml: float | None
    reference_volume_ml: float | None
    missing: dict[str, _Missing]

    def to_json(self) -> dict[str, Any]:
        """The label as it stands in the ``evaluate --json`` document."""
        document = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "missing"}
        reasons: dict[_Missing, list[str]] = {}
        for metric, why in self.missing.items():
            reasons.setdefault(why, []).append(metric)
        document["reasons"] = [
            {"code": code, "message": message, "missing": names} for (code, message), names in reasons.items()
        ]
        return document


def score_labels(
    pred: LabelMap, ref: LabelMap, labels: Sequence[Label], surface_tolerance_mm: float
) -> tuple[LabelScores, ...]:
    """The scores of each of ``labels``. Both label maps stand on one grid."""
    ids = [label.id for label in labels]
    overlap = dice_per_label(pred.data, ref.data, ids)
    voxels = [
        np.bincount(labelmap.data.ravel(), minlength=max(ids, default=0) + 1) for labelmap in (pred, ref)
    ]
    boxes = _boxes(pred.data, ref.data)
    no_volume = why_no_volume(ref.geometry)
    voxel_ml = ref.geometry.voxel_volume_mm3 / 1000
    scores = []
    for label in labels:
        sizes = [int(side[label.id]) for side in voxels]
        values, missing = _surface_scores(pred, ref, label.id, sizes, boxes, surface_tolerance_mm)
        values["dice"] = overlap[label.id]
        if no_volume is None:
            values["volume_ml"], values["reference_volume_ml"] = (size * voxel_ml for size in sizes)
            values["volume_error_ml"] = (sizes[0] - sizes[1]) * voxel_ml
        else:
            missing |= dict.fromkeys(_VOLUMES, ("no-volume", no_volume))
        if not any(sizes):
            values |= dict.fromkeys(METRICS)
            missing |= dict.fromkeys(METRICS, _ABSENT)
        scores.append(LabelScores(label.id, label.name, **dict.fromkeys(_NUMBERS) | values, missing=missing))
    return tuple(scores)


def _surface_scores(
    pred: LabelMap,
    ref: LabelMap,
    label_id: int,
    sizes: Sequence[int],
    boxes: dict[int, _Box],
    tolerance_mm: float,
) -> tuple[dict[str, float | None], dict[str, _Missing]]:
    """Surface Dice and HD95 of one label: the numbers there are, and why the others are missing."""
    if not all(sizes):
        where = "the reference" if sizes[0] else "the prediction"
        reason = ("absent-in-one", f"the structure is absent in {where}, so there is no distance")
        return {"surface_dice": 0.0}, {"hd95_mm": reason}
    if not ref.geometry.spacing_known:
        return {}, dict.fromkeys(("surface_dice", "hd95_mm"), _NO_SPACING)
    # Outside the box round both structures is nothing of either: cropping changes no number.
    box = boxes[label_id]
    masks = [labelmap.data[box] == label_id for labelmap in (pred, ref)]
    axes_mm = ref.geometry.affine[:3, :3]
    if ref.geometry.is_2d:
        masks, axes_mm = [mask[:, :, 0] for mask in masks], axes_mm[:, :2]
    distances = surface_distances(masks[0], masks[1], axes_mm)
    if distances is None:
        raise AssertionError(f"label {label_id} is in both arrays but has no surface")
    return {"surface_dice": surface_dice_of(distances, tolerance_mm), "hd95_mm": hd95_of(distances)}, {}


def _boxes(pred: NDArray[Any], ref: NDArray[Any]) -> dict[int, _Box]:
    """For each id the smallest box that holds it in both arrays, in one pass over each."""
    from scipy.ndimage import find_objects  # here: it takes longer to import than a command to start

    boxes: dict[int, _Box] = {}
    for data in (pred, ref):
        for n, box in enumerate(find_objects(data), start=1):
            if box is not None:
                boxes[n] = _union(boxes[n], box) if n in boxes else box
    return boxes


def _union(a: _Box, b: _Box) -> _Box:
    return tuple(slice(min(s.start, t.start), max(s.stop, t.stop)) for s, t in zip(a, b, strict=True))
