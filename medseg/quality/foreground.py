"""Size and shape of what a scan shows, and where the field of view cuts it: whatever its contrast.

numpy and scipy on a coarse grid: these run before every inference of a model whose scope names them.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from medseg.geometry import Geometry
from medseg.quality.coarse import coarse_grid
from medseg.quality.features import Floats

FOREGROUND_FEATURES = (
    "foreground_litres",
    "foreground_right_mm",
    "foreground_anterior_mm",
    "foreground_superior_mm",
    "foreground_fill",
    "cut_side",
    "cut_front_or_back",
    "cut_top",
    "top_area",
    "coarse_smoothness_low",
    "coarse_smoothness_high",
    "mirror_symmetry",
)

_SIZE_MM = 4.0
_BINS = 64
_ABOVE_AIR = (
    0.35  # of the way from the mean of the dark to the mean of the bright, for a voxel to be foreground
)
_CLOSED = 3  # blocks: bone and air in a head are dark
_MIDDLE_MM = 40.0  # how far the plane of symmetry is looked for from the middle of the field of view
_MIRRORED = 0.4  # of the slices along the axis, at least

Mask = NDArray[np.bool_]


def foreground_features(channel: NDArray[Any], geometry: Geometry) -> dict[str, float]:
    """Features of what stands out from a dark background, in anatomical order.

    The foreground is the largest connected piece that is brighter than a third of the way from the mean of
    the dark voxels to that of the bright ones (Otsu, IEEE SMC 9(1), 1979), with its holes filled, on a grid
    of about 4 mm. Air must be darker than tissue, as in MR and CT.

    Parameters
    ----------
    channel
        (I, J, K). Voxels that are not finite count as the lowest value.
    geometry
        Its grid; the spacing must be known.

    Returns
    -------
    dict
        ``foreground_litres``; ``foreground_right_mm``, ``_anterior_mm``, ``_superior_mm``
            its volume, and the sides of the box round it along the world axes.
        ``foreground_fill``
            the share of that box that it fills; 0.52 for an ellipsoid.
        ``cut_side``, ``cut_front_or_back``, ``cut_top``
            its area on the side of the field of view (the larger of right and left, of front and back), over
            the two thirds power of its volume: 1.9 where half a ball is cut off, 0 where nothing is.
        ``top_area``
            area of its uppermost slice over the area of the largest: near 0 for a dome.
        ``coarse_smoothness_low``, ``coarse_smoothness_high``
            correlation of neighbouring blocks of 8 mm along the axis where it is lowest, and highest.
        ``mirror_symmetry``
            correlation with the scan's mirror image in the best plane across the axis from right to left,
            times the share of the foreground whose mirror image is in view.

        Empty where no two values differ, or nothing is left. Undefined features are left out.
    """
    values, spacing = coarse_grid(channel, geometry, _SIZE_MM)
    low, high = np.percentile(values, (1, 99))
    if not high > low:
        return {}
    values = np.clip(values, low, high)
    mask = _foreground(values)
    if mask is None:
        return {}
    blocks, sides = _doubled(values, spacing)
    smooth = [c for axis in range(3) if (c := _neighbours(blocks, axis)) is not None]
    features = _shape(mask, spacing)
    if smooth:
        features |= {"coarse_smoothness_low": min(smooth), "coarse_smoothness_high": max(smooth)}
    weights, _ = _doubled(mask.astype(np.float64), spacing)
    symmetry = _mirror_symmetry(blocks, weights, sides[0])
    if symmetry is not None:
        features["mirror_symmetry"] = symmetry
    return features


def _foreground(values: Floats) -> Mask | None:
    from scipy import ndimage  # a scope that does not name these features does without scipy

    limit = _otsu(values)
    dark, bright = values[values <= limit].mean(), values[values > limit].mean()
    mask = ndimage.binary_opening(values > dark + _ABOVE_AIR * (bright - dark))
    pieces, count = ndimage.label(mask)
    if count == 0:
        return None
    sizes = np.bincount(pieces.ravel())
    mask = pieces == 1 + int(np.argmax(sizes[1:]))
    mask = ndimage.binary_closing(np.pad(mask, _CLOSED), iterations=_CLOSED)
    mask = mask[(slice(_CLOSED, -_CLOSED),) * 3]
    for axis in range(3):  # slice by slice: a hole may be open where the field of view ends
        filled = [ndimage.binary_fill_holes(np.take(mask, n, axis)) for n in range(mask.shape[axis])]
        mask = np.stack(filled, axis)
    found: Mask = mask
    return found


def _otsu(values: Floats) -> float:
    """The value that splits a histogram into the two classes whose means differ most."""
    counts, edges = np.histogram(values, _BINS)
    centres = (edges[1:] + edges[:-1]) / 2
    below = counts.cumsum()[:-1]
    sums = (counts * centres).cumsum()
    above = counts.sum() - below
    between = (sums[:-1] * counts.sum() - sums[-1] * below) ** 2 / np.maximum(below * above, 1)
    return float(centres[int(np.argmax(between))])


def _shape(mask: Mask, spacing: tuple[float, ...]) -> dict[str, float]:
    from scipy import ndimage

    volume = float(mask.sum() * np.prod(spacing))
    box = ndimage.find_objects(mask.astype(np.int8))[0]
    right, anterior, superior = ((b.stop - b.start) * mm for b, mm in zip(box, spacing, strict=True))
    areas = [np.prod(spacing) / mm for mm in spacing]

    def cut(axis: int, end: int) -> float:
        return float(np.take(mask, end, axis).sum() * areas[axis] / volume ** (2 / 3))

    slices = mask.sum(axis=(0, 1))
    return {
        "foreground_litres": volume / 1e6,
        "foreground_right_mm": right,
        "foreground_anterior_mm": anterior,
        "foreground_superior_mm": superior,
        "foreground_fill": float(mask[box].mean()),
        "cut_side": max(cut(0, 0), cut(0, -1)),
        "cut_front_or_back": max(cut(1, 0), cut(1, -1)),
        "cut_top": cut(2, -1),
        "top_area": float(slices[box[2].stop - 1] / slices.max()),
    }


def _doubled(values: Floats, spacing: tuple[float, ...]) -> tuple[Floats, tuple[float, ...]]:
    """Means of two blocks along every axis whose blocks are small enough."""
    sides = list(spacing)
    for axis in range(3):
        pairs = values.shape[axis] // 2
        if sides[axis] < 4 / 3 * _SIZE_MM and pairs:
            moved = np.moveaxis(values, axis, 0)[: 2 * pairs]
            values = np.moveaxis((moved[::2] + moved[1::2]) / 2, 0, axis)
            sides[axis] *= 2
    return values, tuple(sides)


def _neighbours(blocks: Floats, axis: int) -> float | None:
    moved = np.moveaxis(blocks, axis, 0)
    return _correlation(moved[:-1], moved[1:]) if len(moved) > 1 else None


def _mirror_symmetry(blocks: Floats, mask: Floats, side_mm: float) -> float | None:
    count = len(blocks)
    reach = 2 * int(_MIDDLE_MM / side_mm)
    total = mask.sum()
    found = []
    for twice in range(max(0, count - 1 - reach), min(2 * count - 2, count - 1 + reach) + 1):
        here = slice(max(0, twice - count + 1), min(count - 1, twice) + 1)  # mirrored onto itself
        part, weights = blocks[here], mask[here]
        if len(part) < max(4, _MIRRORED * count):
            continue
        correlation = _correlation(part, part[::-1])
        if correlation is not None and total > 0:
            found.append(correlation * float(weights.sum() / total))
    return max(found) if found else None


def _correlation(one: Floats, other: Floats) -> float | None:
    a, b = one.ravel() - one.mean(), other.ravel() - other.mean()
    scale = float(np.sqrt(np.einsum("i,i", a, a) * np.einsum("i,i", b, b)))
    return float(np.einsum("i,i", a, b)) / scale if scale > 0 else None
