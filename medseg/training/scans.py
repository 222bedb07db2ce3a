"""A case's scan and its truth: from its files, or made from its label map where the plan makes images."""

from __future__ import annotations

import zlib

from medseg.datasets import Case
from medseg.io import read_labels
from medseg.plans import Plan
from medseg.training.fingerprint import read_case
from medseg.training.synthesis import synthetic_scan
from medseg.volume import LabelMap, Volume


def scan_of(case: Case, plan: Plan) -> tuple[Volume, LabelMap]:
    """The case on its own grid. A made scan is the same each time: it follows from the case's id.

    Raises
    ------
    InputRefused
        As `medseg.training.fingerprint.read_case`.
    """
    if plan.synthesis is None:
        return read_case(case, plan.training_labels)
    return synthetic_scan(read_labels(case.label), plan, seed=zlib.crc32(case.id.encode()))
