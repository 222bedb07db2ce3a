"""Which labels are rare in the training cases, and which cases have them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medseg.errors import PlanInvalid
from medseg.plans import Plan
from medseg.training.cache import CachedCase


@dataclass(frozen=True, slots=True, eq=False)
class Rarity:
    """Cases to draw from, and how rare their classes are.

    ``every`` and ``holders`` are numbers of cases: all of them, and those that have a class. ``classes``
    are the classes that occur, ascending, and ``chances`` theirs in ``sampling.by: frequency``, adding up to
    1. ``rarest`` is the class of the fewest voxels, of several the first; None where there is no class.
    """

    cases: Sequence[CachedCase]
    every: NDArray[np.intp]
    holders: dict[int, NDArray[np.intp]]
    classes: list[int]
    chances: list[float]
    rarest: int | None

    @classmethod
    def of(cls, cases: Sequence[CachedCase], plan: Plan) -> Rarity:
        """Of training cases; how many voxels a class has is what the plan's fingerprint says.

        Raises
        ------
        PlanInvalid
            If rare labels are asked for and the fingerprint has none of the voxels of one that a case has.
        """
        classes = sorted({index for case in cases for index in case.locations})
        holders = {
            index: np.array([n for n, case in enumerate(cases) if index in case.locations])
            for index in classes
        }
        weighs = plan.sampling.by == "frequency" or plan.sampling.minority_fraction > 0
        shares = _shares(classes, plan) if weighs else [1.0] * len(classes)
        weights = [share**-plan.sampling.frequency_power for share in shares]
        return cls(
            cases,
            np.arange(len(cases)),
            holders,
            classes,
            [weight / sum(weights) for weight in weights],
            min(zip(shares, classes, strict=True))[1] if classes else None,
        )


def _shares(classes: Sequence[int], plan: Plan) -> list[float]:
    """Each class's share of all voxels, above 0."""
    known = {} if plan.fingerprint is None else plan.fingerprint.voxel_fraction
    ids = [plan.class_ids[index] for index in classes]
    if missing := [label for label in ids if not known.get(label, 0.0) > 0]:
        names = ", ".join(plan.label_set[label].name for label in missing)
        raise PlanInvalid(
            f"sampling: the fingerprint's voxel_fraction has no voxel of {names}, but the cases do; "
            f"let `medseg plan` write the plan anew for this dataset"
        )
    return [known[label] for label in ids]
