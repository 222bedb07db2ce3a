"""Structures on oblique, anisotropic and sheared grids, and measurements of them by brute force."""

from __future__ import annotations

import hashlib
import json
from itertools import product

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from medseg.geometry import Geometry
from medseg.labels import LabelSet
from medseg.measure import Description, describe
from medseg.volume import LabelMap, Volume

SPACING = np.array((0.8, 1.3, 2.1))
TURN = Rotation.from_euler("zyx", (25, -40, 15), degrees=True).as_matrix()
OBLIQUE = np.eye(4)
OBLIQUE[:3] = np.column_stack((TURN * SPACING * (-1, 1, 1), (12.0, -7.0, 31.0)))
SHEARED = OBLIQUE.copy()
SHEARED[:3, 2] += (0.0, 0.6, 0.25)

Mask = NDArray[np.bool_]


def described(
    mask: Mask, affine: NDArray[np.float64] = OBLIQUE, scan: NDArray[np.generic] | None = None, **flags: bool
) -> Description:
    """What `describe` gives of a mask's one label."""
    geometry = Geometry(mask.shape, affine, **flags)
    labelmap = LabelMap(mask.astype(np.uint8) * 3, geometry, LabelSet.from_names({3: "a"}))
    return describe(labelmap, None if scan is None else Volume(scan[None], geometry))[0]


def centres(mask: Mask, affine: NDArray[np.float64]) -> NDArray[np.float64]:
    """World points (n, 3) of the voxels of a mask."""
    return np.argwhere(mask) @ affine[:3, :3].T + affine[:3, 3]


def surface_corners(mask: Mask, affine: NDArray[np.float64]) -> NDArray[np.float64]:
    """World points halfway between every voxel inside and every neighbour outside that shares a face."""
    padded = np.pad(mask, 1)
    corners = []
    for index in np.argwhere(padded):
        for axis, way in product(range(3), (-1, 1)):
            shift = way * np.eye(3, dtype=int)[axis]
            if not padded[tuple(index + shift)]:
                corners.append(index - 1 + shift / 2)
    return np.array(corners) @ affine[:3, :3].T + affine[:3, 3]


def voxel_corners(mask: Mask, affine: NDArray[np.float64]) -> NDArray[np.float64]:
    """World points of the eight corners of every voxel of a mask."""
    halves = np.array(list(product((-0.5, 0.5), repeat=3)))
    corners = (np.argwhere(mask)[:, None] + halves).reshape(-1, 3)
    return corners @ affine[:3, :3].T + affine[:3, 3]


def ball(shape: tuple[int, int, int], radius: float) -> Mask:
    """A ball in voxels in the middle of a grid."""
    grid = np.indices(shape) - (np.array(shape)[:, None, None, None] - 1) / 2
    return (grid**2).sum(axis=0) < radius**2


def scatter(shape: tuple[int, int, int], share: float, seed: int) -> Mask:
    """Voxels drawn one by one."""
    return np.random.default_rng(seed).random(shape) < share


def bean() -> Mask:
    """An ellipsoid less a ball, in whole numbers."""
    i, j, k = np.indices((24, 20, 16))
    body = (i - 11) ** 2 * 9 + (j - 10) ** 2 * 16 + (k - 7) ** 2 * 25 < 900
    return body & ~((i - 15) ** 2 + (j - 6) ** 2 + (k - 8) ** 2 < 30)


def digest() -> str:
    """Of all numbers of a structure that is large enough for a library to share work among threads."""
    shape = (90, 80, 70)
    mask = ball(shape, 33.3) & ~scatter(shape, 0.02, 7)
    scan = np.random.default_rng(8).normal(100, 30, shape)
    return hashlib.sha256(json.dumps(dict(described(mask, scan=scan).values)).encode()).hexdigest()
