"""Anatomical planes as pictures: which way up a slice is shown. Arrays only, nothing is drawn here."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray

from medseg.geometry import Geometry

Plane = Literal["axial", "coronal", "sagittal"]
PLANES: tuple[Plane, ...] = get_args(Plane)

# World axis (0 right, 1 anterior, 2 superior) that a plane is perpendicular to, that its rows step
# along, and that its columns step along. Rows and columns all run towards L, P or I: the patient's
# right is on the viewer's left, anterior is up or left, superior is up.
_WORLD_AXES: dict[Plane, tuple[int, int, int]] = {
    "axial": (2, 1, 0),
    "coronal": (1, 2, 0),
    "sagittal": (0, 2, 1),
}
_POSITIVE, _NEGATIVE = "RAS", "LPI"


class Letters(NamedTuple):
    """Where the four borders of a picture lie in the patient."""

    left: str
    right: str
    top: str
    bottom: str


class PlaneView(NamedTuple):
    """A slice as it is shown.

    Parameters
    ----------
    pixels
        (rows, columns), row 0 at the top, column 0 at the left, in radiological convention.
    extents_mm
        (width, height), edge to edge.
    letters
        The borders' directions, to the closest axis of the patient.
    """

    pixels: NDArray[Any]
    extents_mm: tuple[float, float]
    letters: Letters


def normal_axis(geometry: Geometry, plane: Plane) -> int:
    """The array axis that slices of this plane are counted along."""
    return geometry.closest_world_axes.index(_WORLD_AXES[plane][0])


def plane_of_axis(geometry: Geometry, axis: int) -> Plane:
    """The plane whose slices are counted along this array axis."""
    return next(plane for plane in PLANES if normal_axis(geometry, plane) == axis)


def plane_view(data: NDArray[Any], geometry: Geometry, plane: Plane, index: int) -> PlaneView:
    """One slice of an array (I, J, K), turned as a radiologist expects it, for any axis order and flip.

    An oblique grid is shown in its own planes, each called by the patient's plane it is closest to.

    Parameters
    ----------
    data, geometry
        The array and the grid it stands on.
    plane
        ``"axial"`` (rows to posterior, columns to the left), ``"coronal"`` (rows to inferior, columns
        to the left) or ``"sagittal"`` (rows to inferior, columns to posterior).
    index
        Slice number along the array axis `normal_axis`.
    """
    if data.shape != geometry.shape:
        raise ValueError(f"array of shape {data.shape} on a grid of {geometry.shape}")
    _, row_world, column_world = _WORLD_AXES[plane]
    rows, columns = (geometry.closest_world_axes.index(world) for world in (row_world, column_world))
    # Not data.take, which copies the whole array where the last index is not the fastest.
    pixels = np.moveaxis(data, normal_axis(geometry, plane), 0)[index]
    if rows > columns:
        pixels = pixels.T
    flips = tuple(n for n, axis in enumerate((rows, columns)) if _runs_to_positive(geometry, axis))
    return PlaneView(
        np.flip(pixels, flips),
        (geometry.extent_mm[columns], geometry.extent_mm[rows]),
        Letters(_POSITIVE[column_world], _NEGATIVE[column_world], _POSITIVE[row_world], _NEGATIVE[row_world]),
    )


def _runs_to_positive(geometry: Geometry, axis: int) -> bool:
    return geometry.orientation[axis] in _POSITIVE


def planes_worth_showing(geometry: Geometry) -> tuple[Plane, ...]:
    """The planes in which a slice has more than one row and column; all of a 2D image's is one plane."""
    thin = [axis for axis, size in enumerate(geometry.shape) if size == 1]
    if len(thin) == 1:
        return (plane_of_axis(geometry, thin[0]),)
    return PLANES


def acquisition_plane(geometry: Geometry) -> Plane:
    """The plane of the slices as they were acquired, in which a slice is sharpest.

    Across the axis of the largest spacing, if that is more than a tenth larger than that of axial slices, as
    2D models slice volumes. Else across the axis with the fewest slices, if there are at most half as many as
    axial ones: a slab. Else axial. Of a single slice its own plane.
    """
    shown = planes_worth_showing(geometry)
    if len(shown) == 1:
        return shown[0]
    axial = normal_axis(geometry, "axial")
    thickest, fewest = int(np.argmax(geometry.spacing)), int(np.argmin(geometry.shape))
    if geometry.spacing[thickest] > 1.1 * geometry.spacing[axial]:
        return plane_of_axis(geometry, thickest)
    return plane_of_axis(geometry, fewest) if 2 * geometry.shape[fewest] <= geometry.shape[axial] else "axial"


def largest_section(mask: NDArray[np.bool_], axis: int) -> int:
    """The slice along ``axis`` with most of the mask; on a tie the one nearest to the ties' middle.

    The middle slice if the mask is empty.
    """
    others = tuple(a for a in range(mask.ndim) if a != axis)
    sizes = np.count_nonzero(mask, axis=others)
    ties = np.flatnonzero(sizes == sizes.max())
    return int(ties[len(ties) // 2])
