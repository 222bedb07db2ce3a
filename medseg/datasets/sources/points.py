"""Labelled points to a labelled volume: each voxel the mean colour and the most frequent class in it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from medseg.datasets.sources.survey import Example
from medseg.errors import InputRefused
from medseg.geometry import Geometry
from medseg.labels import LabelSet
from medseg.volume import LabelMap, Source, Volume

_COLUMNS = 6  # x y z red green blue
_MOST_VOXELS = 1 << 25  # 50 bytes each while points are counted
_FARTHEST = 1e5  # no room is that far from its origin


@dataclass(frozen=True, slots=True, eq=False)
class Voxels:
    """What points leave in a grid.

    Parameters
    ----------
    origin
        Centre of voxel (0, 0, 0), in the points' unit.
    colours
        (3, I, J, K) uint8, the mean of a voxel's points, rounded; 0 where there is none.
    occupied
        (I, J, K) uint8, 1 where there is a point.
    classes
        (I, J, K) uint8: the most frequent class, on a tie the smallest; 0 where there is no point.
    """

    origin: NDArray[np.float64]
    colours: NDArray[np.uint8]
    occupied: NDArray[np.uint8]
    classes: NDArray[np.uint8]

    def example(self, voxel_mm: float, labels: LabelSet, source: Path) -> Example:
        """The volumes of a case; the points' unit is a thousand mm, their axes are taken as R, A, S."""
        affine = np.diag([voxel_mm, voxel_mm, voxel_mm, 1.0])
        affine[:3, 3] = self.origin * 1000.0
        grid = Geometry(self.occupied.shape, affine)
        channels = (self.occupied, *self.colours)
        return Example(
            tuple(Volume(channel[None], grid, Source((source,))) for channel in channels),
            (LabelMap(self.classes, grid, labels),),
        )


def read_points(path: Path) -> NDArray[np.float64]:
    """The points (N, 6) of a text file.

    Raises
    ------
    InputRefused
        ``bad-points`` if a line is not six finite numbers, a colour is not from 0 to 255, or a
        coordinate is beyond 100 km. The published
        set has a few such lines.
    """
    import pandas as pd

    try:
        table = pd.read_csv(path, sep=r"\s+", header=None, dtype=np.float64, engine="c")
        points = table.to_numpy()
    except (ValueError, pd.errors.ParserError) as error:
        raise _refused(path, _first_bad_line(path)) from error
    if points.shape[1] != _COLUMNS or not np.isfinite(points).all():
        raise _refused(path, _first_bad_line(path))
    far = (np.abs(points[:, :3]) > _FARTHEST).any(axis=1)
    wrong = np.flatnonzero(far | ((points[:, 3:] < 0) | (points[:, 3:] > 255)).any(axis=1))
    if wrong.size:
        raise _refused(path, int(wrong[0]) + 1)
    return points


def _first_bad_line(path: Path) -> int:
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            words = line.split()
            try:
                fine = len(words) == _COLUMNS and all(math.isfinite(float(word)) for word in words)
            except ValueError:
                fine = False
            if not fine:
                return number
    return 1


def _refused(path: Path, line: int) -> InputRefused:
    return InputRefused(
        f"{path.name}, line {line}: expected 'x y z red green blue', six numbers, colours from 0 to 255: "
        f"correct the line",
        code="bad-points",
        path=path,
    )


def gather(parts: Sequence[tuple[int, NDArray[np.float64]]], edge: float, source: Path) -> Voxels:
    """Put points of known classes into voxels of length ``edge``, in the points' unit.

    A voxel holds the points in [n edge, (n + 1) edge) along each axis, counted from 0 of the points' own
    frame, so that two rooms of an area share one raster.

    Raises
    ------
    InputRefused
        ``too-large`` beyond 2^25 voxels.
    """
    cells = [np.floor(points[:, :3] / edge) for _, points in parts]
    lowest = np.min([cell.min(axis=0) for cell in cells], axis=0)
    shape = tuple(int(n) + 1 for n in np.max([cell.max(axis=0) for cell in cells], axis=0) - lowest)
    size = math.prod(shape)
    if size > _MOST_VOXELS:
        raise InputRefused(
            f"{source.name}: {' x '.join(map(str, shape))} voxels of {edge:g}: take larger ones (--voxel-mm)",
            code="too-large",
            path=source,
        )
    counts = np.zeros(size, np.int64)
    sums = np.zeros((3, size))
    best, votes = np.zeros(size, np.uint8), np.zeros(size, np.int64)
    for label_id in sorted({label_id for label_id, _ in parts}):
        of_class = np.zeros(size, np.int64)
        for (own, points), cell in zip(parts, cells, strict=True):
            if own == label_id:
                flat = np.ravel_multi_index(tuple((cell - lowest).astype(np.int64).T), shape)
                of_class += np.bincount(flat, minlength=size)
                for n in range(3):
                    sums[n] += np.bincount(flat, points[:, 3 + n], size)
        more = of_class > votes  # classes come in order, so that of a tie the smallest stays
        best[more], votes[more] = label_id, of_class[more]
        counts += of_class
    colours = np.rint(sums / np.maximum(counts, 1)).astype(np.uint8)
    return Voxels(
        (lowest + 0.5) * edge,
        colours.reshape(3, *shape),
        (counts > 0).astype(np.uint8).reshape(shape),
        best.reshape(shape),
    )
