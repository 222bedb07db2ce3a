"""Geometry: the grid a scan stands on. No voxels.

One convention: world coordinates are RAS+ millimetres, array axes are in NIfTI order (i, j, k), and
voxel centres sit at integer indices.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Affine = NDArray[np.float64]
# Grids whose corners lie no farther apart are one, as headers round: in mm, and as a share of a voxel.
SAME_GRID_MM, _SAME_GRID_VOXELS = 0.01, 0.1
_POSITIVE = "RAS"
_NEGATIVE = "LPI"


@dataclass(frozen=True, slots=True, eq=False)
class Geometry:
    """Shape and position of a voxel grid.

    Parameters
    ----------
    shape
        (i, j, k), each at least 1. A 2D image has k = 1 and ``is_2d``.
    affine
        4x4 float64, voxel index (i, j, k, 1) to world RAS+ mm. Any invertible affine.
    is_2d
        The image is a plane (PNG, a lone photograph), not a slab one slice thick by chance.
    spacing_known
        False where the file does not say how large a pixel is; volumes are then missing, not 0.

    Raises
    ------
    ValueError
        If a dimension is below 1, or the affine is not 4x4, finite, invertible and ending in 0 0 0 1.
    """

    shape: tuple[int, int, int]
    affine: Affine
    is_2d: bool = False
    spacing_known: bool = True

    def __post_init__(self) -> None:
        shape = tuple(int(n) for n in self.shape)
        if len(shape) != 3 or min(shape) < 1:
            raise ValueError(f"shape {shape}: expected three dimensions (i, j, k) of at least 1")
        if self.is_2d and shape[2] != 1:
            raise ValueError(f"shape {shape}: a 2D image is one slice thick, found k = {shape[2]}")
        affine = np.array(self.affine, dtype=np.float64)
        if affine.shape != (4, 4):
            raise ValueError(f"affine has shape {affine.shape}, expected (4, 4)")
        if not np.isfinite(affine).all():
            raise ValueError("affine holds values that are not finite")
        if not np.array_equal(affine[3], (0.0, 0.0, 0.0, 1.0)):
            raise ValueError(f"affine ends in {affine[3].tolist()}, expected [0, 0, 0, 1]")
        with np.errstate(over="ignore"):
            lengths = np.linalg.norm(affine[:3, :3], axis=0)
        if lengths.min() <= 0 or abs(np.linalg.det(affine[:3, :3] / lengths)) < 1e-6:
            raise ValueError("affine cannot be inverted: its axes do not span three dimensions")
        affine.setflags(write=False)
        object.__setattr__(self, "shape", shape)
        object.__setattr__(self, "affine", affine)

    def __eq__(self, other: object) -> bool:
        """Bit-equal shape, affine and flags. For grids that agree within a tolerance: `same_grid`."""
        if not isinstance(other, Geometry):
            return NotImplemented
        return (
            self.shape == other.shape
            and np.array_equal(self.affine, other.affine)
            and self.is_2d == other.is_2d
            and self.spacing_known == other.spacing_known
        )

    def __hash__(self) -> int:
        return hash((self.shape, self.affine.tobytes(), self.is_2d, self.spacing_known))

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Length of one step along i, j, k in mm."""
        i, j, k = np.linalg.norm(self.affine[:3, :3], axis=0)
        return float(i), float(j), float(k)

    @property
    def direction(self) -> NDArray[np.float64]:
        """3x3, one unit column per array axis, in RAS+."""
        matrix: NDArray[np.float64] = self.affine[:3, :3] / np.asarray(self.spacing)
        return matrix

    @property
    def voxel_volume_mm3(self) -> float:
        """Volume of one voxel in mm3 (the determinant, so that a sheared voxel counts rightly)."""
        return float(abs(np.linalg.det(self.affine[:3, :3])))

    @property
    def shear_degrees(self) -> float:
        """Largest departure from a right angle between two array axes, in degrees."""
        direction = self.direction
        cosines = [abs(float(direction[:, a] @ direction[:, b])) for a, b in ((0, 1), (0, 2), (1, 2))]
        return float(np.degrees(np.arcsin(min(1.0, max(cosines)))))

    @property
    def orientation(self) -> str:
        """Closest anatomical code, e.g. ``"LPS"``: letter n is where array axis n points to."""
        matrix = self.affine[:3, :3]
        return "".join(
            _POSITIVE[world] if matrix[world, axis] > 0 else _NEGATIVE[world]
            for axis, world in enumerate(self.closest_world_axes)
        )

    @property
    def closest_world_axes(self) -> tuple[int, int, int]:
        """For each array axis the world axis (0 R, 1 A, 2 S) it runs along, a permutation.

        The permutation with the largest sum of absolute cosines; on a tie the first in
        lexicographic order.
        """
        cosines = np.abs(self.direction)
        permutations = ((0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0))
        best = max(permutations, key=lambda p: round(sum(cosines[w, a] for a, w in enumerate(p)), 9))
        return best

    @property
    def is_oblique(self) -> bool:
        """Whether an array axis departs from its world axis by more than 0.1 degree."""
        direction = self.direction
        along = [abs(direction[w, a]) for a, w in enumerate(self.closest_world_axes)]
        return float(np.degrees(np.arccos(min(1.0, min(along))))) > 0.1

    @property
    def extent_mm(self) -> tuple[float, float, float]:
        """Edge-to-edge field of view along i, j, k in mm."""
        i, j, k = (n * s for n, s in zip(self.shape, self.spacing, strict=True))
        return i, j, k

    @property
    def corners(self) -> NDArray[np.float64]:
        """World points (8, 3) of the corner voxels' centres."""
        last = np.array(self.shape) - 1
        unit = np.indices((2, 2, 2)).reshape(3, 8).T
        return self.index_to_world(unit * last)

    def index_to_world(self, index: ArrayLike) -> NDArray[np.float64]:
        """World points RAS+ mm (..., 3) of voxel indices (..., 3)."""
        return np.asarray(index, dtype=np.float64) @ self.affine[:3, :3].T + self.affine[:3, 3]

    def world_to_index(self, world: ArrayLike) -> NDArray[np.float64]:
        """Fractional voxel indices (..., 3) of world points RAS+ mm (..., 3)."""
        inverse = np.linalg.inv(self.affine)
        index: NDArray[np.float64] = np.asarray(world, dtype=np.float64) @ inverse[:3, :3].T + inverse[:3, 3]
        return index

    def same_grid(self, other: Geometry, tolerance_mm: float | None = None) -> bool:
        """Whether both have one shape and every corner lies within ``tolerance_mm`` of its twin.

        Without a number that is 0.01 mm, or a tenth of a voxel's shortest side where that is less. Corners
        bound every voxel, as the map is affine. Grids of unknown spacing compare as well.
        """
        if tolerance_mm is None:
            tolerance_mm = min(SAME_GRID_MM, _SAME_GRID_VOXELS * min(self.spacing))
        return self.shape == other.shape and self.grid_distance_mm(other) <= tolerance_mm

    def grid_distance_mm(self, other: Geometry) -> float:
        """Largest distance in mm between corresponding corners. Shapes must be equal."""
        if self.shape != other.shape:
            raise ValueError(f"shapes differ: {self.shape} and {other.shape}")
        return float(np.linalg.norm(self.corners - other.corners, axis=1).max())

    def unlike(self, other: Geometry) -> str:
        """How this grid differs from another one, in words for an error: the shapes, or how far apart."""
        if self.shape == other.shape:
            return f"up to {self.grid_distance_mm(other):.3g} mm away"
        return f"{_in_words(self)}, not {_in_words(other)}"

    def permuted(self, axes: tuple[int, int, int], flipped: tuple[bool, bool, bool]) -> Geometry:
        """The grid of ``np.flip(array.transpose(axes), where flipped)``; world points stay."""
        if sorted(axes) != [0, 1, 2]:
            raise ValueError(f"axes {axes} are not a permutation of (0, 1, 2)")
        shape = tuple(self.shape[a] for a in axes)
        step = np.zeros((4, 4))
        step[3, 3] = 1.0
        for new, old in enumerate(axes):
            step[old, new] = -1.0 if flipped[new] else 1.0
            step[old, 3] = shape[new] - 1 if flipped[new] else 0.0
        return self._with(shape, self.affine @ step)

    def cropped(self, start: tuple[int, int, int], shape: tuple[int, int, int]) -> Geometry:
        """The grid of ``array[start : start + shape]``. A negative start is padding."""
        affine = self.affine.copy()
        affine[:3, 3] = self.index_to_world(start)
        return self._with(shape, affine)

    def _with(self, shape: Any, affine: Affine) -> Geometry:
        return Geometry(shape, affine, is_2d=self.is_2d, spacing_known=self.spacing_known)


def _in_words(grid: Geometry) -> str:
    return f"{'x'.join(map(str, grid.shape))} voxels of {'x'.join(f'{s:.3g}' for s in grid.spacing)} mm"
