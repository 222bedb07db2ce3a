"""Overlap and distance between a predicted and a reference mask, with stated rules for empty masks.

===================  ============  ======================
number               both empty    one of the two empty
===================  ============  ======================
Dice                 None          0
surface Dice         None          0
HD95                 None          None
===================  ============  ======================

A structure that is absent in both was neither found nor missed, so it has no score and does not
enter a mean; a missed or invented structure counts as 0. Its distance would be infinite: HD95 is
missing rather than a made-up number.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from medseg.evaluation.surface import SurfaceDistances, same_shape, surface_distances

# Distances are sums of products of floats: a surface exactly at the tolerance must not fall outside.
_ROUNDING_MM = 1e-6


def dice(pred: NDArray[np.bool_], ref: NDArray[np.bool_]) -> float | None:
    """Dice overlap 2|P ∩ R| / (|P| + |R|) of two boolean masks of one shape.

    None where both are empty, 0 where one is.
    """
    same_shape(pred, ref)
    total = int(np.count_nonzero(pred)) + int(np.count_nonzero(ref))
    if total == 0:
        return None
    return 2.0 * int(np.count_nonzero(pred & ref)) / total


def dice_per_label(
    pred: NDArray[np.integer], ref: NDArray[np.integer], ids: Iterable[int]
) -> dict[int, float | None]:
    """`dice` of each id in two arrays of label ids or class indices, in three passes for all of them.

    Parameters
    ----------
    pred, ref
        Integer arrays of one shape, no negative values.
    ids
        The ids wanted. Those that occur in neither array get None.
    """
    same_shape(pred, ref)
    wanted = [int(i) for i in ids]
    length = max(wanted, default=0) + 1
    in_pred = np.bincount(pred.ravel(), minlength=length)
    in_ref = np.bincount(ref.ravel(), minlength=length)
    in_both = np.bincount(pred[pred == ref].ravel(), minlength=length)
    totals = {i: int(in_pred[i]) + int(in_ref[i]) for i in wanted}
    return {i: 2.0 * int(in_both[i]) / total if total else None for i, total in totals.items()}


def surface_dice(
    pred: NDArray[np.bool_],
    ref: NDArray[np.bool_],
    axes_mm: ArrayLike,
    tolerance_mm: float = 1.0,
) -> float | None:
    """Share of both surfaces, by area, that lies within ``tolerance_mm`` of the other surface.

    Parameters
    ----------
    pred, ref
        Boolean masks of one shape, two or three axes.
    axes_mm
        Spacing per axis in mm, or a matrix of one column per axis; see `surface.surface`.
    tolerance_mm
        A distance of exactly this much is within.

    References
    ----------
    Nikolov et al. 2021, doi:10.2196/26151.
    """
    distances = surface_distances(pred, ref, axes_mm)
    if distances is None:
        return 0.0 if pred.any() or ref.any() else None
    return surface_dice_of(distances, tolerance_mm)


def hd95(pred: NDArray[np.bool_], ref: NDArray[np.bool_], axes_mm: ArrayLike) -> float | None:
    """95 % Hausdorff distance in mm: the larger of the two directed 95th percentiles.

    A directed percentile is the smallest distance that 95 % of one surface, by area, does not
    exceed. None where either mask is empty.
    """
    distances = surface_distances(pred, ref, axes_mm)
    return None if distances is None else hd95_of(distances)


def surface_dice_of(distances: SurfaceDistances, tolerance_mm: float) -> float:
    """`surface_dice` from distances that are already there."""
    limit = tolerance_mm + _ROUNDING_MM
    within = distances.pred_areas[distances.pred_mm <= limit].sum()
    within += distances.ref_areas[distances.ref_mm <= limit].sum()
    return float(within / (distances.pred_areas.sum() + distances.ref_areas.sum()))


def hd95_of(distances: SurfaceDistances) -> float:
    """`hd95` from distances that are already there."""
    return max(
        _percentile(distances.pred_mm, distances.pred_areas, 0.95),
        _percentile(distances.ref_mm, distances.ref_areas, 0.95),
    )


def _percentile(values: NDArray[np.float64], weights: NDArray[np.float64], share: float) -> float:
    """The smallest value such that values up to it carry at least ``share`` of the weight."""
    order = np.argsort(values, kind="stable")
    carried = np.cumsum(weights[order])
    n = int(np.searchsorted(carried, share * carried[-1] * (1 - 1e-12)))
    return float(values[order][n])
