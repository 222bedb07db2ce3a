"""Each voxel gets the label with the highest score: all labels at once, without gaps or overlaps.

Slab by slab, and within a slab label by label in its own box: memory does not grow with classes, nor with the
length of the scan.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from medseg.postprocess.boxes import Box, box_of_all, boxes_of_labels, grown
from medseg.postprocess.groups import chosen_ids, mask_of
from medseg.volume import LabelMap

# A mask within a box of the grid to a score there. Linear, so that the scores of all classes add up to that
# of a mask of ones, and local: what lies farther than the reach does not matter.
Score = Callable[[NDArray[np.bool_], Box], NDArray[np.floating]]

_VOXELS_AT_ONCE = 1 << 21
_MARGIN = 1e-6  # of the score of all classes: rounding moves no border


def elect(
    labelmap: LabelMap, ids: Collection[int] | None, reach: tuple[int, int, int], score: Score
) -> LabelMap:
    """The label map in which every voxel has the class, background among them, whose score is highest.

    On a tie a voxel keeps its label where that is one of the best, else gets the lowest of them. With ``ids``
    only voxels change that had, or get, one of these labels; all classes take part in the comparison.

    Parameters
    ----------
    labelmap
        The segmentation; not changed.
    ids
        Labels whose borders may move; None means all.
    reach
        How far the score of a voxel looks, in voxels along each axis.
    score
        What turns a class's mask into its scores.
    """
    data, chosen = labelmap.data, chosen_ids(labelmap, ids)
    boxes = boxes_of_labels(data)
    if not boxes:
        return labelmap
    result = data.copy()
    for part in _slabs(data, reach):
        window = grown(part, reach, data.shape)
        winners = _winners(data, boxes, part, window, reach, score)
        may_change = mask_of(data[part], chosen) | mask_of(winners, chosen)
        result[part] = np.where(may_change, winners, data[part])
    return replace(labelmap, data=result)


def _slabs(data: NDArray[np.unsignedinteger], reach: tuple[int, int, int]) -> list[Box]:
    """The box where anything can change, cut along its longest axis."""
    whole = grown(box_of_all(data), reach, data.shape)
    sizes = [s.stop - s.start for s in whole]
    axis = int(np.argmax(sizes))
    # At least twice the reach, so that most of what is computed is used.
    thick = max(1, 2 * reach[axis], _VOXELS_AT_ONCE * sizes[axis] // int(np.prod(sizes, dtype=np.int64)))
    return [
        (*whole[:axis], slice(start, min(start + thick, whole[axis].stop)), *whole[axis + 1 :])
        for start in range(whole[axis].start, whole[axis].stop, thick)
    ]


def _winners(
    data: NDArray[np.unsignedinteger],
    boxes: dict[int, Box],
    part: Box,
    window: Box,
    reach: tuple[int, int, int],
    score: Score,
) -> NDArray[np.unsignedinteger]:
    here = data[part]
    everything = score(np.ones([s.stop - s.start for s in window], np.bool_), window)[_within(part, window)]
    best, own, total = (np.zeros(here.shape, everything.dtype) for _ in range(3))
    margin = _MARGIN * everything
    winners = np.zeros_like(here)
    for label in sorted(boxes):
        box = _common(grown(boxes[label], reach, data.shape), window)
        shown = None if box is None else _common(box, part)
        if box is None or shown is None:
            continue
        mask = data[box] == label
        scores = score(mask, box)[_within(shown, box)]
        at = _within(shown, part)
        total[at] += scores
        own[at] = np.where(mask[_within(shown, box)], scores, own[at])
        better = scores > best[at] + margin[at]
        best[at] = np.where(better, scores, best[at])
        winners[at] = np.where(better, label, winners[at])
    background = everything - total
    own = np.where(here == 0, background, own)
    winners[background > best - margin] = 0
    changed = np.maximum(best, background) > own + margin
    return np.where(changed, winners, here)


def _common(a: Box, b: Box) -> Box | None:
    box = tuple(slice(max(s.start, t.start), min(s.stop, t.stop)) for s, t in zip(a, b, strict=True))
    return None if any(s.start >= s.stop for s in box) else box


def _within(inner: Box, outer: Box) -> Box:
    """A box's place in the array of another that holds it."""
    return tuple(slice(s.start - t.start, s.stop - t.start) for s, t in zip(inner, outer, strict=True))
