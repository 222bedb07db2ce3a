"""The metrics of a pair of masks the slow way, in loops and over all pairs of elements; no code of medseg.

Areas of blocks are those of the published table of normals (Nikolov et al. 2021), as MONAI carries it, unless
a function is given: for sheared grids that table does not settle all of its 256 cases.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

Mask = NDArray[np.bool_]
Numbers = dict[str, float | int | None]
Measure = Callable[[Mask, NDArray[np.float64]], float]
KINDS = ("blobs", "far", "empty", "one empty", "one voxel", "border", "shell", "sheared", "plane", "equal")


def random_pair(seed: int) -> tuple[str, Mask, Mask, NDArray[np.float64]]:
    """A kind, two masks (I, J, K) and the three steps of their grid in mm, as columns.

    Every grid is turned and anisotropic; kinds go round with the seed.
    """
    rng = np.random.default_rng(seed)
    kind = KINDS[seed % len(KINDS)]
    shape = tuple(int(n) for n in rng.permutation((5, 7, 9)))
    turn, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    steps = turn * rng.permutation((0.6, 1.1, 2.7)) * rng.uniform(0.7, 1.4)
    if kind == "sheared":
        steps = steps @ (np.eye(3) + np.triu(rng.uniform(-0.5, 0.5, (3, 3)), 1))
    if kind == "plane":
        shape = (11, 8, 1)
    noise = np.array([gaussian_filter(one, 1.0) for one in rng.normal(size=(2, *shape))])
    pred, ref = noise > 0.6 * noise.std()
    if kind == "far":
        pred[:, 2:], ref[:, :-1] = False, False
        pred[0, 0, 0] = ref[-1, -1, -1] = True
    elif kind == "empty":
        pred[:], ref[:] = False, False
    elif kind == "one empty":
        (pred, ref)[seed // len(KINDS) % 2][:] = False
    elif kind == "one voxel":
        pred = np.arange(pred.size).reshape(shape) == rng.integers(pred.size)
    elif kind == "border":
        pred, ref = ~pred, np.ones(shape, np.bool_)
    elif kind == "shell":
        ref = np.ones(shape, np.bool_)
        ref[1:-1, 1:-1, 1:-1] = False
    elif kind == "equal":
        ref = pred.copy()
    return kind, pred, ref, steps


def all_metrics(
    pred: Mask, ref: Mask, steps: NDArray[np.float64], tolerance_mm: float, area: Measure | None = None
) -> Numbers:
    """Every metric but those of lesions by its field's name, those of surfaces as ``name:definition``.

    ``area`` gives the area in a block of 2x2x2 voxels.
    """
    sizes, both = (int(pred.sum()), int(ref.sum())), int((pred & ref).sum())
    voxel_ml = abs(np.linalg.det(steps)) / 1000
    numbers: Numbers = {
        "dice": 2 * both / sum(sizes) if any(sizes) else None,
        "volumetric_similarity": 1 - abs(sizes[0] - sizes[1]) / sum(sizes) if any(sizes) else None,
        "volume_error_ml": (sizes[0] - sizes[1]) * voxel_ml if any(sizes) else None,
        "volume_error_percent": (sizes[0] / sizes[1] - 1) * 100 if sizes[1] else None,
    }
    flat = pred.shape[2] == 1
    if flat:
        pred, ref, steps = pred[..., 0], ref[..., 0], steps[:, :2]
    measure = _length if flat else area or published_area
    blocks = [list(_blocks(mask, steps, measure)) for mask in (pred, ref)]
    border = [list(_border_voxels(mask, steps)) for mask in (pred, ref)]
    numbers |= _of_surfaces("area", *blocks, tolerance_mm)
    return numbers | _of_surfaces("voxels", *border, tolerance_mm)


def _of_surfaces(definition: str, a: list[Any], b: list[Any], tolerance_mm: float) -> Numbers:
    names = [f"{name}:{definition}" for name in ("hd95", "hausdorff", "mean_surface_distance")]
    if not a or not b:
        numbers: Numbers = dict.fromkeys((*names, "hd95:pooled"))
        numbers[f"surface_dice:{definition}"] = 0.0 if a or b else None
        return numbers
    places, weights = zip(*(map(np.array, zip(*side, strict=True)) for side in (a, b)), strict=True)
    distances = np.linalg.norm(places[0][:, None] - places[1][None], axis=-1)
    directed = distances.min(axis=1), distances.min(axis=0)
    joined, weight = np.concatenate(directed), np.concatenate(weights)
    if definition == "area":
        hd95 = max(_by_weight(*one) for one in zip(directed, weights, strict=True))
    else:
        hd95 = max(_interpolated(one) for one in directed)
    return {
        names[0]: hd95,
        names[1]: joined.max(),
        names[2]: (joined * weight).sum() / weight.sum(),
        f"surface_dice:{definition}": weight[joined <= tolerance_mm + 1e-9].sum() / weight.sum(),
        "hd95:pooled": _interpolated(joined),
    }


def _by_weight(distances: NDArray[np.float64], weights: NDArray[np.float64]) -> float:
    carried = 0.0
    for distance, weight in sorted(zip(distances, weights, strict=True)):
        carried += weight
        if carried >= 0.95 * weights.sum() - 1e-9:
            return float(distance)
    raise AssertionError("weights do not add up")


def _interpolated(distances: NDArray[np.float64]) -> float:
    ordered = sorted(distances.tolist())
    place = 0.95 * (len(ordered) - 1)
    low = int(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (place - low)


def _border_voxels(mask: Mask, steps: NDArray[np.float64]) -> Iterator[tuple[NDArray[np.float64], float]]:
    for index in map(tuple, np.argwhere(mask)):
        for axis, way in product(range(mask.ndim), (-1, 1)):
            beside = (*index[:axis], index[axis] + way, *index[axis + 1 :])
            if not 0 <= beside[axis] < mask.shape[axis] or not mask[beside]:
                yield steps @ index, 1.0
                break


def _blocks(
    mask: Mask, steps: NDArray[np.float64], measure: Measure
) -> Iterator[tuple[NDArray[np.float64], float]]:
    padded = np.pad(mask, 1)
    for index in product(*(range(n + 1) for n in mask.shape)):
        block = padded[tuple(slice(n, n + 2) for n in index)]
        if block.any() and not block.all():
            yield steps @ (np.array(index) - 0.5), measure(block, steps)


def published_area(block: Mask, steps: NDArray[np.float64]) -> float:
    """The area of the surface in a block by the published normals."""
    kernel, normals = _published_table()
    # A linear map takes vectors of area by its cofactors.
    cofactors = np.linalg.det(steps) * np.linalg.inv(steps).T
    return float(np.linalg.norm(normals[(kernel * block).sum()] @ cofactors.T, axis=1).sum())


@cache
def _published_table() -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Which bit of a code each corner of a block is, and by code up to four normals as long as their area."""
    from monai.metrics.utils import ENCODING_KERNEL, _get_neighbour_code_to_normals_table

    table = _get_neighbour_code_to_normals_table()
    return np.array(ENCODING_KERNEL[3]), table.numpy().astype(np.float64)


def _length(block: Mask, steps: NDArray[np.float64]) -> float:
    """Of the contour in a square: it joins the middles of edges, and cuts diagonal pairs off one by one."""
    i, j = steps.T
    rare = block if block.sum() <= 2 else ~block
    corners = np.argwhere(rare)
    if len(corners) == 2 and (corners[0] == corners[1]).any():
        return float(np.linalg.norm(j if corners[0, 0] == corners[1, 0] else i))
    return float(sum(np.linalg.norm(i - j if a == b else i + j) / 2 for a, b in corners))
