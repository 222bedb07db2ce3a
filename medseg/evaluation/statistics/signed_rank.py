"""Wilcoxon's signed ranks: p, rank-biserial correlation, and the Hodges-Lehmann estimate."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from medseg.evaluation.statistics.results import Interval

Zeros = Literal["pratt", "wilcoxon"]
_EXACT_UP_TO = 200  # pairs; beyond, the normal approximation is good to three digits


def wilcoxon_p(differences: NDArray[np.float64], zeros: Zeros) -> tuple[float, str]:
    """Two-sided p and how it was computed; 1 where all differences are zero.

    Up to 200 pairs from the exact distribution over all assignments of signs to the ranks at hand, ties and
    zeros included (Streitberg & Roehmel 1986); beyond, the normal approximation corrected for ties and
    continuity.
    """
    from scipy.stats import rankdata, wilcoxon  # here: scipy.stats is slow to import

    kept = differences if zeros == "pratt" else differences[differences != 0]
    if not kept.any():
        return 1.0, "all differences are zero"
    if len(kept) > _EXACT_UP_TO:
        found = wilcoxon(kept, zero_method="pratt", method="asymptotic", correction=True)
        return float(found.pvalue), "normal approximation, corrected for ties and continuity"
    # Twice the ranks are whole numbers, ties too.
    doubled = np.rint(2 * rankdata(np.abs(kept))).astype(np.int64)
    chances = _sum_of_some(doubled[kept != 0])
    found_sum = int(doubled[kept > 0].sum())
    one_sided = min(chances[: found_sum + 1].sum(), chances[found_sum:].sum())
    return min(1.0, 2 * float(one_sided)), "exact"


def _sum_of_some(ranks: NDArray[np.int64]) -> NDArray[np.float64]:
    """Chance of each sum, from 0, where every rank is in it or not, one half each."""
    chances = np.zeros(int(ranks.sum()) + 1)
    chances[0] = 1.0
    for rank in ranks:
        with_it = np.zeros_like(chances)
        with_it[rank:] = chances[:-rank]
        chances = (chances + with_it) / 2
    return chances


def rank_biserial(differences: NDArray[np.float64], zeros: Zeros) -> float:
    """Matched-pairs rank-biserial correlation: (W+ - W-) / (W+ + W-), between -1 and 1.

    W+ and W- are the sums of ranks of positive and negative differences. By ``"pratt"`` zeros take the lowest
    ranks before they are dropped, by ``"wilcoxon"`` they are dropped first. 0 where all are zero.

    References
    ----------
    Kerby 2014, The simple difference formula, doi:10.2466/11.IT.3.1; King, Rosopa & Minium 2011.
    """
    from scipy.stats import rankdata

    kept = differences if zeros == "pratt" else differences[differences != 0]
    ranks = rankdata(np.abs(kept))
    for_a, for_b = float(ranks[kept > 0].sum()), float(ranks[kept < 0].sum())
    return (for_a - for_b) / (for_a + for_b) if for_a + for_b else 0.0


def hodges_lehmann(differences: NDArray[np.float64], confidence: float) -> tuple[float, Interval]:
    """Median of the Walsh averages (d_i + d_j) / 2, i <= j, and its distribution-free interval.

    Assumes that the differences are spread symmetrically. The interval ends at Walsh averages whose ranks
    come from the null distribution of the signed-rank sum: exact up to 200 differences, else normal. With
    ties or zeros it holds at least what it says. Below six differences no interval of 95 % exists.

    References
    ----------
    Hodges & Lehmann 1963, doi:10.1214/aoms/1177704172; Hollander, Wolfe & Chicken 2014, section 3.3.
    """
    ordered = np.sort(differences)
    n = len(ordered)
    total = n * (n + 1) // 2
    lower, upper = _walsh_average(ordered, (total + 1) // 2), _walsh_average(ordered, total // 2 + 1)
    middle = (lower + upper) / 2
    rank = _rank_of_the_low_end(n, confidence)
    if rank < 1:
        largest = 1 - 2.0 ** (1 - n)
        return middle, Interval.none(
            confidence, f"{n} pairs allow {largest * 100:.4g} % at most without an assumed distribution"
        )
    ends = _walsh_average(ordered, rank), _walsh_average(ordered, total + 1 - rank)
    return middle, Interval(*ends, confidence)


def _rank_of_the_low_end(n: int, confidence: float) -> int:
    """The largest k with P(W+ < k) <= (1 - confidence) / 2 under the null; 0 where even k = 1 is too much."""
    from scipy.special import ndtri

    tail = (1 - confidence) / 2
    if n > _EXACT_UP_TO:
        deviation = (n * (n + 1) * (2 * n + 1) / 24) ** 0.5
        return max(round(float(n * (n + 1) / 4 + ndtri(tail) * deviation)), 1)
    chances = _sum_of_some(np.arange(1, n + 1))
    return int(np.searchsorted(np.cumsum(chances), tail, side="right"))


def _walsh_average(ordered: NDArray[np.float64], k: int) -> float:
    """The k-th smallest (from 1) of all (d_i + d_j) / 2, i <= j, in memory that grows with n alone.

    Bisection on the value: how many averages are at most t follows from one search per difference.
    """
    low, high = float(ordered[0]), float(ordered[-1])
    places = np.arange(len(ordered))
    if _walsh_count(ordered, places, low) >= k:
        return low
    rounding = 4 * np.finfo(np.float64).eps * max(-low, high)
    while high - low > rounding:
        middle = low + (high - low) / 2
        if _walsh_count(ordered, places, middle) >= k:
            high = middle
        else:
            low = middle
    # high is now the average up to rounding: give the largest one that is not above it.
    partners = np.searchsorted(ordered, 2 * high - ordered, side="right") - 1
    pairs = (ordered + ordered[np.maximum(partners, 0)]) / 2
    return float(pairs[partners >= 0].max())


def _walsh_count(ordered: NDArray[np.float64], places: NDArray[np.int64], at_most: float) -> int:
    partners = np.searchsorted(ordered, 2 * at_most - ordered, side="right")
    return int(np.maximum(partners - places, 0).sum())
