"""Edits that change a label's shape: smooth, grow, shrink, fill holes. Lengths are mm.

Voxels may be anisotropic. A distance is from voxel centre to voxel centre. What `where`, `over`, `axis` and
`index` mean: `edits`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection
from functools import partial
from typing import Any, Literal, get_args

import cc3d
import numpy as np
import scipy
from numpy.typing import NDArray

from medseg import UsageError
from napari_medseg.editing.arguments import Over, Spacing, check_call, check_length, check_spacing
from napari_medseg.editing.boxes import Labels, Mask, has_label, label_box
from napari_medseg.edits import Edit, edit_of

Steps = tuple[int, int, int]
Smoothing = Literal["median", "gaussian"]

_ROUNDING = 1e-6  # relative: a spacing's last digits must not decide whether a voxel at the limit counts
_GAUSSIAN_REACH = 3.0  # standard deviations


def grow(
    labels: Labels,
    label: int,
    distance: float,
    spacing: Spacing,
    *,
    axis: int | None = None,
    index: int | None = None,
    where: Mask | None = None,
    over: Over = "background",
) -> Edit:
    """Give a label every voxel within ``distance`` mm of one of its own, ends included.

    Exact Euclidean distance. Below the smallest spacing nothing changes.
    """
    check_call(labels, ids=(label,), where=where, over=over, axis=axis, index=index)
    check_length("distance", distance, spacing)
    reach = _steps(distance, spacing, axis)
    box = label_box(labels, (label,), margin=reach, axis=axis, index=index)
    old = labels[box]
    near = _within(old == label, distance, spacing, reach)
    if over == "background":
        near &= old == 0
    return edit_of(labels, box, np.where(near, np.asarray(label, old.dtype), old), where)


def shrink(
    labels: Labels,
    label: int,
    distance: float,
    spacing: Spacing,
    *,
    axis: int | None = None,
    index: int | None = None,
    where: Mask | None = None,
) -> Edit:
    """Make background of a label's voxels within ``distance`` mm of one that is not the label's.

    Exact Euclidean distance, ends included. The array's edge takes nothing: a structure that the scan cuts
    off keeps its cut. May remove the label; below the smallest spacing nothing changes.
    """
    check_call(labels, ids=(label,), where=where, axis=axis, index=index)
    check_length("distance", distance, spacing)
    # The nearest voxel that is not the label's is never farther out than one voxel around its box.
    box = label_box(labels, (label,), margin=(1, 1, 1), axis=axis, index=index)
    old = labels[box]
    lost = _within(old != label, distance, spacing, _steps(distance, spacing, axis)) & (old == label)
    return edit_of(labels, box, np.where(lost, np.zeros((), old.dtype), old), where)


def smooth(
    labels: Labels,
    ids: Collection[int],
    radius: float,
    spacing: Spacing,
    *,
    method: Smoothing = "median",
    axis: int | None = None,
    index: int | None = None,
    where: Mask | None = None,
    over: Over = "background",
) -> Edit:
    """Smooth the surfaces of labels, together, so that neighbours keep touching.

    Each voxel goes to the label, or the background, that has most weight around it; of equal ones it keeps
    its own, else the smallest id wins. With one label alone ``"median"`` is the median filter of its mask.
    Only changes from or to ``ids`` are made; a voxel that is lost may go to any neighbour. Outside of the
    array the outermost voxels go on, so that a structure that the scan cuts off keeps its cut.

    Parameters
    ----------
    radius
        For ``"median"`` the radius in mm of a ball, whose voxels weigh the same; it removes what is thinner,
        and is gentle on the rest. For ``"gaussian"`` the standard deviation in mm; it rounds corners more.
    """
    check_call(labels, ids=ids, where=where, over=over, axis=axis, index=index)
    check_length("radius", radius, spacing)
    if method not in get_args(Smoothing):
        raise UsageError(f"method {method!r}: expected one of {', '.join(map(repr, get_args(Smoothing)))}")
    reach = _steps(radius if method == "median" else _GAUSSIAN_REACH * radius, spacing, axis)
    # Twice: a voxel that a label may reach must see all that lies around itself.
    wide = (2 * reach[0], 2 * reach[1], 2 * reach[2])
    box = label_box(labels, ids, margin=wide, axis=axis, index=index)
    old = labels[box]
    if old.size == 0:
        return edit_of(labels, box, old)
    weigh: Callable[[Mask], NDArray[Any]]
    if method == "median":
        weigh = partial(_in_ball, radius=radius, spacing=spacing, reach=reach)
    else:
        weigh = partial(_gaussian, sigma=radius, spacing=spacing, reach=reach)
    new = _heaviest(old, weigh)
    ours, theirs = has_label(old, ids), has_label(new, ids)
    change = ours | (theirs & (old == 0) if over == "background" else theirs)
    return edit_of(labels, box, np.where(change, new, old), where)


def fill_holes(
    labels: Labels,
    label: int,
    spacing: Spacing,
    *,
    largest: float = math.inf,
    axis: int | None = None,
    index: int | None = None,
    where: Mask | None = None,
    over: Over = "background",
) -> Edit:
    """Fill what a label encloses.

    A hole is a piece, connected through faces (through sides in a slice), of voxels that are not the label's,
    and reaches the array's edge nowhere. Other labels inside it count to its size, and stay unless
    ``over="all"``.

    Parameters
    ----------
    largest
        Holes larger than this stay: mm3, or mm2 with ``axis``.
    """
    check_call(labels, ids=(label,), where=where, over=over, axis=axis, index=index)
    check_spacing(spacing)
    box = label_box(labels, (label,), axis=axis, index=index)
    old = labels[box]
    others = old != label
    sizes = [size for n, size in enumerate(spacing) if n != axis]
    most = largest / math.prod(sizes) * (1 + _ROUNDING)
    if axis is None:
        holes = _holes(others, most) if others.size else others
    else:
        slices = [_holes(one, most) for one in np.moveaxis(others, axis, 0)]
        holes = np.stack(slices, axis) if slices else others
    if over == "background":
        holes &= old == 0
    return edit_of(labels, box, np.where(holes, np.asarray(label, old.dtype), old), where)


def _holes(others: Mask, most: float) -> Mask:
    """Which of ``others``, in 2D or 3D, are in pieces of at most ``most`` voxels that reach no edge."""
    # The border joins all that reaches the edge into the one piece of its first voxel.
    bordered = np.pad(others, 1, constant_values=True)
    pieces = cc3d.connected_components(bordered, connectivity=6 if others.ndim == 3 else 4)
    small = np.bincount(pieces.ravel()) <= most
    small[[0, int(pieces.flat[0])]] = False
    return np.asarray(small[pieces[(slice(1, -1),) * others.ndim]])


def _steps(distance: float, spacing: Spacing, axis: int | None) -> Steps:
    """How many voxels a distance reaches along each axis; none across the slices of ``axis``."""
    i, j, k = (0 if n == axis else int(distance / one * (1 + _ROUNDING)) for n, one in enumerate(spacing))
    return i, j, k


def _within(mask: Mask, distance: float, spacing: Spacing, reach: Steps) -> Mask:
    """Where the nearest True is at most ``distance`` mm away.

    The minimum over offsets is taken axis by axis (Felzenszwalb and Huttenlocher 2012), and only as far
    as the distance reaches: over a few voxels that is faster than a full transform, and it needs 12
    bytes a voxel.
    """
    squared = np.where(mask, np.float32(0), np.float32(np.inf))
    for axis, (steps, size) in enumerate(zip(reach, spacing, strict=True)):
        along = np.moveaxis(squared, axis, 0)
        nearest = along.copy()
        for step in range(1, min(steps, len(along) - 1) + 1):
            cost = np.float32((step * size) ** 2)
            np.minimum(nearest[:-step], along[step:] + cost, out=nearest[:-step])
            np.minimum(nearest[step:], along[:-step] + cost, out=nearest[step:])
        squared = np.moveaxis(nearest, 0, axis)
    return np.asarray(squared <= np.float32((distance * (1 + _ROUNDING)) ** 2))


def _heaviest(labels: Labels, weigh: Callable[[Mask], NDArray[Any]]) -> Labels:
    """For each voxel the id whose mask has most weight there; its own among equals, else the smallest."""
    ids = np.unique(labels)
    best = np.zeros(labels.shape, np.float32)
    winner = labels.copy()
    for one in ids:  # ascending, so that of equal ones the smallest is there first
        mask = labels == one
        weight = weigh(mask)
        better = (weight > best) | (mask & (weight == best))
        best[better] = weight[better]
        winner[better] = one
    return winner


def _in_ball(mask: Mask, *, radius: float, spacing: Spacing, reach: Steps) -> NDArray[np.int32]:
    """How many True are within ``radius`` mm of each voxel.

    A ball is a bundle of runs along the last axis, and a run's sum is a difference of two running sums.
    """
    padded = np.pad(mask, [(n, n) for n in reach], mode="edge")
    sums = np.zeros((*padded.shape[:2], padded.shape[2] + 1), np.int32)
    np.cumsum(padded, axis=2, out=sums[..., 1:])
    size_i, size_j, size_k = mask.shape
    counts = np.zeros(mask.shape, np.int32)
    for i in range(-reach[0], reach[0] + 1):
        for j in range(-reach[1], reach[1] + 1):
            left = (radius * (1 + _ROUNDING)) ** 2 - (i * spacing[0]) ** 2 - (j * spacing[1]) ** 2
            if left < 0:
                continue
            half = min(int(math.sqrt(left) / spacing[2]), reach[2])
            runs = sums[reach[0] + i : reach[0] + i + size_i, reach[1] + j : reach[1] + j + size_j]
            first, behind = reach[2] - half, reach[2] + half + 1
            counts += runs[..., behind : behind + size_k] - runs[..., first : first + size_k]
    return counts


def _gaussian(mask: Mask, *, sigma: float, spacing: Spacing, reach: Steps) -> NDArray[np.float32]:
    """The mask blurred; not along axes where the Gaussian reaches no neighbour."""
    sigmas = [sigma / size if steps else 0.0 for size, steps in zip(spacing, reach, strict=True)]
    blurred = scipy.ndimage.gaussian_filter(
        mask.astype(np.float32), sigmas, mode="nearest", truncate=_GAUSSIAN_REACH
    )
    return np.asarray(blurred)
