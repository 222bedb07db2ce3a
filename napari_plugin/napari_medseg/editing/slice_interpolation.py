"""Fills the slices between annotated ones: shape-based interpolation by signed distances.

After Raya and Udupa 1990 (IEEE TMI 9:32) and Herman, Zheng and Bucholtz 1992 (IEEE CG&A 12:69): between two
annotated slices the signed distances to their outlines are mixed linearly. Distances alone make shapes that
moved thinner, and lose those that moved by more than their width. Therefore, beyond them:

- pieces are matched from slice to slice, and each group of them is interpolated by itself (`piece_matching`);
- shapes are moved onto each other by as much of the way between their centroids as they fail to overlap;
- an interpolated shape has the area that lies between the areas: its root is interpolated linearly, as the
  width of a cone is. A shape without a counterpart ends as a cone whose tip is in the other slice;
- where several labels claim a voxel, the one wins in which it lies deepest. Labels that touch may leave gaps
  between them where their border moves: a voxel within one voxel of a label is given to it if it lies inside
  the outline of all labels together, interpolated in the same way.

`benchmarks/slice_interpolation.py` measures it.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from itertools import pairwise

import numpy as np
import scipy
from numpy.typing import NDArray

from medseg import UsageError
from napari_medseg.editing.arguments import Over, Spacing, check_call, check_spacing
from napari_medseg.editing.boxes import Box, Labels, Mask, bounding_box, has_label, inside, slice_box
from napari_medseg.editing.piece_matching import Pair, centroid, matched_pieces
from napari_medseg.edits import Edit, edit_of

Floats = NDArray[np.float64]

_MARGIN = 2  # voxels around two outlines; the one between them may bulge a little


def interpolate_slices(
    labels: Labels,
    ids: Collection[int],
    axis: int,
    spacing: Spacing,
    *,
    slices: Collection[int] | None = None,
    where: Mask | None = None,
    over: Over = "background",
) -> Edit:
    """Fill labels in the slices across ``axis`` that lie between annotated ones.

    What slices between annotated ones hold of ``ids`` is made anew; annotated ones stay as they are. All
    ``ids`` share the annotated slices: one that lacks a label says that it is not there. To interpolate
    labels that were annotated in different slices, call it for each.

    Parameters
    ----------
    labels
        The label array (I, J, K); not changed.
    ids
        The labels to interpolate, without 0.
    axis
        The array axis that the annotated slices lie across.
    spacing
        Of all three axes, in mm.
    slices
        Indices of the annotated slices; an empty one says that nothing is there. None: all slices that hold
        one of ``ids``. Of fewer than two nothing changes.
    where, over
        Which voxels may change, and whether other labels may be painted over: see `edits`.

    Notes
    -----
    A voxel that lies exactly as deep in two labels goes to the smaller id.
    """
    check_call(labels, ids=ids, where=where, over=over, axis=axis)
    check_spacing(spacing)
    if 0 in ids:
        raise UsageError("label 0 is background: interpolate the labels around it")
    chosen = has_label(labels, ids)
    if slices is None:
        others = tuple(n for n in range(3) if n != axis)
        annotated = [int(n) for n in np.flatnonzero(chosen.any(axis=others))]
    else:
        annotated = sorted(set(slices))
        for index in annotated:
            check_call(labels, axis=axis, index=index)
    if len(annotated) < 2:
        return edit_of(labels, (slice(0, 0),) * 3, labels[:0, :0, :0])
    box = _working_box(chosen, axis, annotated)
    old, ours = labels[box], chosen[box]
    new = np.where(ours, old, 0).astype(old.dtype)
    _fill_between(np.moveaxis(new, axis, 0), annotated, np.delete(spacing, axis), spacing[axis])
    free = ours | (old == 0) if over == "background" else ours | (new != 0)
    return edit_of(labels, box, np.where(free, new, old), where)


def _working_box(chosen: Mask, axis: int, annotated: Sequence[int]) -> Box:
    """The box from the first annotated slice to the last, in plane around the labels and a margin."""
    i, j, k = (slice(annotated[0], annotated[-1] + 1) if n == axis else part
               for n, part in enumerate(slice_box(chosen.shape, None, None)))  # fmt: skip
    whole = (i, j, k)
    around = inside(whole, bounding_box(chosen[whole]))
    i, j, k = (
        whole[axis] if n == axis else slice(max(part.start - _MARGIN, 0), min(part.stop + _MARGIN, size))
        for n, (part, size) in enumerate(zip(around, chosen.shape, strict=True))
    )
    return i, j, k


def _fill_between(stack: Labels, annotated: Sequence[int], spacing: Floats, step: float) -> None:
    """Write the interpolated slices into a stack (slices, J, K) that begins with the first annotated one."""
    places = [index - annotated[0] for index in annotated]
    for first, last in pairwise(places):
        if last - first == 1:
            continue
        fractions = [(n - first) / (last - first) for n in range(first + 1, last)]
        ends = stack[first], stack[last]
        stack[first + 1 : last] = slices_between(*ends, fractions, spacing, (last - first) * step)


def slices_between(
    first: Labels, last: Labels, fractions: Sequence[float], spacing: Floats, apart: float
) -> Labels:
    """The slices (fractions, J, K) between two annotated ones.

    Parameters
    ----------
    first, last
        Label ids (J, K), 0 is background.
    fractions
        Where the slices lie: 0 at the first, 1 at the last.
    spacing
        In plane (2,), mm.
    apart
        From the first slice to the last, mm.
    """
    ids = np.setdiff1d(np.union1d(first, last), [0])
    deepest = np.full((len(fractions), *first.shape), -np.inf, np.float32)
    winner = np.zeros(deepest.shape, first.dtype)
    for one in ids:  # ascending, so that of equally deep ones the smallest is there first
        depth = _depths((first == one, last == one), fractions, spacing, apart)
        better = depth > deepest
        deepest[better], winner[better] = depth[better], one
    inside = deepest >= 0
    if len(ids) > 1:
        together = _depths((first != 0, last != 0), fractions, spacing, apart)
        inside |= (together >= 0) & (deepest >= -spacing.min())
    return np.where(inside, winner, 0).astype(first.dtype)


def _depths(pair: Pair, fractions: Sequence[float], spacing: Floats, apart: float) -> NDArray[np.float32]:
    """How deep voxels lie inside the interpolated shapes, in mm: (fractions, J, K), 0 or more inside.

    Minus infinity far from any of its pieces.
    """
    depths = np.full((len(fractions), *pair[0].shape), -np.inf, np.float32)
    for first, last in matched_pieces(*pair, spacing, apart):
        box = _around(first | last)
        fields = _fields((first[box], last[box]), fractions, spacing)
        for depth, field in zip(depths, fields, strict=True):
            np.maximum(depth[box], field, out=depth[box], casting="same_kind")
    return depths


def _fields(pair: Pair, fractions: Sequence[float], spacing: Floats) -> list[Floats]:
    """For each fraction a field in mm (J, K): 0 or more inside the interpolated shape, less outside."""
    first, last = pair
    areas = int(first.sum()), int(last.sum())
    if 0 in areas:
        still = _signed_distance(first if areas[0] else last, spacing)
        mixed = [still] * len(fractions)
    else:
        mixed = _mixed_distances(first, last, fractions, spacing)
    levelled = []
    for share, field in zip(fractions, mixed, strict=True):
        width = (1 - share) * math.sqrt(areas[0]) + share * math.sqrt(areas[1])
        levelled.append(field - _level(field, round(width**2)))
    return levelled


def _level(field: Floats, area: int) -> float:
    """The value that ``area`` voxels reach, all equal ones included; above all of them for no voxel."""
    if area < 1:
        return float(field.max()) + 1.0
    return float(np.partition(field, field.size - area, axis=None)[field.size - area])


def _mixed_distances(first: Mask, last: Mask, fractions: Sequence[float], spacing: Floats) -> list[Floats]:
    """Signed distances mixed linearly, after each shape has gone its part of the way towards the other."""
    overlap = np.count_nonzero(first & last) / min(np.count_nonzero(first), np.count_nonzero(last))
    way = (1 - overlap) * (centroid(last) - centroid(first))
    # Room for what is moved in: distances there are true ones.
    room = [(n, n) for n in np.ceil(np.abs(way)).astype(int)]
    inner = tuple(slice(n, n + size) for (n, _), size in zip(room, first.shape, strict=True))
    distances = [_signed_distance(np.pad(mask, room), spacing) for mask in (first, last)]
    mixed = []
    for share in fractions:
        there = _moved(distances[0], share * way)[inner]
        back = _moved(distances[1], (share - 1) * way)[inner]
        mixed.append((1 - share) * there + share * back)
    return mixed


def _signed_distance(mask: Mask, spacing: Floats) -> Floats:
    """Distance in mm to the outline (J, K), positive inside.

    The outline lies halfway between a voxel and its neighbour: half the smaller spacing is taken off the
    distances between voxels. Where the array ends there is no outline.
    """
    half = spacing.min() / 2
    if mask.all():
        return np.full(mask.shape, float(np.linalg.norm(mask.shape * spacing)))
    within, outside = (scipy.ndimage.distance_transform_edt(side, spacing) for side in (mask, ~mask))
    return np.asarray(np.where(mask, within - half, half - outside))


def _moved(field: Floats, way: Floats) -> Floats:
    """The field moved by a way in voxels, linear between them."""
    return np.asarray(scipy.ndimage.shift(field, way, order=1, mode="nearest")) if way.any() else field


def _around(mask: Mask) -> tuple[slice, ...]:
    """The box (J, K) around what is True, and a margin."""
    return tuple(
        slice(max(part.start - _MARGIN, 0), min(part.stop + _MARGIN, size))
        for part, size in zip(bounding_box(mask), mask.shape, strict=True)
    )
