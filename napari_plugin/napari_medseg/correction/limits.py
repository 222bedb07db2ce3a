"""Edit only inside: the conditions that a voxel must meet to be changed. No Qt, no viewer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medseg import UsageError
from napari_medseg.editing.boxes import Box, Labels, Mask
from napari_medseg.edits import allowed

Voxels = tuple[NDArray[np.int64], ...]  # indices (N,) along i, j and k

_EVERYTHING: Box = (slice(None), slice(None), slice(None))


@dataclass(frozen=True, slots=True, eq=False)
class Limits:
    """Which voxels of a case may change; of several conditions all must be met.

    Parameters
    ----------
    inside_label
        Only voxels that have this id; None for any. 0 is background.
    intensity
        Only voxels whose intensity lies in this range, ends included; None for any.
    image
        The scan (I, J, K); needed with ``intensity``.
    region
        Another label array (I, J, K): only where it is not 0; None for everywhere.
    """

    inside_label: int | None = None
    intensity: tuple[float, float] | None = None
    image: NDArray[Any] | None = None
    region: NDArray[Any] | None = None

    def __post_init__(self) -> None:
        if self.intensity is not None and self.image is None:
            raise UsageError("an intensity range needs a scan on the grid of the labels: choose one")

    @property
    def is_open(self) -> bool:
        """Whether every voxel may change."""
        return self.inside_label is None and self.intensity is None and self.region is None

    def where(self, labels: Labels, box: Box | Voxels = _EVERYTHING) -> Mask | None:
        """Which voxels may change, None where all may.

        Parameters
        ----------
        labels
            The ids there before the edit, of the box's shape or (N,).
        box
            The part of the array that is asked about, or N voxels of it.
        """
        return allowed(
            labels,
            inside_labels=None if self.inside_label is None else (self.inside_label,),
            image=None if self.image is None or self.intensity is None else self.image[box],
            intensity=self.intensity,
            region=None if self.region is None else np.asarray(self.region[box] != 0),
        )
