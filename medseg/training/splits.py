"""Which cases are trained on, which validate, which are never touched.

Cases of one patient, where the dataset says whose they are, stay together: a model that has seen a patient is
not validated on the same one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from medseg.datasets import Case
from medseg.errors import UsageError
from medseg.words import counted

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
    """Cases to work with, and those of every n-th patient of the sorted list held back (0: none)."""
    ordered = sorted(cases, key=lambda case: case.id)
    if hold_back_every <= 0:
        return tuple(ordered), ()
    patients = _patients(ordered)
    chosen = set(patients[hold_back_every - 1 :: hold_back_every])
    if len(chosen) == len(patients):
        raise UsageError(
            f"hold_back_every {hold_back_every} holds back all of {counted(len(ordered), 'case')}: "
            f"expected 2 or more, or 0"
        )
    return _parted(ordered, chosen)


def split(cases: Sequence[Case], fold: Fold, hold_back_every: int = 0) -> Split:
    """The same five folds for the same sorted case ids, on every machine.

    ``fold`` 0 to 4 validates on that fifth; ``"all"`` trains on every case and validates on none.
    Fewer than five patients make as many folds as there are patients; a case without one counts as one.
    """
    kept, held_back = set_aside(cases, hold_back_every)
    if fold == "all":
        return Split(kept, (), held_back)
    patients = _patients(kept)
    folds = min(FOLDS, len(patients))
    if folds < 2:
        what = f"{counted(len(kept), 'case')} of {counted(len(patients), 'patient')}"
        raise UsageError(f"{what} to train on: a fold needs two patients; use --fold all")
    if not 0 <= fold < folds:
        raise UsageError(f"fold {fold}: expected 0 to {folds - 1}, or all")
    order = np.random.default_rng(_SEED).permutation(len(patients))
    training, validation = _parted(kept, {patients[n] for n in order[fold::folds]})
    return Split(training, validation, held_back)


def _patient(case: Case) -> tuple[str, str]:
    """Who a case is of; a case of nobody known stands for itself, whatever patients are called."""
    return ("case", case.id) if case.patient is None else ("patient", case.patient)


def _patients(cases: Sequence[Case]) -> list[tuple[str, str]]:
    """Each once, in the order of the cases."""
    return list(dict.fromkeys(_patient(case) for case in cases))


def _parted(cases: Sequence[Case], chosen: set[tuple[str, str]]) -> tuple[tuple[Case, ...], tuple[Case, ...]]:
    """Cases of all but the chosen patients, and those of the chosen ones."""
    return (
        tuple(case for case in cases if _patient(case) not in chosen),
        tuple(case for case in cases if _patient(case) in chosen),
    )
