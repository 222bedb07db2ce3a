"""Volume and LabelMap: an array on a Geometry, and where it came from."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medseg.geometry import Geometry
from medseg.labels import LabelSet
from medseg.verdict import OK, Verdict

_COUNTED_AT_ONCE = 1 << 20


@dataclass(frozen=True, slots=True)
class Source:
    """Where an array came from.

    Parameters
    ----------
    paths
        The files, in slice order for a series. Empty for an array made in memory.
    format
        ``"nifti"``, ``"nrrd"``, ``"metaimage"``, ``"dicom"``, ``"image"`` or ``"memory"``.
    modality
        ``"CT"``, ``"MR"``, ... where the file says so, else None.
    header
        What the writer of the same format needs to write the same grid bit for bit, and what
        derived objects need. Never shown or logged: it may hold patient data.
    """

    paths: tuple[Path, ...] = ()
    format: str = "memory"
    modality: str | None = None
    header: Mapping[str, Any] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True, eq=False)
class Volume:
    """A scan: ``data`` (C, I, J, K) on one ``geometry``. Time is not a channel."""

    data: NDArray[Any]
    geometry: Geometry
    source: Source = field(default_factory=Source)
    verdict: Verdict = OK

    def __post_init__(self) -> None:
        if self.data.ndim != 4 or self.data.shape[1:] != self.geometry.shape:
            expected = ", ".join(map(str, self.geometry.shape))
            raise ValueError(f"data has shape {self.data.shape}, expected (channels, {expected})")
        if self.data.dtype.kind not in "iuf":
            raise ValueError(f"data is {self.data.dtype}, expected integers or floats")


@dataclass(frozen=True, slots=True, eq=False)
class LabelMap:
    """A segmentation: unsigned integers ``data`` (I, J, K), a ``geometry``, a ``labels`` set.

    Every id in ``data`` is 0 or in ``labels``. Overlapping structures are several LabelMaps.
    """

    data: NDArray[Any]
    geometry: Geometry
    labels: LabelSet
    source: Source = field(default_factory=Source)
    verdict: Verdict = OK

    def __post_init__(self) -> None:
        if self.data.shape != self.geometry.shape:
            raise ValueError(f"data has shape {self.data.shape}, the grid {self.geometry.shape}")
        if self.data.dtype.kind != "u":
            raise ValueError(f"label data is {self.data.dtype}, expected an unsigned integer type")
        unknown = sorted(set(present_ids(self.data)) - set(self.labels.ids))
        if unknown:
            raise ValueError(f"ids {unknown[:10]} are in the array but not in the label set")


def present_ids(data: NDArray[Any]) -> tuple[int, ...]:
    """Ids other than 0 that occur in an array of unsigned integers, ascending."""
    return tuple(i for i in count_ids(data) if i)


def count_ids(data: NDArray[Any]) -> dict[int, int]:
    """How often each number occurs in an array of unsigned integers, ascending; others are left out."""
    if data.dtype.itemsize > 2:
        values, counts = np.unique(data, return_counts=True)
        return dict(zip(values.tolist(), counts.tolist(), strict=True))
    flat = data.ravel(order="K")  # in memory order: no copy
    total = np.zeros(1 << (8 * data.dtype.itemsize), np.int64)
    # In pieces: bincount makes 64-bit integers of all that it is given.
    for start in range(0, flat.size, _COUNTED_AT_ONCE):
        total += np.bincount(flat[start : start + _COUNTED_AT_ONCE], minlength=total.size)
    return {int(i): int(total[i]) for i in np.flatnonzero(total)}


def holds_any(data: NDArray[Any], ids: Collection[int]) -> NDArray[np.bool_]:
    """Where an array of unsigned integers holds one of some numbers: an array of its shape and layout."""
    found = np.empty_like(data, np.bool_)
    if data.dtype.itemsize > 2:
        np.copyto(found, np.isin(data, list(ids)))
        return found
    table = np.zeros(1 << (8 * data.dtype.itemsize), np.bool_)
    table[[i for i in ids if i < table.size] or slice(0)] = True
    # Slab by slab as they lie in memory: looking up makes 64-bit integers of all that it is given.
    along = int(np.argmax(np.abs(data.strides)))
    for slab, target in zip(np.moveaxis(data, along, 0), np.moveaxis(found, along, 0), strict=True):
        target[...] = table[slab]
    return found
