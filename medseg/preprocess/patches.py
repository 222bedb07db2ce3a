"""A scan on the network's grid, cut into patches as they are needed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medseg.geometry import Geometry
from medseg.plans import Plan
from medseg.preprocess.grid import network_geometry
from medseg.preprocess.normalise import Normaliser, fit_normaliser
from medseg.preprocess.prepare import check_fits
from medseg.preprocess.resample import resample
from medseg.volume import Volume


class Patches:
    """Patches of a scan, oriented, resampled and normalised as a plan says: `prepare`, piece by piece.

    Where the network's grid shares its voxels with the scan's, patches are normalised when they are
    asked for, so that no float copy of the scan is held. Otherwise the resampled scan is.

    Attributes
    ----------
    geometry, native
        The network's grid, and the scan's own.
    data
        (C, x, y, z) on the network's grid, not normalised; a view of the scan where that is possible.

    Raises
    ------
    InputRefused
        As `prepare`.
    """

    def __init__(self, volume: Volume, plan: Plan) -> None:
        check_fits(volume, plan)
        self.native: Geometry = volume.geometry
        self.geometry = network_geometry(volume.geometry, plan.grid)
        self.data: NDArray[Any] = resample(volume.data, self.native, self.geometry)
        self._normalisers = [
            fit_normaliser(values, channel) for values, channel in zip(self.data, plan.channels, strict=True)
        ]
        self._neighbours = plan.grid.neighbours

    @property
    def shape(self) -> tuple[int, int, int]:
        """Size of the network's grid."""
        return self.geometry.shape

    def patch(self, corner: Sequence[int], size: Sequence[int]) -> NDArray[np.float32]:
        """Normalised float32 (channels, *size) from a corner on; zeros (a scan's mean) outside of the scan.

        Channels are the plan's, each with its neighbouring slices: see `cut`.
        """
        return cut(self.data, corner, size, self._normalisers, neighbours=self._neighbours)


def cut(
    data: NDArray[Any],
    corner: Sequence[int],
    size: Sequence[int],
    normalisers: Sequence[Normaliser] = (),
    *,
    neighbours: int = 0,
) -> NDArray[np.float32]:
    """float32 (channels, *size) of an array (C, x, y, z) from a corner on, zeros outside of it.

    ``normalisers``, one for each channel, change what lies inside. With ``neighbours`` a patch is one slice
    thick, and each channel is followed by those of the slices beside it: C (2 neighbours + 1) channels, of
    the first channel from the lowest slice up, then of the second. Beyond the ends the last slice repeats.

    Training and inference both cut their patches here, so that they see the same.
    """
    if neighbours:
        planes = neighbour_slices(corner[2], data.shape[3], neighbours)
        slices = [cut(data, (*corner[:2], plane), size, normalisers) for plane in planes]
        return np.stack(slices, axis=1).reshape(-1, *size)
    inside = [
        slice(max(0, start), min(length, start + edge))
        for start, edge, length in zip(corner, size, data.shape[1:], strict=True)
    ]
    values = data[(slice(None), *inside)].astype(np.float32, order="C")
    for channel, normaliser in zip(values, normalisers, strict=False):
        normaliser(channel)
    if values.shape[1:] == tuple(size):
        return values
    padded = np.zeros((values.shape[0], *size), np.float32)
    there = tuple(slice(i.start - c, i.stop - c) for i, c in zip(inside, corner, strict=True))
    padded[(slice(None), *there)] = values
    return padded


def neighbour_slices(middle: int, depth: int, neighbours: int) -> list[int]:
    """Indices of a slice and of so many on each side, from the lowest up; the ends of ``depth`` repeat."""
    return [min(max(n, 0), depth - 1) for n in range(middle - neighbours, middle + neighbours + 1)]
