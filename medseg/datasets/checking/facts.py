"""A case as numbers: read once, judged later beside the others. No array outlives its case."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from medseg.datasets.checking.structures import Structure, structures
from medseg.datasets.dataset import Case
from medseg.geometry import Geometry
from medseg.volume import LabelMap, Volume, present_ids

_THUMB = 12  # edge of the thumbnails that near duplicates are found by
_SAMPLES = 100_000
_AIR_HU = -500.0  # no image but CT has such values in a hundredth of its voxels


@dataclass(frozen=True, slots=True, eq=False)
class CaseFacts:
    """What is kept of a case, about 7 kB.

    Parameters
    ----------
    case
        Id and files.
    grid
        Of the first image.
    channels, modality
        How many channels; the modality where the file says so, or ``"CT"`` where values are Hounsfield's.
    image_digest, label_digest
        SHA-256 of voxels and shape; of an empty label map "".
    thumbnail
        (1728,) float32: block means of the first channel in RAS order, of mean 0 and length 1; zeros for a
        constant image.
    ids, structures
        The ids that occur, and facts of each structure.
    ranks
        For each structure the share of the image's voxels that are darker than its median.
    is_constant
        Whether a channel has one value only.
    """

    case: Case
    grid: Geometry
    channels: int
    modality: str | None
    image_digest: str
    label_digest: str
    thumbnail: NDArray[np.float32] = field(repr=False)
    ids: tuple[int, ...]
    structures: Mapping[int, Structure]
    ranks: Mapping[int, float]
    is_constant: bool

    @property
    def image_file(self) -> Path:
        """The first image; the label map where images are made from it."""
        return self.case.images[0] if self.case.images else self.case.label


def facts_of(case: Case, images: list[Volume], label_map: LabelMap, ignored: int | None) -> CaseFacts:
    """The facts of a case whose files lie on one grid."""
    grid = images[0].geometry
    first = images[0].data[0]
    found = structures(label_map.data, first, grid, ignored)
    sample = np.sort(_sample(first))
    ranks = {n: float(np.searchsorted(sample, one.median) / sample.size) for n, one in found.items()}
    return CaseFacts(
        case=case,
        grid=grid,
        channels=sum(len(image.data) for image in images),
        modality=_modality(images[0], sample),
        image_digest=_digest(*(image.data for image in images)),
        label_digest=_digest(label_map.data) if found else "",
        thumbnail=thumbnail(first, grid),
        ids=present_ids(label_map.data),
        structures=found,
        ranks=ranks,
        is_constant=any(channel.min() == channel.max() for image in images for channel in image.data),
    )


def thumbnail(data: NDArray[np.generic], grid: Geometry) -> NDArray[np.float32]:
    """Means of an array (I, J, K) over 12 x 12 x 12 blocks, turned to RAS: mean 0, length 1, flattened.

    An axis shorter than 12 repeats its voxels. Two scans of one thing on different grids come out alike.
    """
    turned = np.moveaxis(data, grid.closest_world_axes, (0, 1, 2))
    flips = tuple(grid.closest_world_axes[a] for a in range(3) if grid.orientation[a] in "LPI")
    values = np.flip(turned, flips)
    for axis in range(3):
        edges = np.linspace(0, values.shape[axis], _THUMB + 1)
        starts = np.minimum(edges[:-1].astype(int), values.shape[axis] - 1)
        if values.shape[axis] < _THUMB:
            values = values.take(starts, axis=axis)
        else:
            sums = np.add.reduceat(values, starts, axis=axis, dtype=np.float64)
            sizes = np.diff(np.append(starts, values.shape[axis])).astype(float)
            values = sums / np.expand_dims(sizes, tuple(a for a in range(3) if a != axis))
    flat = values.astype(np.float64).ravel()
    flat -= flat.mean()
    length = float(np.linalg.norm(flat))
    return (flat / length if length > 0 else np.zeros_like(flat)).astype(np.float32)


def _sample(channel: NDArray[np.generic]) -> NDArray[np.generic]:
    flat = channel.ravel(order="K")
    return flat[:: max(1, flat.size // _SAMPLES)]


def _modality(image: Volume, ordered: NDArray[np.generic]) -> str | None:
    if image.source.modality is not None:
        return image.source.modality
    return "CT" if float(ordered[ordered.size // 100]) < _AIR_HU else None


def _digest(*arrays: NDArray[np.generic]) -> str:
    """Of values and shapes: the same for any type of number and order in memory."""
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(repr(array.shape).encode())
        for part in array if array.ndim == 3 else (part for channel in array for part in channel):
            digest.update(np.ascontiguousarray(part, np.float64).tobytes())
    return digest.hexdigest()
