"""A few cheap numbers that tell kinds of scan apart. numpy only: they run before every inference.

None depends on the intensity's unit or offset, or on the order in which the array is stored.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from medseg.geometry import Geometry

Floats = NDArray[np.float64]

_MOST_VOXELS = 65_000
_BINS = 64
_BLOCKS = 4  # per axis, of the layout


def channel_features(channel: NDArray[Any], *, flat: bool = False) -> dict[str, float]:
    """Features of one channel.

    Parameters
    ----------
    channel
        (I, J, K). Voxels that are not finite count as the lowest value.
    flat
        A 2D image, or a stack whose single slices are segmented: the third axis is not looked at.

    Returns
    -------
    dict
        ``floor_fraction``
            share of voxels at the lowest value: padding, or air that was cut off. The features of
            intensity below leave these voxels out.
        ``skewness``, ``kurtosis``
            third and fourth standardised moment; ``kurtosis`` is 3 for a normal distribution.
        ``entropy``
            of a histogram of 64 bins between the 0.5th and 99.5th percentile, 0 (constant) to 1 (uniform).
        ``smoothness_low``, ``smoothness_high``
            correlation of neighbouring voxels along the axis where it is lowest, and highest: near 0
            for noise, near 1 for an image that was enlarged.
        ``centre_contrast``
            mean of the middle half (of each axis) minus mean of the rest, in standard deviations.

    What is undefined is left out; a constant channel has no features. Of a large scan about 65,000
    voxels, evenly spread, are looked at.
    """
    axes = 2 if flat else 3
    step = max(1, int(np.ceil((channel.size / _MOST_VOXELS) ** (1 / 3))))
    values = _finite(channel[_steps(channel.shape, step)])
    floor = values == values.min()
    features = {"floor_fraction": float(floor.mean())}
    above = values[~floor]
    if above.size == 0:
        return {}
    features |= _intensity(above)
    smooth = [_neighbour_correlation(channel, axis, step) for axis in range(axes)]
    known = [value for value in smooth if value is not None]
    if known:
        features |= {"smoothness_low": min(known), "smoothness_high": max(known)}
    features["centre_contrast"] = _centre_contrast(values, axes)
    return features


def in_ras_order(channel: NDArray[Any], geometry: Geometry) -> NDArray[Any]:
    """A view of a channel whose axes run closest to right, anterior, superior; a 2D image as it is."""
    if geometry.is_2d:
        return channel
    world = geometry.closest_world_axes
    order = [world.index(axis) for axis in range(3)]
    flips = [slice(None, None, -1 if geometry.affine[n, a] < 0 else 1) for n, a in enumerate(order)]
    return channel.transpose(order)[tuple(flips)]


def coarse_layout(channel: NDArray[Any], *, flat: bool = False) -> Floats | None:
    """Where it is bright and where dark: means of 4x4x4 blocks (4x4 where flat), mean 0 and norm 1.

    The product of two layouts is their correlation, so both need the same axes (`in_ras_order`). None
    where an axis has fewer than four voxels, or all blocks are equal.
    """
    step = max(1, int(np.ceil((channel.size / _MOST_VOXELS) ** (1 / 3))))
    blocks = _finite(channel[_steps(channel.shape, step)])
    for axis in range(2 if flat else 3):
        size = blocks.shape[axis]
        if size < _BLOCKS:
            return None
        edges = (np.arange(_BLOCKS + 1) * size) // _BLOCKS
        sums = np.add.reduceat(blocks, edges[:-1], axis=axis)
        shape = [1] * 3
        shape[axis] = _BLOCKS
        blocks = sums / np.diff(edges).reshape(shape)
    layout = (blocks.mean(axis=2) if flat else blocks).ravel()
    layout = layout - layout.mean()
    norm = float(np.linalg.norm(layout))
    return layout / norm if norm > 0 else None


def sorted_lengths(geometry: Geometry, dimensions: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Spacing and field of view, sorted ascending; for a 2D model those in the plane it segments.

    That plane is the image's own, or the one closest to axial in a 3D scan.
    """
    axes = [0, 1, 2]
    if dimensions == 2:
        axes = [0, 1] if geometry.is_2d else [a for a, w in enumerate(geometry.closest_world_axes) if w < 2]
    spacing, extent = geometry.spacing, geometry.extent_mm
    return tuple(sorted(spacing[a] for a in axes)), tuple(sorted(extent[a] for a in axes))


def _steps(shape: tuple[int, ...], step: int) -> tuple[slice, ...]:
    """Every step-th voxel, but at least eight along an axis that has them (a thin stack keeps its slices)."""
    return tuple(slice(None, None, max(1, min(step, n // 8))) for n in shape)


def _finite(values: NDArray[Any]) -> Floats:
    floats = values.astype(np.float64)
    if values.dtype.kind != "f":
        return floats
    good = np.isfinite(floats)
    if not good.all():
        floats[~good] = floats[good].min() if good.any() else 0.0
    return floats


def _intensity(values: Floats) -> dict[str, float]:
    std = float(values.std())
    if std == 0:
        return {}
    z = (values - values.mean()) / std
    squares = z * z
    low, high = np.percentile(z, (0.5, 99.5))
    entropy = 0.0
    if high > low:
        counts, _ = np.histogram(np.clip(z, low, high), _BINS, (low, high))
        share = counts[counts > 0] / z.size
        entropy = float(-(share * np.log(share)).sum() / np.log(_BINS))
    return {
        "skewness": float((squares * z).mean()),
        "kurtosis": float((squares * squares).mean()),
        "entropy": entropy,
    }


def _neighbour_correlation(channel: NDArray[Any], axis: int, step: int) -> float | None:
    """Pearson correlation of voxels with their next neighbour along an axis; None where undefined."""
    if channel.shape[axis] < 2:
        return None
    moved = np.moveaxis(channel, axis, 0)
    steps = _steps((moved.shape[0] - 1, *moved.shape[1:]), step)
    here = _finite(moved[:-1][steps]).ravel()
    there = _finite(moved[1:][steps]).ravel()
    here -= here.mean()
    there -= there.mean()
    # Not ``@``: BLAS would wake its own threads for this, which cost ten times the sum right after a network.
    scale = float(np.sqrt(np.einsum("i,i", here, here) * np.einsum("i,i", there, there)))
    return float(np.einsum("i,i", here, there)) / scale if scale > 0 else None


def _centre_contrast(values: Floats, axes: int) -> float:
    sizes = enumerate(values.shape)
    inner = tuple(slice(n // 4, n - n // 4) if axis < axes else slice(None) for axis, n in sizes)
    centre = values[inner]
    rest = values.size - centre.size
    if rest == 0:
        return 0.0
    return float((centre.mean() - (values.sum() - centre.sum()) / rest) / values.std())
