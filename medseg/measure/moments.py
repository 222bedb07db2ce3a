"""First and second moments of a structure's voxels, in whole numbers: exact in whatever order they add up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from medseg.measure.mesh import Floats

Index = tuple[NDArray[np.int64], ...]


@dataclass(frozen=True, slots=True)
class Moments:
    """Where a structure's voxels lie and how they spread, in voxels.

    Parameters
    ----------
    count
        Voxels, at least 1.
    sums
        Of the indices, per axis.
    scatter
        ``count`` ** 2 times the covariance of the indices (that of the whole population), a row per axis.
    """

    count: int
    sums: tuple[int, ...]
    scatter: tuple[tuple[int, ...], ...]

    @property
    def mean(self) -> Floats:
        """The mean index per axis."""
        return np.array([total / self.count for total in self.sums])

    def covariance(self, steps: Floats) -> Floats:
        """The covariance (3, 3) of the voxels' centres in mm2; ``steps`` has one column per axis."""
        indices = np.array([[entry / self.count**2 for entry in row] for row in self.scatter])
        covariance: Floats = steps @ indices @ steps.T
        return covariance

    @property
    def spanning_axes(self) -> tuple[int, ...]:
        """Array axes that tell voxels apart: none for one voxel, one for voxels on a line, two in a plane."""
        axes = range(len(self.sums))
        subsets = (chosen for n in reversed(axes) for chosen in combinations(axes, n + 1))
        # A principal minor of a covariance is above 0 just where these indices do not depend on each other.
        return next((chosen for chosen in subsets if self._minor(chosen)), ())

    def _minor(self, axes: Sequence[int]) -> int:
        return _determinant([[self.scatter[a][b] for b in axes] for a in axes])


def moments(index: Index) -> Moments:
    """The moments of voxels whose indices are given, an array per axis, as `numpy.nonzero` does."""
    count = len(index[0])
    sums = tuple(int(along.sum()) for along in index)
    scatter = tuple(
        tuple(count * int(a @ b) - total_a * total_b for b, total_b in zip(index, sums, strict=True))
        for a, total_a in zip(index, sums, strict=True)
    )
    return Moments(count, sums, scatter)


def _determinant(matrix: Sequence[Sequence[int]]) -> int:
    if len(matrix) == 1:
        return matrix[0][0]
    return sum(
        (-1) ** n * entry * _determinant([[*row[:n], *row[n + 1 :]] for row in matrix[1:]])
        for n, entry in enumerate(matrix[0])
    )
