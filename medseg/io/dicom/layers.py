"""Structures into as few label maps as hold them without overlap."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medseg.io.refusals import refused
from medseg.labels import LabelSet

# Beyond this many bytes of label maps a file is no segmentation that anyone works with.
_LARGEST = 1 << 31
_MOST_LAYERS = 256

# A patch of one slice: slice number, first column and row, mask (columns, rows).
Patch = tuple[int, int, int, NDArray[np.bool_]]


def check_size(path: Path, shape: tuple[int, int, int], itemsize: int, count: int = 1) -> None:
    """Refuse label maps beyond all use (code ``too-large``) before memory is taken."""
    if math.prod(shape) * itemsize * count > _LARGEST:
        size = f"{count} label maps of {' x '.join(map(str, shape))} voxels"
        raise refused(path, "too-large", f"{size}, more than medseg reads from one file")


class Layers:
    """Label maps on one grid that grow in number where structures overlap.

    Parameters
    ----------
    path
        The file, for refusals.
    shape
        (I, J, K) of the grid.
    largest_id
        The largest id that will come; it decides the type of the voxels.
    """

    def __init__(self, path: Path, shape: tuple[int, int, int], largest_id: int) -> None:
        self._path = path
        self._shape = shape
        self._type = np.uint8 if largest_id <= 255 else np.uint16
        self._ids: list[list[int]] = []
        self._maps: list[NDArray[Any]] = []
        self._grow()

    def place(self, label_id: int, patches: Sequence[Patch]) -> None:
        """Put a structure, whole, into the first layer where its voxels are still free."""
        n = next((n for n, layer in enumerate(self._maps) if _is_free(layer, patches)), len(self._maps))
        if n == len(self._maps):
            self._grow()
        for k, i, j, mask in patches:
            self._maps[n][i : i + mask.shape[0], j : j + mask.shape[1], k][mask] = label_id
        self._ids[n].append(label_id)

    def finish(self, labels: LabelSet) -> tuple[NDArray[Any], tuple[LabelSet, ...]]:
        """Voxels (layer, I, J, K), and the part of the label set that lies in each layer."""
        data = self._maps[0][None] if len(self._maps) == 1 else np.stack(self._maps)
        inside = [frozenset(ids) for ids in self._ids]
        return data, tuple(replace(labels, labels=tuple(x for x in labels if x.id in ids)) for ids in inside)

    def _grow(self) -> None:
        check_size(self._path, self._shape, np.dtype(self._type).itemsize, len(self._maps) + 1)
        if len(self._maps) == _MOST_LAYERS:
            text = f"structures that overlap more than {_MOST_LAYERS} deep"
            raise refused(self._path, "too-large", f"{text}; export fewer of them at a time")
        self._maps.append(np.zeros(self._shape, self._type, order="F"))
        self._ids.append([])


def _is_free(layer: NDArray[Any], patches: Sequence[Patch]) -> bool:
    return not any(
        layer[i : i + mask.shape[0], j : j + mask.shape[1], k][mask].any() for k, i, j, mask in patches
    )
