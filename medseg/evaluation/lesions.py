"""Lesion-wise detection: which lesions of a reference a prediction finds, and which ones it invents.

A lesion is a connected component of a mask. The rules:

- A reference lesion is **found** (TP) where the predicted mask covers at least the stated share of its voxels
  and at least one of them; else it is **missed** (FN).
- A predicted lesion is **matched** by the same rule the other way round; else it is **invented** (FP).
- One prediction that covers two reference lesions finds both, and counts once among the predicted lesions.
  Several that lie in one reference lesion find it once, and each of them is matched.
- Lesions below the smallest size are not counted on either side, but their voxels still are part of the mask:
  what is predicted over a reference lesion too small to count is not invented.

So sensitivity counts reference lesions and precision predicted ones, as in the WMH Segmentation Challenge
(Kuijf et al. 2019, doi:10.1109/TMI.2019.2905770). TP / (TP + FP) differs where lesions merge or split.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, cast, get_args

import numpy as np
from numpy.typing import NDArray

from medseg.evaluation.distances import same_shape

_Connectivity = Literal[6, 18, 26]
# Rounding must not push a lesion of exactly the limit below it.
_JUST_BELOW = 1 - 1e-9


@dataclass(frozen=True, slots=True)
class LesionRules:
    """What a lesion is, and when one is found.

    Parameters
    ----------
    connectivity
        Voxels that belong together: 6 share a face, 18 also an edge, 26 also a corner (of a 2D image
        4, 8 and 8 neighbours).
    overlap
        Share of a lesion, 0 to 1, that the other mask has to cover; at 0 one voxel is enough.
    smallest_mm3
        Lesions below this volume do not count; one of exactly this volume does.

    Raises
    ------
    ValueError
        If one of them cannot be.
    """

    connectivity: int = 26
    overlap: float = 0.0
    smallest_mm3: float = 0.0

    def __post_init__(self) -> None:
        if self.connectivity not in get_args(_Connectivity):
            raise ValueError(f"lesion connectivity {self.connectivity}: expected 6, 18 or 26")
        if not 0 <= self.overlap <= 1:
            raise ValueError(f"lesion overlap {self.overlap:g}: expected a share from 0 to 1")
        if not 0 <= self.smallest_mm3 < np.inf:
            raise ValueError(f"smallest lesion {self.smallest_mm3:g} mm3: expected 0 or more")


@dataclass(frozen=True, slots=True)
class LesionCounts:
    """How many lesions there are on either side, and how many of them meet their like.

    Parameters
    ----------
    reference, found
        Lesions of the reference, and those of them that the prediction finds.
    predicted, matched
        Lesions of the prediction, and those of them that lie on the reference.
    """

    reference: int
    found: int
    predicted: int
    matched: int

    @property
    def sensitivity(self) -> float | None:
        """Share of the reference's lesions that are found; None where it has none."""
        return self.found / self.reference if self.reference else None

    @property
    def precision(self) -> float | None:
        """Share of the predicted lesions that lie on the reference; None where nothing is predicted."""
        return self.matched / self.predicted if self.predicted else None

    @property
    def f1(self) -> float | None:
        """Harmonic mean of sensitivity and precision; None without any lesion, 0 where one side has none."""
        if not self.reference and not self.predicted:
            return None
        sensitivity, precision = self.sensitivity or 0.0, self.precision or 0.0
        both = sensitivity + precision
        return 2 * sensitivity * precision / both if both else 0.0


def detect_lesions(
    pred: NDArray[np.bool_],
    ref: NDArray[np.bool_],
    rules: LesionRules | None = None,
    *,
    voxel_mm3: float | None = None,
) -> LesionCounts:
    """Count the lesions of two masks of one shape (I, J, K) by the rules of this module.

    Parameters
    ----------
    pred, ref
        Boolean. A 2D image has K = 1.
    rules
        26 neighbours, one voxel of overlap and no smallest size unless told.
    voxel_mm3
        Volume of a voxel; needed where the rules have a smallest size.

    Raises
    ------
    ValueError
        If the masks' shapes differ, or there is a smallest size but no volume.
    """
    rules = rules or LesionRules()
    same_shape(pred, ref)
    if rules.smallest_mm3 and voxel_mm3 is None:
        raise ValueError(f"smallest lesion {rules.smallest_mm3:g} mm3: give voxel_mm3, a voxel's volume")
    least = rules.smallest_mm3 / (voxel_mm3 or 1.0) * _JUST_BELOW
    reference, found = _count(ref, pred, rules, least)
    predicted, matched = _count(pred, ref, rules, least)
    return LesionCounts(reference, found, predicted, matched)


def _count(
    mask: NDArray[np.bool_], other: NDArray[np.bool_], rules: LesionRules, least: float
) -> tuple[int, int]:
    """How many components of ``mask`` have ``least`` voxels, and how many of those ``other`` covers."""
    import cc3d

    # cc3d 4.1 reserves too little room for dense dots that touch the end of a line, and raises; a border of
    # background gives it enough.
    components = cc3d.connected_components(
        np.pad(mask, 1), connectivity=cast(_Connectivity, rules.connectivity)
    )
    components = components[1:-1, 1:-1, 1:-1]
    sizes = np.bincount(components[mask], minlength=1)[1:]
    covered = np.bincount(components[mask & other], minlength=sizes.size + 1)[1:]
    counted = sizes >= least
    found = counted & (covered > 0) & (covered >= rules.overlap * sizes * _JUST_BELOW)
    return int(np.count_nonzero(counted)), int(np.count_nonzero(found))
