"""Maps of how sure the network is: where they go, box by box, while the labels are being made."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Box = tuple[slice, slice, slice]


class Maps(Protocol):
    """Receives maps on the scan's own grid, one box at a time; every voxel once, in no promised order.

    ``names`` says which of ``"probabilities"`` and ``"entropy"`` are wanted.
    """

    names: frozenset[str]

    def restart(self) -> None:
        """Forget what has come: the scan is computed again, with another plan, and every voxel comes anew."""
        ...

    def write(self, name: str, box: Box, values: NDArray[np.float32]) -> None:
        """Take a box: probabilities (K, i, j, k), one per output channel; or entropy (i, j, k) in nats."""
        ...
