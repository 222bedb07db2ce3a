"""What a person may ask of a run in the window besides scan and model. No Qt, no viewer."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import prod
from typing import Any

from medseg import LabelMap, UsageError
from medseg.postprocess import keep_largest, remove_small

# Up to here a map of doubt is made unasked. It takes 2 bytes a voxel, and 6 for a moment: 200 MB.
DOUBT_VOXELS = 32 * 2**20


@dataclass(frozen=True, slots=True)
class CleanUp:
    """What is removed from a result before it is shown; nothing unless asked for.

    Parameters
    ----------
    largest_only
        Keep the largest piece of each structure: `medseg.postprocess.keep_largest`.
    smallest_mm3
        Remove smaller pieces, after that: `medseg.postprocess.remove_small`. 0 removes none.
    """

    largest_only: bool = False
    smallest_mm3: float = 0.0

    def apply(self, labels: LabelMap) -> LabelMap:
        """The label map without what is removed.

        Raises
        ------
        UsageError
            If pieces are to be measured where the size of a voxel is unknown.
        """
        if self.smallest_mm3 and not labels.geometry.spacing_known:
            raise UsageError(
                f"pieces below {self.smallest_mm3:g} mm³ cannot be told: the file does not say how large a "
                'voxel is; expected a scan with known spacing. Set "Remove below" to none'
            )
        if self.largest_only:
            labels = keep_largest(labels)
        return remove_small(labels, self.smallest_mm3) if self.smallest_mm3 else labels

    def to_json(self) -> dict[str, Any]:
        """For the provenance."""
        return {"keep_largest": self.largest_only, "smallest_mm3": self.smallest_mm3}


@dataclass(frozen=True, slots=True)
class RunOptions:
    """Options of a run; the first three are words of `medseg.infer`.

    Parameters
    ----------
    device
        As there.
    overlap
        Of neighbouring windows, 0 to below 1; None takes the model's own.
    tta
        Average over mirrored copies.
    doubt
        Make a map of the model's doubt, its entropy; None makes it for scans up to `DOUBT_VOXELS`.
    clean_up
        What is removed from the result.
    """

    device: str = "auto"
    overlap: float | None = None
    tta: bool = False
    doubt: bool | None = None
    clean_up: CleanUp = field(default_factory=CleanUp)

    def wants_doubt(self, shape: tuple[int, int, int]) -> bool:
        """Whether a map of doubt is made of a scan of this many voxels along each axis."""
        return prod(shape) <= DOUBT_VOXELS if self.doubt is None else self.doubt

    @property
    def words(self) -> str:
        """Options that change labels and are not as usual, for a layer's name; "" where all are."""
        words = [] if self.overlap is None else [f"overlap {self.overlap:.2f}"]
        words += ["mirrored copies"] if self.tta else []
        words += ["largest pieces"] if self.clean_up.largest_only else []
        words += [f"from {self.clean_up.smallest_mm3:g} mm³"] if self.clean_up.smallest_mm3 else []
        return ", ".join(words)
