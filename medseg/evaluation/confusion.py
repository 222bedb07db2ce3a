"""Which labels are taken for which: a confusion matrix over any number of cases, and it in words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medseg.evaluation.distances import same_shape
from medseg.labels import LabelSet

Counts = NDArray[np.int64]
# Below half a per cent a confusion is a matter of borders, not of which structure is which.
_WORTH_SAYING = 0.005


@dataclass(frozen=True, slots=True)
class MixUp:
    """One way in which voxels were labelled wrongly.

    Parameters
    ----------
    reference, prediction
        Names of what the voxels are and what they were taken for.
    share
        Of the reference's voxels; where they are background, of those found as ``prediction``.
    voxels
        How many.
    words
        The same as a sentence.
    """

    reference: str
    prediction: str
    share: float
    voxels: int
    words: str


@dataclass(frozen=True, slots=True, eq=False)
class Confusion:
    """Voxels by what they are (rows) and what they were taken for (columns): background first, then labels.

    Parameters
    ----------
    labels
        The labels, in the order of rows and columns; the set's background comes before them.
    counts
        (1 + labels, 1 + labels), int64.
    """

    labels: LabelSet
    counts: Counts

    def __post_init__(self) -> None:
        n = 1 + len(self.labels.ids)
        if self.counts.shape != (n, n):
            raise ValueError(f"counts of shape {self.counts.shape}: {n - 1} labels need ({n}, {n})")

    @classmethod
    def none(cls, labels: LabelSet) -> Confusion:
        """Of no case yet."""
        n = 1 + len(labels.ids)
        return cls(labels, np.zeros((n, n), np.int64))

    def plus(self, pred: NDArray[np.unsignedinteger], ref: NDArray[np.unsignedinteger]) -> Confusion:
        """With one more case, as in `confusion_counts`."""
        return Confusion(self.labels, self.counts + confusion_counts(pred, ref, self.labels.ids))

    @property
    def names(self) -> tuple[str, ...]:
        """Of rows and columns."""
        return (self.labels.background, *self.labels.names)

    @property
    def shares(self) -> NDArray[np.float64]:
        """Counts as shares of their rows, which sum to 1; NaN where the reference never has the label."""
        totals = self.counts.sum(axis=1, keepdims=True)
        empty = np.full(self.counts.shape, np.nan)
        shares: NDArray[np.float64] = np.divide(self.counts, totals, out=empty, where=totals > 0)
        return shares

    def between_labels(self, least: float = _WORTH_SAYING) -> tuple[MixUp, ...]:
        """Labels taken for other labels by at least a share of their voxels; the largest share first."""
        names, shares, found = self.names, self.shares, []
        for row, column in np.argwhere(shares >= least).tolist():  # NaN is not
            if row and column and row != column:
                share = float(shares[row, column])
                words = f"{names[row]}: {percent(share)} taken for {names[column]}"
                voxels = int(self.counts[row, column])
                found.append(MixUp(names[row], names[column], share, voxels, words))
        return _largest_first(found)

    def with_background(self, least: float = _WORTH_SAYING) -> tuple[MixUp, ...]:
        """What was missed of a label, as a share of its voxels, and what was found where there is none of any
        label, as a share of the voxels found; the largest share first.
        """
        background, found = self.names[0], []
        columns = self.counts.sum(axis=0)
        for index, name in list(enumerate(self.names))[1:]:
            missed, invented = int(self.counts[index, 0]), int(self.counts[0, index])
            share = missed / max(1, int(self.counts[index].sum()))
            if missed and share >= least:
                words = f"{name}: {percent(share)} missed, taken for {background}"
                found.append(MixUp(name, background, share, missed, words))
            share = invented / max(1, int(columns[index]))
            if invented and share >= least:
                words = f"{name}: {percent(share)} of what was found is {background}"
                found.append(MixUp(background, name, share, invented, words))
        return _largest_first(found)


def confusion_counts(
    pred: NDArray[np.unsignedinteger], ref: NDArray[np.unsignedinteger], ids: Sequence[int]
) -> Counts:
    """Voxels by reference (rows) and prediction (columns), background (0) first, then ``ids`` in their order.

    Parameters
    ----------
    pred, ref
        Unsigned integers of one shape, in any memory order. Voxels where either holds a number that is
        neither 0 nor among ``ids`` are not counted.
    ids
        Label ids from 1 to 65535, each once.

    Returns
    -------
    numpy.ndarray
        (1 + ids, 1 + ids), int64.
    """
    same_shape(pred, ref)
    n = 1 + len(ids)
    unknown = n  # a row and a column for what is not counted, cut off at the end
    place = np.full(65537, unknown, np.intp)  # the last one is for all numbers that no label may have
    place[[0, *ids]] = range(n)
    total = np.zeros((n + 1) ** 2, np.int64)
    # Slab by slab as the reference lies in memory: places are 64-bit integers.
    along = int(np.argmax(np.abs(ref.strides))) if ref.ndim else 0
    for rows, columns in zip(np.moveaxis(ref, along, 0), np.moveaxis(pred, along, 0), strict=True):
        pairs = place.take(rows, mode="clip") * (n + 1) + place.take(columns, mode="clip")
        total += np.bincount(pairs.ravel(), minlength=total.size)
    return total.reshape(n + 1, n + 1)[:n, :n]


def percent(share: float) -> str:
    """A share in per cent, two digits: ``4.2 %``, ``61 %``."""
    value = 100 * share
    return f"{value:.0f} %" if value >= 9.95 else f"{value:.1f} %"


def _largest_first(found: list[MixUp]) -> tuple[MixUp, ...]:
    return tuple(sorted(found, key=lambda one: -one.share))
