"""The scores of one case: every label of a predicted label map against its reference."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medseg.evaluation.distances import surface_distances
from medseg.evaluation.lesions import detect_lesions
from medseg.evaluation.metrics import elements_of, read_off, volumetric_similarity
from medseg.evaluation.settings import ALWAYS, FIELDS, Settings
from medseg.geometry import Geometry
from medseg.labels import Label
from medseg.measure import why_no_volume
from medseg.postprocess.boxes import boxes_of_labels
from medseg.volume import LabelMap

_Masks = tuple[NDArray[np.bool_], NDArray[np.bool_]]
_Missing = tuple[str, str]
_Numbers = dict[str, float | int | None]
# What a group of metrics gives: the numbers there are, and why others are missing.
_Found = tuple[_Numbers, dict[str, _Missing]]

_ABSENT = ("absent-in-both", "the structure is absent in both the prediction and the reference")
_NO_REFERENCE = ("absent-in-one", "the structure is absent in the reference, so an error has no share of it")
_NO_SPACING = ("spacing-unknown", "the file does not tell the size of a voxel")
_NOT_ASKED = ("not-asked", "this metric was not asked for")
_NO_REFERENCE_LESION = ("no-reference-lesion", "the reference has no lesion that counts")
_NO_PREDICTED_LESION = ("no-predicted-lesion", "the prediction has no lesion that counts")
_NO_LESION = ("no-lesion", "neither the prediction nor the reference has a lesion that counts")
_VOLUMES = ("volume_ml", "reference_volume_ml")
# They are 0, not missing, where a structure is absent.
_COUNTS = ("lesions_reference", "lesions_predicted", "lesions_tp", "lesions_fn", "lesions_fp")


@dataclass(frozen=True, slots=True)
class LabelScores:
    """One label of one case. A number that is None is missing for the reason given, or was not asked for.

    docs/evaluation.md defines each number.

    Parameters
    ----------
    id, name
        The label.
    dice, surface_dice, volumetric_similarity
        0 to 1. 0 where the structure is in only one of the two.
    hd95_mm, hausdorff_mm, mean_surface_distance_mm
        Distances between the two surfaces.
    volume_error_ml, volume_error_percent
        Predicted minus reference volume, and its share of the reference.
    lesions_reference, lesions_predicted
        Connected components of either side.
    lesions_tp, lesions_fn, lesions_fp
        Reference lesions found and missed, predicted ones invented.
    lesion_sensitivity, lesion_precision, lesion_f1
        0 to 1, of lesions.
    volume_ml, reference_volume_ml
        The two volumes; 0 where the structure is absent.
    missing
        For each number that is missing its ``(code, message)``.
    """

    id: int
    name: str
    dice: float | None = None
    surface_dice: float | None = None
    hd95_mm: float | None = None
    volume_error_ml: float | None = None
    volume_error_percent: float | None = None
    mean_surface_distance_mm: float | None = None
    hausdorff_mm: float | None = None
    volumetric_similarity: float | None = None
    lesions_reference: int | None = None
    lesions_predicted: int | None = None
    lesions_tp: int | None = None
    lesions_fn: int | None = None
    lesions_fp: int | None = None
    lesion_sensitivity: float | None = None
    lesion_precision: float | None = None
    lesion_f1: float | None = None
    volume_ml: float | None = None
    reference_volume_ml: float | None = None
    missing: dict[str, _Missing] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """The label as it stands in the ``evaluate --json`` document: all numbers that were asked for."""
        document: dict[str, Any] = {
            f.name: value
            for f in fields(self)
            if f.name != "missing"
            and ((value := getattr(self, f.name)) is not None or f.name in self.missing)
        }
        reasons: dict[_Missing, list[str]] = {}
        for metric, why in self.missing.items():
            reasons.setdefault(why, []).append(metric)
        document["reasons"] = [
            {"code": code, "message": message, "missing": names} for (code, message), names in reasons.items()
        ]
        return document


def score_labels(
    pred: LabelMap, ref: LabelMap, labels: Sequence[Label], settings: Settings
) -> tuple[LabelScores, ...]:
    """The scores of each of ``labels``. Both label maps stand on one grid."""
    geometry = ref.geometry
    pred_data, ref_data, steps = _as_they_lie(pred, ref)
    boxes = boxes_of_labels(pred_data, ref_data)
    scores = []
    for label in labels:
        # Outside the box round both structures is nothing of either: cropping changes no number.
        box = boxes.get(label.id, (slice(0),) * 3)
        masks = (pred_data[box] == label.id, ref_data[box] == label.id)
        sizes = (int(np.count_nonzero(masks[0])), int(np.count_nonzero(masks[1])))
        parts = (
            _overlap_numbers(masks, sizes),
            _volume_numbers(sizes, geometry),
            _surface_numbers(masks, sizes, geometry, steps, settings),
            _lesion_numbers(masks, geometry, settings),
        )
        scores.append(_join(label, parts, settings, absent=not any(sizes)))
    return tuple(scores)


def _join(label: Label, parts: Sequence[_Found], settings: Settings, *, absent: bool) -> LabelScores:
    """All parts as one, without what was not asked for; `ALWAYS` has a reason for that."""
    numbers: _Numbers = {}
    missing: dict[str, _Missing] = {}
    for found, why in parts:
        numbers |= found
        missing |= why
    if absent:
        missing |= dict.fromkeys(set(settings.asked).difference(_COUNTS), _ABSENT)
    missing |= {name: _NOT_ASKED for name in ALWAYS if name not in settings.asked}
    wanted = (*settings.fields, *_VOLUMES)
    return LabelScores(
        label.id,
        label.name,
        **{name: numbers.get(name) for name in wanted if name not in missing},  # type: ignore[arg-type]
        missing={name: missing[name] for name in wanted if name in missing},
    )


def _overlap_numbers(masks: _Masks, sizes: tuple[int, int]) -> _Found:
    if not any(sizes):
        return {}, {}
    shared = int(np.count_nonzero(masks[0] & masks[1]))
    return {"dice": 2.0 * shared / sum(sizes), "volumetric_similarity": volumetric_similarity(*sizes)}, {}


def _volume_numbers(sizes: tuple[int, int], geometry: Geometry) -> _Found:
    """The volumes and their difference. Its share needs no size of a voxel, so that pictures have it too."""
    numbers: _Numbers = {}
    missing: dict[str, _Missing] = {}
    if sizes[1]:
        numbers["volume_error_percent"] = 100.0 * (sizes[0] - sizes[1]) / sizes[1]
    else:
        missing["volume_error_percent"] = _NO_REFERENCE
    why = why_no_volume(geometry)
    if why is not None:
        return numbers, missing | dict.fromkeys((*_VOLUMES, "volume_error_ml"), ("no-volume", why))
    voxel_ml = geometry.voxel_volume_mm3 / 1000
    numbers["volume_ml"], numbers["reference_volume_ml"] = (size * voxel_ml for size in sizes)
    numbers["volume_error_ml"] = (sizes[0] - sizes[1]) * voxel_ml
    return numbers, missing


def _surface_numbers(
    masks: _Masks,
    sizes: tuple[int, int],
    geometry: Geometry,
    steps: NDArray[np.float64],
    settings: Settings,
) -> _Found:
    """The metrics of surfaces that were asked for; distances are found once for each kind of element."""
    asked = {metric: FIELDS[metric][0] for metric in settings.definitions}
    if not all(sizes):
        where = "the reference" if sizes[0] else "the prediction"
        reason = ("absent-in-one", f"the structure is absent in {where}, so there is no distance")
        return {"surface_dice": 0.0}, {name: reason for name in asked.values() if name != "surface_dice"}
    if not geometry.spacing_known:
        return {}, dict.fromkeys(asked.values(), _NO_SPACING)
    if geometry.is_2d:
        masks, steps = (masks[0][:, :, 0], masks[1][:, :, 0]), steps[:, :2]
    numbers: _Numbers = {}
    for elements in sorted({elements_of(definition) for definition in settings.definitions.values()}):
        distances = surface_distances(*masks, steps, elements)
        if distances is None:
            raise AssertionError("a structure that is in both arrays has no surface")
        for metric, definition in settings.definitions.items():
            if elements_of(definition) == elements:
                value = read_off(metric, definition, distances, settings.surface_tolerance_mm)
                numbers[asked[metric]] = value
    return numbers, {}


def _lesion_numbers(masks: _Masks, geometry: Geometry, settings: Settings) -> _Found:
    if "lesions" not in settings.metrics:
        return {}, {}
    why = why_no_volume(geometry)
    if settings.lesions.smallest_mm3 and why is not None:
        return {}, dict.fromkeys(FIELDS["lesions"], ("no-volume", f"{why}, so no lesion has one in mm3"))
    counts = detect_lesions(*masks, settings.lesions, voxel_mm3=geometry.voxel_volume_mm3)
    numbers: _Numbers = {
        "lesions_reference": counts.reference,
        "lesions_predicted": counts.predicted,
        "lesions_tp": counts.found,
        "lesions_fn": counts.reference - counts.found,
        "lesions_fp": counts.predicted - counts.matched,
        "lesion_sensitivity": counts.sensitivity,
        "lesion_precision": counts.precision,
        "lesion_f1": counts.f1,
    }
    without = {
        "lesion_sensitivity": _NO_REFERENCE_LESION,
        "lesion_precision": _NO_PREDICTED_LESION,
        "lesion_f1": _NO_LESION,
    }
    return numbers, {name: reason for name, reason in without.items() if numbers[name] is None}


def _as_they_lie(pred: LabelMap, ref: LabelMap) -> tuple[NDArray[Any], NDArray[Any], NDArray[np.float64]]:
    """Both arrays and the steps of their axes, turned round where that makes them contiguous in C order.

    Most files lie with i fastest. No number depends on the order of axes, but the passes over memory do.
    """
    steps = ref.geometry.affine[:3, :3]
    if pred.data.flags.f_contiguous and ref.data.flags.f_contiguous and not ref.geometry.is_2d:
        return pred.data.T, ref.data.T, steps[:, ::-1]
    return pred.data, ref.data, steps
