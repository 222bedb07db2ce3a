"""Scans made for the tests: oblique, anisotropic, non-cubic, with one marked voxel."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from medseg import Geometry, Volume

Mark = tuple[int, int, int]


def _rotation(x: float, y: float, z: float) -> NDArray[np.float64]:
    cx, sx, cy, sy, cz, sz = np.cos(x), np.sin(x), np.cos(y), np.sin(y), np.cos(z), np.sin(z)
    about_x = np.array([[1, 0, 0], [0, cx, -sx], [0, sx, cx]])
    about_y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    about_z = np.array([[cz, -sz, 0], [sz, cz, 0], [0, 0, 1]])
    return about_z @ about_y @ about_x


@pytest.fixture
def oblique_affine() -> NDArray[np.float64]:
    affine = np.eye(4)
    affine[:3, :3] = _rotation(0.2, -0.3, 0.4) * (0.7, 1.1, 2.3)
    affine[:3, 3] = (-31.4, 12.7, 55.9)
    return affine


@pytest.fixture
def oblique(oblique_affine: NDArray[np.float64]) -> Callable[..., Volume]:
    """Make a volume of 5x7x4 int16 voxels, no two alike, on an oblique grid, axes permuted and flipped."""

    def make(axes: Mark = (0, 1, 2), flipped: tuple[bool, bool, bool] = (False, False, False)) -> Volume:
        data = np.random.default_rng(7).permutation(140).reshape(5, 7, 4).astype(np.int16) - 60
        geometry = Geometry(data.shape, oblique_affine).permuted(axes, flipped)
        turned = np.flip(data.transpose(axes), [n for n in range(3) if flipped[n]])
        return Volume(np.ascontiguousarray(turned)[None], geometry)

    return make


@pytest.fixture
def world_of_voxel() -> Callable[[NDArray[np.float64], Mark], NDArray[np.float64]]:
    """World point of an index by plain arithmetic, so that oracles and medseg meet at points in space."""

    def world(affine: NDArray[np.float64], index: Mark) -> NDArray[np.float64]:
        return np.array([sum(affine[r, c] * index[c] for c in range(3)) + affine[r, 3] for r in range(3)])

    return world


@pytest.fixture
def truncate() -> Callable[[Path, int], Path]:
    """Cut bytes off the end of a file."""

    def cut(path: Path, count: int) -> Path:
        path.write_bytes(path.read_bytes()[:-count])
        return path

    return cut
