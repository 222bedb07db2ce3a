"""Strokes of the "Scribbles" layer and the structures they stand for; an answer as an edit. No Qt, no viewer.

In the strokes 1 is outside, and 2, 3, ... are the structures of the label set in its order.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medseg import Label, LabelSet, UsageError
from medseg.labels import Colour
from napari_medseg.editing.arguments import Over
from napari_medseg.editing.boxes import Labels, Mask, has_label
from napari_medseg.edits import Edit, edit_of
from napari_medseg.scribble.scribbles import OUTSIDE, Answer

_OUTSIDE_COLOUR: Colour = (255, 255, 255)
_MOST = 250  # structures: strokes are uint8


@dataclass(frozen=True, slots=True)
class Stroke:
    """A value of the strokes: what it means and how it looks. ``label`` is 0 for outside."""

    value: int
    label: int
    name: str
    colour: Colour


def legend(structures: Sequence[Label]) -> tuple[Stroke, ...]:
    """The strokes of a label set: outside first.

    Raises
    ------
    UsageError
        For more than 250 structures.
    """
    if len(structures) > _MOST:
        raise UsageError(f"{len(structures)} structures, expected at most {_MOST} to draw strokes for")
    drawn = (Stroke(n, one.id, one.name, one.colour) for n, one in enumerate(structures, OUTSIDE + 1))
    return (Stroke(OUTSIDE, 0, "outside", _OUTSIDE_COLOUR), *drawn)


def with_structure(strokes: Sequence[Stroke], label: int) -> tuple[Stroke, ...]:
    """The strokes, and one for a label that has none yet, after them; values that were drawn keep theirs."""
    if any(one.label == label for one in strokes):
        return tuple(strokes)
    colour = LabelSet.from_ids([label])[label].colour
    return (*strokes, Stroke(strokes[-1].value + 1, label, f"label {label}", colour))


def stroke_set(strokes: Sequence[Stroke]) -> LabelSet:
    """Names and colours of the strokes' values, for a layer."""
    return LabelSet(tuple(Label(one.value, one.name, one.colour) for one in strokes))


def answer_set(strokes: Sequence[Stroke]) -> LabelSet:
    """Names and colours of the structures, for a layer that shows an answer."""
    return LabelSet(tuple(Label(one.label, one.name, one.colour) for one in strokes if one.label))


def answered_labels(answer: Answer, strokes: Sequence[Stroke], dtype: np.dtype[Any]) -> NDArray[Any]:
    """The answer's ids on its box, 0 outside."""
    table = np.zeros(int(answer.labels.max()) + 1, dtype)
    for one in strokes:
        if one.value < len(table):
            table[one.value] = one.label
    return np.asarray(table[answer.labels])


def answer_edit(
    labels: Labels,
    answer: Answer,
    strokes: Sequence[Stroke],
    *,
    where: Mask | None = None,
    over: Over = "background",
) -> Edit:
    """Give the structures that have an answer the shape that it says, within its box.

    Their voxels that the answer calls outside become background. Labels that were not asked for stay, but for
    what ``over="all"`` lets the answer take. Outside of the answer's box nothing changes.

    Parameters
    ----------
    where
        As in `edits`.
    """
    found = answered_labels(answer, strokes, labels.dtype)
    asked = asked_labels(answer, strokes)
    old = labels[answer.box]
    ours = has_label(old, asked)
    taken = found != 0 if over == "all" else (found != 0) & (ours | (old == 0))
    new = np.where(taken, found, np.where(ours, 0, old)).astype(labels.dtype)
    return edit_of(labels, answer.box, new, where)


def asked_labels(answer: Answer, strokes: Sequence[Stroke]) -> Collection[int]:
    """The ids of the structures that the answer knows of."""
    values = set(np.unique(answer.labels).tolist())
    return [one.label for one in strokes if one.value in values and one.label]
