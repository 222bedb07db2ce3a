"""Opening and closing of each label with a ball in millimetres."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from medseg.postprocess.ball import ball_of, dilated, eroded
from medseg.postprocess.boxes import boxes_of_labels, grown
from medseg.postprocess.groups import chosen_ids
from medseg.volume import LabelMap


def opening(labelmap: LabelMap, radius_mm: float, ids: Collection[int] | None = None) -> LabelMap:
    """Remove the parts of each label that no ball of a radius fits into: thin bridges, spikes, specks.

    What is removed becomes background, also between two labels: smoothing leaves no such gaps. The edge of
    the grid removes nothing: a label goes on behind it. An absent label stays absent.

    Parameters
    ----------
    labelmap
        The segmentation; not changed.
    radius_mm
        Of the ball, which holds every voxel whose centre lies within it (a disc in a 2D image).
    ids
        Labels to open; None means all.

    Raises
    ------
    UsageError
        If the grid's spacing is unknown.
    """
    ball = ball_of(labelmap.geometry, radius_mm)
    data, chosen = labelmap.data.copy(), chosen_ids(labelmap, ids)
    for label, label_box in boxes_of_labels(labelmap.data).items():
        if label not in chosen:
            continue
        box = grown(label_box, ball.reach, data.shape)
        mask = labelmap.data[box] == label
        data[box][mask & ~dilated(eroded(mask, ball), ball)] = 0
    return replace(labelmap, data=data)


def closing(labelmap: LabelMap, radius_mm: float, ids: Collection[int] | None = None) -> LabelMap:
    """Fill background between the parts of each label that no ball of a radius fits into: cracks, notches.

    Other labels stay. Background that two labels would take goes to the lower id. Parameters and errors as in
    `opening`.
    """
    ball = ball_of(labelmap.geometry, radius_mm)
    reach = (2 * ball.reach[0], 2 * ball.reach[1], 2 * ball.reach[2])
    data, chosen = labelmap.data.copy(), chosen_ids(labelmap, ids)
    for label, label_box in boxes_of_labels(labelmap.data).items():
        if label not in chosen:
            continue
        box = grown(label_box, reach, data.shape)
        closed = eroded(dilated(labelmap.data[box] == label, ball), ball)
        data[box][closed & (data[box] == 0)] = label
    return replace(labelmap, data=data)
