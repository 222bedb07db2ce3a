"""Scores of a segmentation of cells by their membranes: Dice, and the foreground-restricted Rand score."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Mask = NDArray[np.bool_]


def dice(found: Mask, reference: Mask) -> float:
    """Twice what both have, over the sum of what each has; 1 where both are empty."""
    total = int(found.sum()) + int(reference.sum())
    return 2 * int((found & reference).sum()) / total if total else 1.0


def rand_score(found: Mask, reference: Mask) -> float:
    """V^Rand of Arganda-Carreras et al. 2015, restricted to the reference's foreground; 1 is perfect.

    Cells are the 4-connected components of each mask. With ``n_ij`` the pixels of the reference's cell j
    that lie in the found cell i, and n_i, n_j their sums over all pixels of the reference's cells::

        V = sum_ij n_ij^2 / (sum_i n_i^2 / 2 + sum_j n_j^2 / 2)

    which is the F-score of pairs of pixels that belong together: the share of pairs, each pixel with itself
    included, that lie in one cell in both, over the mean of those that do in either. Membrane in the
    reference does not count. Membrane that was found inside a reference's cell is no cell: each such pixel
    stands for itself. NaN where the reference has no cell.

    Membranes are compared as they are, not thinned, and at one threshold, not at the best of many: figures of
    the ISBI 2012 challenge, which did both, are higher.

    Parameters
    ----------
    found, reference
        (height, width): True where there is a cell.
    """
    cells, _ = ndimage.label(reference)
    others, _ = ndimage.label(found)
    inside = cells > 0
    if not inside.any():
        return float("nan")
    pairs = np.stack([others[inside], cells[inside]])
    alone = int((pairs[0] == 0).sum())
    (first, second), together = np.unique(pairs, axis=1, return_counts=True)
    both = float((together[first > 0].astype(float) ** 2).sum()) + alone
    by_found = np.bincount(first, together)
    in_found = float((by_found[1:] ** 2).sum()) + alone
    in_reference = float((np.bincount(second, together) ** 2).sum())
    return both / (in_found / 2 + in_reference / 2)
