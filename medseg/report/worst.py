"""worst_png: the worst cases of a validation, each in the slice where most went wrong."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from medseg.labels import Colour, LabelSet
from medseg.report.drawing import (
    FAINT,
    INK,
    axes_inches,
    display_window,
    draw_letters,
    draw_mask,
    draw_slice,
    new_figure,
    rgb,
    save_png,
    write,
)
from medseg.report.legend import Legend, shortened
from medseg.report.planes import PlaneView, largest_section, normal_axis, plane_view, planes_worth_showing
from medseg.volume import LabelMap, Volume

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_WIDTH, _EDGE, _GAP = 10.0, 0.15, 0.1  # inches
_TEXT, _HEAD, _CAPTION = 2.25, 0.62, 0.28
_TALLEST = 2.3
_MARGIN = 0.35  # of the structures' larger edge, kept round them
_KINDS: tuple[tuple[str, Colour], ...] = (
    ("missed", (213, 94, 0)),
    ("invented", (204, 121, 167)),
    ("other label", (240, 228, 66)),
)


@dataclass(frozen=True, slots=True)
class ErrorView:
    """One slice of a case, which is all that is kept of it: many cases fit into memory.

    Parameters
    ----------
    name
        Of the case.
    lines
        What is said beside the slice.
    image
        The scan's first channel.
    reference, prediction
        Label ids, (rows, columns) as the image's.
    window
        Intensities shown as black and white.
    lettered
        Whether the borders of the slice have directions in the patient.
    """

    name: str
    lines: tuple[str, ...]
    image: PlaneView
    reference: NDArray[np.unsignedinteger]
    prediction: NDArray[np.unsignedinteger]
    window: tuple[float, float]
    lettered: bool


def error_view(
    name: str, image: Volume, reference: LabelMap, prediction: LabelMap, lines: Sequence[str] = ()
) -> ErrorView:
    """The slice in which most of a case's voxels are wrong, close up on the structures there.

    Of the planes worth showing it is the one whose worst slice has the largest area of errors; a tie goes
    to the first. Where nothing is wrong, it is the middle of the first plane.
    """
    geometry, wrong = image.geometry, reference.data != prediction.data
    best = -1.0
    for plane in planes_worth_showing(geometry):
        axis = normal_axis(geometry, plane)
        index = largest_section(wrong, axis)
        count = int(np.count_nonzero(np.moveaxis(wrong, axis, 0)[index]))
        area = count * geometry.voxel_volume_mm3 / geometry.spacing[axis]
        if area > best:
            best, chosen = area, (plane, index)
    plane, index = chosen
    views = [
        plane_view(data, geometry, plane, index) for data in (image.data[0], reference.data, prediction.data)
    ]
    rows, columns = _close_up((views[1].pixels > 0) | (views[2].pixels > 0), views[0].extents_mm)
    whole, pixels = views[0], views[0].pixels[rows, columns]
    extents = (
        whole.extents_mm[0] * pixels.shape[1] / whole.pixels.shape[1],
        whole.extents_mm[1] * pixels.shape[0] / whole.pixels.shape[0],
    )
    # Copies: a view would keep the whole scan in memory.
    return ErrorView(
        name,
        tuple(lines),
        PlaneView(pixels.copy(), extents, whole.letters),
        views[1].pixels[rows, columns].copy(),
        views[2].pixels[rows, columns].copy(),
        display_window(image),
        image.source.format != "image",
    )


def worst_png(views: Sequence[ErrorView], labels: LabelSet, path: str | Path, *, title: str = "") -> Path:
    """Draw cases below each other: what the reference says, what was predicted, and where they differ.

    Parameters
    ----------
    views
        In the order in which they are drawn.
    labels
        Whose colours the reference and the prediction get; those that occur stand in the legend.
    path
        A PNG; its folder must exist. Written atomically.
    title
        Stands above.

    Raises
    ------
    ValueError
        If there is no case.
    """
    if not views:
        raise ValueError("no case to draw")
    pane = (_WIDTH - 2 * _EDGE - _TEXT - 2 * _GAP) / 3
    sizes = [_size(view, pane) for view in views]
    occurring = {
        int(n) for view in views for data in (view.reference, view.prediction) for n in np.unique(data)
    }
    legend = Legend([(label, "") for label in labels if label.id in occurring], _WIDTH - 2 * _EDGE)
    top = _HEAD + legend.height
    figure = new_figure(_WIDTH, top + _CAPTION + sum(height + _GAP for _, height in sizes) + _EDGE)
    header = axes_inches(figure, _EDGE, 0, legend.width, _HEAD)
    write(header, 0, 0.6, title or "Worst cases", size=12, va="center")
    legend.draw(axes_inches(figure, _EDGE, _HEAD, legend.width, legend.height))
    for number, caption in enumerate(("reference", "prediction")):
        axes = axes_inches(figure, _EDGE + _TEXT + number * (pane + _GAP), top, pane, _CAPTION)
        write(axes, 0, 0.5, caption, color=FAINT, va="center")
    _draw_kinds(axes_inches(figure, _EDGE + _TEXT + 2 * (pane + _GAP), top, pane, _CAPTION))
    top += _CAPTION
    for view, (width, height) in zip(views, sizes, strict=True):
        _draw_text(axes_inches(figure, _EDGE, top, _TEXT - _GAP, height), view, height)
        for number in range(3):
            left = _EDGE + _TEXT + number * (pane + _GAP)
            axes = axes_inches(figure, left, top, width, height)
            draw_slice(axes, view.image, view.window)
            _draw_labels(axes, view, labels, number)
            if view.lettered:
                draw_letters(axes, view.image)
        top += height + _GAP
    return save_png(figure, path)


def _draw_kinds(axes: Axes) -> None:
    for number, (name, colour) in enumerate(_KINDS):
        x = number * 0.33
        axes.plot(x + 0.02, 0.5, "s", transform=axes.transAxes, markersize=7, color=rgb(colour))
        write(axes, x + 0.06, 0.5, name, color=FAINT, va="center")


def _draw_labels(axes: Axes, view: ErrorView, labels: LabelSet, number: int) -> None:
    if number < 2:
        shown = (view.reference, view.prediction)[number]
        for label in labels:
            draw_mask(axes, shown == label.id, rgb(label.colour), fill=0.35, width=1.1, specks=number == 0)
        return
    wrong = view.reference != view.prediction
    masks = (
        wrong & (view.prediction == 0),
        wrong & (view.reference == 0),
        wrong & (view.prediction > 0) & (view.reference > 0),
    )
    for mask, (_, colour) in zip(masks, _KINDS, strict=True):
        draw_mask(axes, mask, rgb(colour), fill=0.75, width=0)


def _draw_text(axes: Axes, view: ErrorView, height: float) -> None:
    write(axes, 0, 1, shortened(view.name, 28), size=10, va="top")
    for number, line in enumerate(view.lines):
        y = 1 - 0.22 * (number + 1.2) / height
        if y > 0.08:
            write(axes, 0, y, shortened(line, 34), color=FAINT if number else INK, size=8.5, va="top")


def _size(view: ErrorView, pane: float) -> tuple[float, float]:
    """Width and height of a case's panes in inches."""
    width_mm, height_mm = view.image.extents_mm
    scale = min(pane / width_mm, _TALLEST / height_mm)
    return width_mm * scale, height_mm * scale


def _close_up(marked: NDArray[np.bool_], extents_mm: tuple[float, float]) -> tuple[slice, slice]:
    """Rows and columns of a box round what is marked; all of them where nothing is."""
    if not marked.any():
        return slice(None), slice(None)
    pixel_mm = (extents_mm[1] / marked.shape[0], extents_mm[0] / marked.shape[1])
    ranges = [np.flatnonzero(marked.any(axis=axis))[[0, -1]] for axis in (1, 0)]
    edge_mm = max((last + 1 - first) * mm for (first, last), mm in zip(ranges, pixel_mm, strict=True))
    rows, columns = (
        slice(max(0, int(first - _MARGIN * edge_mm / mm)), min(n, int(last + 2 + _MARGIN * edge_mm / mm)))
        for (first, last), mm, n in zip(ranges, pixel_mm, marked.shape, strict=True)
    )
    return rows, columns
