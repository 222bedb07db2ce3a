"""Overlap and distance between a predicted and a reference mask, with stated rules for empty masks.

======================  ============  ======================
number                  both empty    one of the two empty
======================  ============  ======================
Dice                    None          0
volumetric similarity   None          0
surface Dice            None          0
distances               None          None
======================  ============  ======================

A structure that is absent in both was neither found nor missed, so it has no score and does not
enter a mean; a missed or invented structure counts as 0. Its distance would be infinite: it is
missing rather than a made-up number.

What a surface is, and which percentile is taken of it, differs between tools. Each metric of surfaces has
a ``definition``, one of its names in `DEFINITIONS`; docs/evaluation.md tells where each comes from.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial

import numpy as np
from numpy.typing import ArrayLike, NDArray

from medseg.evaluation.distances import (
    SurfaceDistances,
    counted_percentile,
    largest,
    mean,
    pooled_percentile,
    same_shape,
    share_within,
    surface_distances,
    weighted_percentile,
)
from medseg.volume import count_ids

_Mask = NDArray[np.bool_]

# The usual definition of each metric stands first.
DEFINITIONS: dict[str, tuple[str, ...]] = {
    "surface_dice": ("area", "voxels"),
    "hd95": ("area", "voxels", "pooled"),
    "hausdorff": ("area", "voxels"),
    "mean_surface_distance": ("area", "voxels"),
}
_READ: dict[tuple[str, str], Callable[[SurfaceDistances], float]] = {
    ("hd95", "area"): partial(weighted_percentile, percent=95),
    ("hd95", "voxels"): partial(counted_percentile, percent=95),
    ("hd95", "pooled"): partial(pooled_percentile, percent=95),
    ("hausdorff", "area"): largest,
    ("hausdorff", "voxels"): largest,
    ("mean_surface_distance", "area"): mean,
    ("mean_surface_distance", "voxels"): mean,
}


def dice(pred: _Mask, ref: _Mask) -> float | None:
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
    in_pred, in_ref = count_ids(pred), count_ids(ref)
    in_both = count_ids(pred[pred == ref])
    totals = {int(i): in_pred.get(int(i), 0) + in_ref.get(int(i), 0) for i in ids}
    return {i: 2.0 * in_both.get(i, 0) / total if total else None for i, total in totals.items()}


def volumetric_similarity(pred_size: float, ref_size: float) -> float | None:
    """1 - |P - R| / (P + R) of two sizes in any unit; 1 for equal ones, wherever the voxels lie.

    None where both are 0, 0 where one is.

    References
    ----------
    Taha and Hanbury 2015, doi:10.1186/s12880-015-0068-x.
    """
    total = pred_size + ref_size
    return 1.0 - abs(pred_size - ref_size) / total if total else None


def surface_dice(
    pred: _Mask, ref: _Mask, axes_mm: ArrayLike, tolerance_mm: float = 1.0, *, definition: str = "area"
) -> float | None:
    """Share of both surfaces that lies within ``tolerance_mm`` of the other surface.

    Parameters
    ----------
    pred, ref
        Boolean masks of one shape, two or three axes.
    axes_mm
        Spacing per axis in mm, or a matrix of one column per axis; see `surface.area_surface`.
    tolerance_mm
        A distance of exactly this much is within.
    definition
        ``"area"`` (Nikolov et al. 2021, doi:10.2196/26151) or ``"voxels"`` (MONAI's default).

    Returns
    -------
    float or None
        None where both masks are empty, 0 where one is.
    """
    found = _of_masks("surface_dice", definition, pred, ref, axes_mm, tolerance_mm)
    return 0.0 if found is None and (pred.any() or ref.any()) else found


def hd95(pred: _Mask, ref: _Mask, axes_mm: ArrayLike, *, definition: str = "area") -> float | None:
    """95 % Hausdorff distance in mm; None where either mask is empty.

    Parameters
    ----------
    pred, ref, axes_mm
        As in `surface_dice`.
    definition
        ``"area"``: the larger of the two directed percentiles, a directed one being the smallest distance
        that 95 % of one surface, by area, does not exceed. ``"voxels"``: the same over border voxels,
        interpolated linearly (MONAI). ``"pooled"``: one percentile over the border voxels of both masks
        together, interpolated linearly (MedPy).
    """
    return _of_masks("hd95", definition, pred, ref, axes_mm)


def hausdorff(pred: _Mask, ref: _Mask, axes_mm: ArrayLike, *, definition: str = "area") -> float | None:
    """Hausdorff distance in mm, the largest distance from either surface to the other.

    Parameters as in `hd95`, but there is no ``"pooled"``. None where either mask is empty.
    """
    return _of_masks("hausdorff", definition, pred, ref, axes_mm)


def mean_surface_distance(
    pred: _Mask, ref: _Mask, axes_mm: ArrayLike, *, definition: str = "area"
) -> float | None:
    """Average symmetric surface distance in mm: the mean over both surfaces together, weighted by area.

    Parameters as in `hausdorff`; by ``"voxels"`` every border voxel counts the same. None where either mask
    is empty.

    References
    ----------
    Heimann et al. 2009, doi:10.1109/TMI.2009.2013851, there over border voxels.
    """
    return _of_masks("mean_surface_distance", definition, pred, ref, axes_mm)


def elements_of(definition: str) -> str:
    """What surfaces are made of under a definition: ``"area"`` or ``"voxels"``, as in `surface`."""
    return "area" if definition == "area" else "voxels"


def read_off(metric: str, definition: str, distances: SurfaceDistances, tolerance_mm: float = 1.0) -> float:
    """A metric of surfaces from distances that are already there, between the right elements."""
    if metric == "surface_dice":
        return share_within(distances, tolerance_mm)
    return _READ[metric, definition](distances)


def _of_masks(
    metric: str, definition: str, pred: _Mask, ref: _Mask, axes_mm: ArrayLike, tolerance_mm: float = 1.0
) -> float | None:
    if definition not in DEFINITIONS[metric]:
        raise ValueError(f"definition {definition!r} of {metric}: there are {', '.join(DEFINITIONS[metric])}")
    distances = surface_distances(pred, ref, axes_mm, elements_of(definition))
    return None if distances is None else read_off(metric, definition, distances, tolerance_mm)
