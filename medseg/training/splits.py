"""Which cases are trained on, which validate, which are never touched."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from medseg.datasets import Case
from medseg.errors import UsageError

Fold = int | Literal["all"]
FOLDS = 5
_SEED = 20_260_000


@dataclass(frozen=True, slots=True)
class Split:
    """Case lists of one run. ``held_back`` cases are scored once, after training, and chosen on never."""

    training: tuple[Case, ...]
    validation: tuple[Case, ...]
    held_back: tuple[Case, ...]

    def to_json(self) -> dict[str, list[str]]:
        """Case ids of each list."""
        return {
            "training": [case.id for case in self.training],
            "validation": [case.id for case in self.validation],
            "held_back": [case.id for case in self.held_back],
        }


def set_aside(cases: Sequence[Case], hold_back_every: int) -> tuple[tuple[Case, ...], tuple[Case, ...]]:
    """Cases to work with, and every n-th of the sorted list held back (0: none)."""
    ordered = sorted(cases, key=lambda case: case.id)
    if hold_back_every <= 0:
        return tuple(ordered), ()
    kept = tuple(case for n, case in enumerate(ordered, start=1) if n % hold_back_every)
    if not kept:
        raise UsageError(
            f"hold_back_every {hold_back_every} holds back all of {len(ordered)} case(s): "
            f"expected 2 or more, or 0"
        )
    return kept, tuple(case for n, case in enumerate(ordered, start=1) if n % hold_back_every == 0)


def split(cases: Sequence[Case], fold: Fold, hold_back_every: int = 0) -> Split:
    """The same five folds for the same sorted case ids, on every machine.

    ``fold`` 0 to 4 validates on that fifth; ``"all"`` trains on every case and validates on none.
    Fewer than five cases make as many folds as there are cases.
    """
    kept, held_back = set_aside(cases, hold_back_every)
    if fold == "all":
        return Split(kept, (), held_back)
    folds = min(FOLDS, len(kept))
    if folds < 2:
        raise UsageError(f"{len(kept)} case(s) to train on: a fold needs two; use --fold all")
    if not 0 <= fold < folds:
        raise UsageError(f"fold {fold}: expected 0 to {folds - 1}, or all")
    order = np.random.default_rng(_SEED).permutation(len(kept))
    chosen = set(order[fold::folds].tolist())
    return Split(
        tuple(case for n, case in enumerate(kept) if n not in chosen),
        tuple(case for n, case in enumerate(kept) if n in chosen),
        held_back,
    )
