"""Random label maps on grids that are neither cubic nor upright, for oracles to be compared on."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from medseg.geometry import Geometry
from medseg.labels import LabelSet
from medseg.volume import LabelMap

SPACING = (0.8, 1.5, 2.6)
LABELS = LabelSet.from_names({2: "left kidney", 3: "right kidney", 200: "cyst"})


def oblique(shear: float = 0.0) -> NDArray[np.float64]:
    """An affine whose axes are turned out of the world's, and sheared where asked for."""
    a, b = 0.4, -0.3
    turn = np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]])
    tilt = np.array([[1, 0, 0], [0, np.cos(b), -np.sin(b)], [0, np.sin(b), np.cos(b)]])
    affine = np.eye(4)
    affine[:3, :3] = turn @ tilt @ np.array([[1, 0, 0], [0, 1, shear], [0, 0, 1]]) @ np.diag(SPACING)
    affine[:3, 3] = (-31.0, 12.5, 80.0)
    return affine


def label_map(
    data: NDArray[np.unsignedinteger],
    *,
    shear: float = 0.0,
    is_2d: bool = False,
    spacing_known: bool = True,
    labels: LabelSet = LABELS,
) -> LabelMap:
    geometry = Geometry(data.shape, oblique(shear), is_2d=is_2d, spacing_known=spacing_known)
    return LabelMap(data, geometry, labels)


def blobs(seed: int, shape: tuple[int, int, int], blur: float = 1.2) -> NDArray[np.uint16]:
    """Smooth pieces of every label and of background, which touch each other and the grid's edge."""
    fields = np.random.default_rng(seed).normal(size=(4, *shape))
    smooth = ndimage.gaussian_filter(fields, (0, blur, blur, min(blur, 0.5)))
    return np.array([0, 2, 3, 200], np.uint16)[smooth.argmax(0)]
