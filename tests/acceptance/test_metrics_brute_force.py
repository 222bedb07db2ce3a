"""Every metric of 50 random pairs of masks, under every definition, against loops and all pairs of elements.

CI takes ten of them. ``MEDSEG_PAIRS=500`` takes more.
"""

from __future__ import annotations

import os

import pytest

from tests.evaluation.test_brute_force import check, monai, scores_of

_PAIRS = int(os.environ.get("MEDSEG_PAIRS", "50"))

__all__ = ["monai"]  # the fixture, which holds here too


@pytest.mark.parametrize("definition", ["area", "voxels", "pooled"])
@pytest.mark.parametrize("seed", range(_PAIRS))
def test_every_number_agrees_with_brute_force(seed: int, definition: str) -> None:
    check(*scores_of(seed, definition))
