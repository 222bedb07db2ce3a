"""The Rand score of the membrane benchmark, against counting pairs of pixels one by one."""

from __future__ import annotations

import itertools
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "benchmarks"))

from membrane_scores import dice, rand_score


def by_pairs(found: np.ndarray, reference: np.ndarray) -> float:
    """Pairs of pixels of the reference's cells, in both orders and each pixel with itself."""
    cells, others = ndimage.label(reference)[0], ndimage.label(found)[0]
    pixels = np.argwhere(reference)
    both = in_found = in_reference = 0
    for a, b in itertools.product(map(tuple, pixels), repeat=2):
        one_cell = cells[a] == cells[b]
        one_found = others[a] == others[b] > 0 or a == b
        both += one_cell and one_found
        in_found += one_found
        in_reference += one_cell
    return both / ((in_found + in_reference) / 2)


@pytest.mark.parametrize("seed", range(4))
def test_the_rand_score_is_that_of_counting_pairs(seed: int) -> None:
    generator = np.random.default_rng(seed)
    reference = np.kron(generator.random((9, 6)) > 0.6, np.ones((2, 3))) > 0
    found = np.kron(generator.random((6, 6)) > 0.6, np.ones((3, 3))) > 0
    assert ndimage.label(reference)[1] > 1
    assert ndimage.label(found)[1] > 1
    assert rand_score(found, reference) == pytest.approx(by_pairs(found, reference), rel=1e-12)


def test_what_splits_and_merges_cost() -> None:
    cells = np.ones((20, 31), bool)
    cells[:, 15] = False
    assert rand_score(cells, cells) == 1
    assert dice(cells, cells) == 1
    leaking = cells.copy()
    leaking[10, 15] = True  # one pixel of the membrane is missing: two cells become one
    assert dice(leaking, cells) > 0.99
    assert rand_score(leaking, cells) == pytest.approx(2 / 3)
    assert np.isnan(rand_score(cells, np.zeros_like(cells)))
