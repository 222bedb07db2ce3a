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

    @property
    def shape(self) -> tuple[int, int, int]:
        """Size of the network's grid."""
        return self.geometry.shape

    def patch(self, corner: Sequence[int], size: Sequence[int]) -> NDArray[np.float32]:
        """Normalised float32 (C, *size) from a corner on; zeros (a scan's mean) outside of the scan."""
        return cut(self.data, corner, size, self._normalisers)


def cut(
    data: NDArray[Any], corner: Sequence[int], size: Sequence[int], normalisers: Sequence[Normaliser] = ()
) -> NDArray[np.float32]:
    """float32 (C, *size) of an array (C, x, y, z) from a corner on, zeros outside of it.

    ``normalisers``, one for each channel, change what lies inside.
    """
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
