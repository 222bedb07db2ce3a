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
from numpy.typing import NDArray


def dice(pred: NDArray[np.bool_], ref: NDArray[np.bool_]) -> float | None:
    """Dice overlap 2|P ∩ R| / (|P| + |R|) of two boolean masks of one shape.

    None where both are empty, 0 where one is.
    """
    _same_shape(pred, ref)
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
    _same_shape(pred, ref)
    wanted = [int(i) for i in ids]
    length = max(wanted, default=0) + 1
    in_pred = np.bincount(pred.ravel(), minlength=length)
    in_ref = np.bincount(ref.ravel(), minlength=length)
    in_both = np.bincount(pred[pred == ref].ravel(), minlength=length)
    totals = {i: int(in_pred[i]) + int(in_ref[i]) for i in wanted}
    return {i: 2.0 * int(in_both[i]) / total if total else None for i, total in totals.items()}


def _same_shape(pred: NDArray[np.generic], ref: NDArray[np.generic]) -> None:
    if pred.shape != ref.shape:
        raise ValueError(f"prediction has shape {pred.shape}, reference {ref.shape}: expected one grid")
