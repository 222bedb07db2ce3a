"""One structure cut out of a label map, and what its voxels tell without a scan."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medseg.geometry import Geometry
from medseg.measure.extremes import Points, extent_mm, max_diameter_mm, outermost
from medseg.measure.mesh import Floats
from medseg.measure.moments import Moments, moments
from medseg.measure.shape import axes, perimeter_mm, surface
from medseg.measure.volumes import why_no_volume
from medseg.postprocess.boxes import Box
from medseg.volume import holds_any

Number = float | int | bool
# By column a number, or a text that says why there is none.
Found = dict[str, Number | str]


@dataclass(frozen=True, slots=True)
class Structure:
    """The voxels of a structure, at least one.

    Parameters
    ----------
    mask
        The box that holds them, (I, J, K).
    box
        Where that lies on the grid.
    geometry
        The whole grid.
    moments, outermost
        Of the indices in the box; of a 2D image along i and j alone.
    """

    mask: NDArray[np.bool_]
    box: Box
    geometry: Geometry
    moments: Moments
    outermost: Points

    @property
    def flat(self) -> NDArray[np.bool_]:
        """The mask, of a 2D image (I, J)."""
        return self.mask[..., 0] if self.geometry.is_2d else self.mask

    @property
    def steps(self) -> Floats:
        """A step in mm along each axis of the array, of a 2D image along i and j: (3, axes)."""
        return self.geometry.affine[:3, : self.outermost.shape[1]]


def cut_out(data: NDArray[Any], geometry: Geometry, labels: Collection[int], box: Box) -> Structure:
    """The voxels of some labels, which ``box`` holds as tightly as can be; ``data`` lies in C order."""
    part = data[box]
    mask = part == next(iter(labels)) if len(labels) == 1 else holds_any(part, labels)
    index = np.nonzero(mask)[: 2 if geometry.is_2d else 3]
    return Structure(mask, box, geometry, moments(index), outermost(index))


def size(structure: Structure) -> Found:
    """How large it is, and in how many pieces."""
    import cc3d  # here: a command starts sooner

    geometry, mask = structure.geometry, structure.flat
    voxels = structure.moments.count
    # cc3d 4.1 reserves too little room for dense dots that touch the end of a line, and raises; a border of
    # background gives it enough.
    pieces, count = cc3d.connected_components(
        np.pad(mask, 1), connectivity=26 if mask.ndim == 3 else 8, return_N=True
    )
    largest = voxels if count == 1 else int(np.bincount(pieces[pieces > 0]).max())
    found: Found = {
        "volume_ml": why_no_volume(geometry) or voxels * (geometry.voxel_volume_mm3 / 1000.0),
        "voxels": voxels,
        "components": int(count),
        "largest_share": largest / voxels,
    }
    if geometry.is_2d and geometry.spacing_known:
        found["area_mm2"] = voxels * float(np.linalg.norm(np.cross(*structure.steps.T)))
    return found


def place(structure: Structure) -> Found:
    """Where it lies. Of a 2D image nothing is told along a direction across it."""
    geometry, box, steps = structure.geometry, structure.box, structure.steps
    sides = list(zip(box, geometry.shape, strict=True))
    found: Found = {"touches_border": any(n > 1 and (part.start == 0 or part.stop == n) for part, n in sides)}
    for axis, part in zip("ijk", box, strict=True):
        found |= {f"box_{axis}_first": int(part.start), f"box_{axis}_last": int(part.stop) - 1}
    if not geometry.spacing_known:
        return found
    start = np.array([part.start for part in box], np.float64)
    start[: steps.shape[1]] += structure.moments.mean
    extent, centroid = extent_mm(structure.outermost, steps), geometry.index_to_world(start)
    for axis, long, middle in zip("ras", extent.tolist(), centroid.tolist(), strict=True):
        if long > 0:
            found |= {f"extent_{axis}_mm": long, f"centroid_{axis}_mm": middle}
    return found


def shape(structure: Structure) -> Found:
    """Its surface or contour, and how it spreads; nothing where the size of a voxel is unknown."""
    geometry, steps = structure.geometry, structure.steps
    if not geometry.spacing_known:
        return {}
    spread = axes(structure.moments, steps)
    found: Found = {
        **spread,
        "max_diameter_mm": max_diameter_mm(structure.outermost, steps, structure.moments.spanning_axes),
    }
    if geometry.is_2d:
        found["perimeter_mm"] = perimeter_mm(structure.flat, steps)
        thick = ("least_axis_mm", "flatness")
        return {name: value for name, value in found.items() if name not in thick}
    return {**found, **surface(structure.mask, steps)}
