"""Surfaces of binary masks, as elements with a place and a weight, by two definitions.

**By area.** Every block of 2x2x2 neighbouring voxels that a mask splits holds one element, placed at the
block's centre. Its weight is the area of the marching-cubes surface in the block, so a sum over elements is
a surface in mm2 whatever the spacing (Nikolov et al. 2021, doi:10.2196/26151, and their `surface-distance`).
In two dimensions blocks are 2x2 and weights are contour lengths in mm.

**By voxels.** Every voxel of the mask with a face on something else is one element, placed at the voxel's
centre, of weight 1. Many tools do this (MedPy, MONAI). It weighs an oblique or anisotropic surface wrongly,
and puts the surface half a voxel inside the structure.

What lies outside the array counts as empty.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from medseg.measure.mesh import Floats, block_areas, block_codes


@dataclass(frozen=True, slots=True)
class Surface:
    """Elements of a surface.

    Parameters
    ----------
    index
        (n,) places in the flattened lattice of ``shape``, ascending.
    weights
        (n,): area in mm2 (2D: length in mm), or 1 for each voxel.
    shape
        Of the lattice: the mask's own for voxels, one more along each axis for blocks.
    steps
        One column per axis: a step on the lattice in mm.
    start
        Where the lattice begins on the mask's grid, in steps: -0.5 for blocks.
    """

    index: NDArray[np.int64]
    weights: Floats
    shape: tuple[int, ...]
    steps: Floats
    start: float = 0.0

    @property
    def points(self) -> Floats:
        """(n, 3), of a 2D mask perhaps (n, 2): the elements' places in mm from the mask's first voxel."""
        return self.points_of(self.index)

    def points_of(self, index: NDArray[np.int64]) -> Floats:
        """The same of any places of the lattice."""
        where = np.stack(np.unravel_index(index, self.shape), axis=1)
        points: Floats = (where + self.start) @ self.steps.T
        return points


def area_surface(mask: NDArray[np.bool_], axes_mm: ArrayLike) -> Surface:
    """The elements of a mask's surface by area.

    Parameters
    ----------
    mask
        Boolean, two or three axes.
    axes_mm
        Spacing in mm per axis, or a matrix whose column n is one step along array axis n in mm (a
        `Geometry`'s ``affine[:3, :3]``, which may be oblique or sheared).
    """
    steps = steps_mm(axes_mm, mask.ndim)
    codes = block_codes(mask)
    inside = np.uint8(2**2**mask.ndim - 1)  # of a block wholly in the mask: no surface there
    index = np.flatnonzero((codes != 0) & (codes != inside))
    return Surface(index, block_areas(steps)[codes.ravel()[index]], codes.shape, steps, start=-0.5)


def voxel_surface(mask: NDArray[np.bool_], axes_mm: ArrayLike) -> Surface:
    """The elements of a mask's surface by voxels; parameters as in `area_surface`."""
    padded = np.pad(mask, 1)
    middle = (slice(1, -1),) * mask.ndim
    enclosed = mask.copy()
    for axis in range(mask.ndim):
        for shifted in (slice(None, -2), slice(2, None)):
            enclosed &= padded[(*middle[:axis], shifted, *middle[axis + 1 :])]
    index = np.flatnonzero(mask & ~enclosed)
    return Surface(index, np.ones(index.size), mask.shape, steps_mm(axes_mm, mask.ndim))


ELEMENTS: dict[str, Callable[[NDArray[np.bool_], ArrayLike], Surface]] = {
    "area": area_surface,
    "voxels": voxel_surface,
}


def steps_mm(axes_mm: ArrayLike, ndim: int) -> Floats:
    """Spacings or a matrix as a matrix of one column per axis.

    Raises
    ------
    ValueError
        If it does not fit a mask of ``ndim`` axes.
    """
    steps = np.asarray(axes_mm, dtype=np.float64)
    if steps.ndim == 1:
        steps = np.diag(steps)
    if ndim not in (2, 3) or steps.shape not in ((ndim, ndim), (3, ndim)):
        raise ValueError(f"axes_mm of shape {np.shape(axes_mm)} does not fit a mask of {ndim} axes (2 or 3)")
    return steps
