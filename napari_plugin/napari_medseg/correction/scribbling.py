"""Strokes of the "Scribbles" layer and the structures they stand for; an answer as an edit. No Qt, no viewer.

A stroke inside a structure has the number of its label, as the labels layer has. Outside has a number that no
label has, the largest that there is. `segment_scribbles` counts otherwise: see `seeds_of`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medseg import Label, LabelSet, UsageError
from medseg.labels import Colour
from medseg.volume import count_ids, present_ids
from napari_medseg.editing.arguments import Over
from napari_medseg.editing.boxes import Labels, Mask, has_label
from napari_medseg.edits import Edit, edit_of
from napari_medseg.scribble.scribbles import OUTSIDE, Answer

NO_OUTSIDE = (
    "No stroke is outside: the answer may run into what lies around. Choose outside in the list, draw around "
    "the structure, and press Segment again"
)
_OUTSIDE_COLOUR: Colour = (255, 255, 255)
_MOST = 250  # structures: seeds are uint8


@dataclass(frozen=True, slots=True)
class Stroke:
    """A value of the strokes: what it means and how it looks. ``label`` is 0 for outside."""

    value: int
    label: int
    name: str
    colour: Colour


def legend(structures: Sequence[Label], dtype: np.dtype[Any]) -> tuple[Stroke, ...]:
    """The strokes of a label set: outside first.

    Parameters
    ----------
    structures
        Those whose ids the labels cannot hold get no stroke.
    dtype
        Of the strokes, see `stroke_dtype`.

    Raises
    ------
    UsageError
        For more than 250 structures, or where their ids leave no number for outside.
    """
    drawn = [one for one in structures if one.id <= np.iinfo(dtype).max]
    if len(drawn) > _MOST:
        raise UsageError(f"{len(drawn)} structures, expected at most {_MOST} to draw strokes for")
    outside = Stroke(_free_value([one.id for one in drawn], dtype), 0, "outside", _OUTSIDE_COLOUR)
    return (outside, *(Stroke(one.id, one.id, one.name, one.colour) for one in drawn))


def stroke_dtype(labels: np.dtype[Any]) -> np.dtype[Any]:
    """The type of strokes for labels of a type: 8 bits where these have 8, else 16, enough for every id."""
    return np.dtype(np.uint8 if labels.itemsize == 1 else np.uint16)


def with_structure(strokes: Sequence[Stroke], label: int, dtype: np.dtype[Any]) -> tuple[Stroke, ...]:
    """The strokes, and one for a label that has none yet, after them; values that were drawn keep theirs.

    Its value is the label's number, but for the number that outside has already.
    """
    if any(one.label == label for one in strokes):
        return tuple(strokes)
    if len(strokes) > _MOST:
        raise UsageError(f"there are {_MOST} structures with strokes, and more cannot be drawn at once")
    taken = [one.value for one in strokes]
    value = _free_value(taken, dtype) if label in taken else label
    colour = LabelSet.from_ids([label])[label].colour
    return (*strokes, Stroke(value, label, f"label {label}", colour))


def with_drawn(strokes: Sequence[Stroke], drawn: Labels) -> tuple[Stroke, ...]:
    """The strokes, and one for each value that somebody drew without choosing it in the list."""
    for value in set(present_ids(drawn)) - {one.value for one in strokes}:
        strokes = with_structure(strokes, value, drawn.dtype)
    return tuple(strokes)


def seeds_of(drawn: Labels, strokes: Sequence[Stroke]) -> NDArray[np.uint8]:
    """What was drawn (I, J, K) as `segment_scribbles` takes it: 1 outside, 2.. structures, as they stand.

    Raises
    ------
    UsageError
        If no stroke is inside a structure.
    """
    table = np.zeros(int(np.iinfo(drawn.dtype).max) + 1, np.uint8)
    for number, one in enumerate(strokes, start=OUTSIDE):
        table[one.value] = number
    seeds = table[drawn]
    if not (seeds > OUTSIDE).any():
        raise UsageError("no stroke is inside a structure: choose one in the list, and draw in it")
    return np.asarray(seeds)


def stroke_set(strokes: Sequence[Stroke]) -> LabelSet:
    """Names and colours of the strokes' values, for a layer."""
    return LabelSet(tuple(Label(one.value, one.name, one.colour) for one in strokes))


def answer_set(strokes: Sequence[Stroke]) -> LabelSet:
    """Names and colours of the structures, for a layer that shows an answer."""
    return LabelSet(tuple(Label(one.label, one.name, one.colour) for one in strokes if one.label))


def answered_labels(answer: Answer, strokes: Sequence[Stroke], dtype: np.dtype[Any]) -> NDArray[Any]:
    """The answer's ids on its box, 0 outside. Its numbers are those of `seeds_of`."""
    table = np.array([0] * OUTSIDE + [one.label for one in strokes], dtype)
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
    numbers = set(np.unique(answer.labels).tolist())
    return [one.label for n, one in enumerate(strokes, start=OUTSIDE) if n in numbers and one.label]


def voxel_changes(labels: Labels, edit: Edit, asked: Collection[int]) -> dict[int, tuple[int, int]]:
    """How many voxels of the whole array (I, J, K) a structure has before an edit and after it, by id.

    Those of ``asked``, also where they stay as they are, and all others whose number changes.
    """
    before, old, new = count_ids(labels), count_ids(labels[edit.box]), count_ids(edit.values)
    changes = {}
    for label in sorted((set(asked) | set(old) | set(new)) - {0}):
        now = before.get(label, 0)
        after = now - old.get(label, 0) + new.get(label, 0)
        if label in asked or after != now:
            changes[label] = (now, after)
    return changes


def accept_text(changes: Mapping[int, tuple[int, int]], names: LabelSet) -> str:
    """What Accept will do, from `voxel_changes`: ``Accept: Anterior 1,851 to 1,796 voxels, ...``."""
    if not changes:
        return "Accept: no change."
    parts = [
        f"{names[label].name if label in names.ids else f'label {label}'} {now:,} to {after:,}"
        for label, (now, after) in changes.items()
    ]
    text = f"Accept: {', '.join([f'{parts[0]} voxels', *parts[1:]])}."
    replaces = any(now for now, _ in changes.values())
    return f"{text} The answer takes the place of what is there; it is not added." if replaces else text


def _free_value(taken: Collection[int], dtype: np.dtype[Any]) -> int:
    """The largest number of a type that is not taken; 0 is."""
    value = int(np.iinfo(dtype).max)
    while value in taken:
        value -= 1
    if value == 0:
        raise UsageError(f"labels of {dtype} use all its numbers: there is none left for strokes")
    return value
