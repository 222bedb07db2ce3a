"""Which slice to look at next: one that was not seen yet, or the one of the most doubt. No Qt, no viewer."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from medseg import UsageError
from napari_medseg.editing.boxes import Labels

MapKind = Literal["doubt", "probability"]


def next_unseen(labels: Labels, axis: int, current: int, seen: Collection[int]) -> int | None:
    """The next slice across an axis that was not seen, among those that hold a label or lie beside one.

    Counted upwards from the current slice, and from the first one again after the last. None where all were
    seen, or nothing is labelled.
    """
    held = np.asarray(labels.any(axis=tuple(n for n in range(3) if n != axis)))
    beside = held.copy()
    beside[1:] |= held[:-1]
    beside[:-1] |= held[1:]
    beside[list(seen)] = False
    places = np.flatnonzero(beside)
    after = places[places > current]
    return int((after if len(after) else places)[0]) if len(places) else None


def next_unsure(doubt: NDArray[np.float64], current: int, seen: Collection[int]) -> int | None:
    """The slice of the most doubt that was not seen, not the current one; of equal ones the first.

    None where all were seen or no doubt is left in the others.
    """
    left = doubt.copy()
    left[[*seen, current]] = 0
    best = int(np.argmax(left))
    return best if left[best] > 0 else None


def reason_text(shown: int, doubt: float | None) -> str:
    """Where *next slice of interest* went, and why.

    Parameters
    ----------
    shown
        The slice as the window's slider counts.
    doubt
        Its sum of `doubt_of_slices`; None where unseen slices are looked for.
    """
    if doubt is None:
        return f"Slice {shown}: not seen yet."
    return f"Slice {shown}: doubt {doubt:.3g} summed over it, the most of those not seen yet."


def doubt_of_slices(values: NDArray[Any], axis: int, kind: MapKind) -> NDArray[np.float64]:
    """The summed doubt of each slice across an axis.

    Parameters
    ----------
    values
        A map (I, J, K), not negative. What is not finite counts as no doubt.
    kind
        ``"doubt"``: more is less sure, as entropy is. ``"probability"``, of one structure, 0 to 1: the doubt
        of p is 1 - ``|2 p - 1|``, which is 0 for 0 and 1, and 1 for 0.5.

    Raises
    ------
    UsageError
        If the map's numbers are not of that kind.
    """
    if kind not in get_args(MapKind):
        raise UsageError(f"kind {kind!r}: expected one of {', '.join(map(repr, get_args(MapKind)))}")
    sums = np.zeros(values.shape[axis])
    for n, one in enumerate(np.moveaxis(values, axis, 0)):  # slice by slice: no second map in memory
        finite = np.nan_to_num(one.astype(np.float64), nan=0.0, posinf=0.0, neginf=0.0)
        low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 0.0)
        if low < 0 or (kind == "probability" and high > 1):
            expected = "0 to 1" if kind == "probability" else "0 or more"
            raise UsageError(f"the map holds {low:g} to {high:g}, expected {expected} for one of {kind}")
        sums[n] = (1 - np.abs(2 * finite - 1)).sum() if kind == "probability" else finite.sum()
    return sums
