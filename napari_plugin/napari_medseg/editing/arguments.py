"""What the edits of a label array check of their call before they start."""

from __future__ import annotations

import math
from collections.abc import Collection
from functools import lru_cache
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from medseg import UsageError
from napari_medseg.editing.boxes import Labels, Mask

Over = Literal["background", "all"]
Spacing = tuple[float, float, float]

_OVERS = get_args(Over)


def check_call(
    labels: Labels,
    *,
    ids: Collection[int] = (),
    where: Mask | None = None,
    over: Over = "background",
    axis: int | None = None,
    index: int | None = None,
) -> None:
    """Raise `medseg.UsageError` unless the arguments that edits share fit the label array."""
    if labels.ndim != 3 or labels.dtype.kind not in "iu":
        raise UsageError(
            f"labels are {labels.dtype} of shape {labels.shape}: expected whole numbers with three axes; "
            "a picture is one slice thick"
        )
    lowest, highest = _held(labels.dtype)
    for one in ids:
        if not lowest <= one <= highest:
            raise UsageError(
                f"label {one}: the labels are {labels.dtype} and hold {lowest} to {highest}; "
                "convert them to a wider type first"
            )
    if where is not None:
        check_mask("where", where, labels)
    if over not in _OVERS:
        raise UsageError(f"over={over!r}: expected one of {', '.join(map(repr, _OVERS))}")
    if axis is not None and axis not in (0, 1, 2):
        raise UsageError(f"axis {axis}: expected 0, 1 or 2")
    if index is not None:
        if axis is None:
            raise UsageError(f"slice {index} of no axis: give the axis that it lies across as well")
        if not 0 <= index < labels.shape[axis]:
            raise UsageError(f"slice {index}: axis {axis} has slices 0 to {labels.shape[axis] - 1}")


@lru_cache(maxsize=16)  # a brush asks at every move of the mouse
def _held(dtype: np.dtype[Any]) -> tuple[int, int]:
    """The lowest and the highest number that a type of whole numbers holds."""
    held = np.iinfo(dtype)
    return int(held.min), int(held.max)


def check_length(name: str, length: float, spacing: Spacing) -> None:
    """Raise `medseg.UsageError` unless a length in mm and the spacing are finite and above 0."""
    if not 0 < length < math.inf:
        raise UsageError(f"{name} {length:g} mm: expected more than 0")
    check_spacing(spacing)


def check_spacing(spacing: Spacing) -> None:
    """Raise `medseg.UsageError` unless there are three finite spacings above 0."""
    if len(spacing) != 3 or not all(0 < one < math.inf for one in spacing):
        raise UsageError(f"spacing {tuple(spacing)}: expected three lengths in mm above 0")


def check_shape(name: str, array: NDArray[Any], labels: Labels) -> None:
    """Raise `medseg.UsageError` unless an array has the shape of the labels."""
    if array.shape != labels.shape:
        raise UsageError(f"{name} has shape {array.shape}, the labels {labels.shape}: expected the same")


def check_mask(name: str, mask: Mask, labels: Labels) -> None:
    """Raise `medseg.UsageError` unless a mask is boolean and has the shape of the labels."""
    if mask.dtype != np.bool_:
        raise UsageError(f"{name} is {mask.dtype}: expected bool")
    check_shape(name, mask, labels)
