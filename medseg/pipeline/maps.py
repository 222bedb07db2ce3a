"""Where maps of probability and entropy go: into memory for `infer`, into a Zarr group for files."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from medseg.inference.maps import Box
from medseg.plans import Plan


class MemoryMaps:
    """Maps on the scan's own grid, held whole.

    Parameters
    ----------
    names
        Which: ``"probabilities"`` float32 (K, I, J, K) and ``"entropy"`` float32 (I, J, K).
    channels
        Output channels of the network.
    shape
        Of the scan.
    """

    def __init__(self, names: frozenset[str], channels: int, shape: tuple[int, int, int]) -> None:
        self.names = names
        shapes = {"probabilities": (channels, *shape), "entropy": shape}
        self.arrays: dict[str, NDArray[np.float32]] = {
            name: np.empty(shapes[name], np.float32) for name in sorted(names)
        }

    @property
    def held_bytes(self) -> int:
        """Memory that the maps take."""
        return sum(array.nbytes for array in self.arrays.values())

    def restart(self) -> None:
        """All boxes will come again."""

    def write(self, name: str, box: Box, values: NDArray[np.float32]) -> None:
        """Take a box; see `medseg.inference.maps.Maps`."""
        self.arrays[name][(..., *box)] = values


def output_channels(plan: Plan) -> tuple[tuple[str, int], ...]:
    """Name and label id of each output channel; 0 for background. A region has the id that it paints."""
    ids = [region.paints for region in plan.regions] if plan.regions else list(plan.class_ids)
    return tuple(zip(plan.output_names, ids, strict=True))
