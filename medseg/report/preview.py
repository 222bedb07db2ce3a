"""preview_png: one look at a segmentation, as `infer --preview` writes it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from medseg.io.files import stem
from medseg.labels import Label
from medseg.measure import Measurement, measure
from medseg.report.drawing import (
    axes_inches,
    display_window,
    draw_letters,
    draw_mask,
    draw_scale_bar,
    draw_slice,
    new_figure,
    rgb,
    save_png,
    write,
)
from medseg.report.legend import Legend, shortened
from medseg.report.panes import Pane, panes
from medseg.volume import LabelMap, Volume

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_MARGIN, _GAP, _TITLE = 0.15, 0.08, 0.45  # inches
_PAGE_WIDTH, _PANES_HEIGHT = 10.0, 5.5
_MIN_WIDTH = 5.0


def preview_png(
    volume: Volume,
    labelmap: LabelMap,
    measurements: Sequence[Measurement] | None,
    path: str | Path,
    *,
    title: str | None = None,
) -> Path:
    """Draw a segmentation over its scan: three planes through the largest structure, and a legend.

    Each plane shows the slice with most of the largest structure, in radiological convention, all to
    one scale. A 2D image is one picture.

    Parameters
    ----------
    volume, labelmap
        On one grid. Of several channels the first is shown.
    measurements
        Of `measure`; None measures here.
    path
        A PNG; its folder must exist. Written atomically, replacing what is there.
    title
        Default: the stem of the scan's file. Nothing else about the patient is written.
    """
    if volume.geometry.shape != labelmap.geometry.shape:
        raise ValueError(
            f"scan of shape {volume.geometry.shape}, labels of {labelmap.geometry.shape}: expected one grid"
        )
    measured = measure(labelmap) if measurements is None else measurements
    present = sorted((m for m in measured if m.voxels), key=lambda m: m.voxels, reverse=True)
    shown = panes(volume, labelmap, present[0].id if present else None)
    entries = _entries(present, labelmap)
    if title is None:
        title = stem(volume.source.paths[0]) if volume.source.paths else ""
    figure = _draw(shown, entries, volume, labelmap, title)
    return save_png(figure, path)


def _entries(present: Sequence[Measurement], labelmap: LabelMap) -> list[tuple[Label, str]]:
    """The legend: labels that occur, in order of id, each with its size."""
    total = labelmap.data.size
    entries = []
    for found in sorted(present, key=lambda m: m.id):
        size = (
            f"{found.voxels / total:.1%}" if found.volume_ml is None else f"{_readable(found.volume_ml)} mL"
        )
        entries.append((labelmap.labels[found.id], size))
    return entries


def _readable(number: float) -> str:
    """About three figures, without exponents."""
    decimals = next((n for n, limit in ((0, 100), (1, 10), (2, 0.1), (3, 0.01)) if number >= limit), 4)
    return f"{number:.{decimals}f}"


def _draw(
    shown: Sequence[Pane],
    entries: Sequence[tuple[Label, str]],
    volume: Volume,
    labelmap: LabelMap,
    title: str,
) -> Figure:
    # One scale for all panes, in inches per mm: as large as page and height allow.
    widths, heights = zip(*(pane.image.extents_mm for pane in shown), strict=True)
    gaps = _GAP * (len(shown) - 1)
    scale = min((_PAGE_WIDTH - 2 * _MARGIN - gaps) / sum(widths), _PANES_HEIGHT / max(heights))
    page_width = max(sum(widths) * scale + gaps + 2 * _MARGIN, _MIN_WIDTH)
    text_width, panes_height = page_width - 2 * _MARGIN, max(heights) * scale
    legend = Legend(entries, text_width)
    figure = new_figure(page_width, _TITLE + panes_height + _GAP + legend.height + _MARGIN)
    header = axes_inches(figure, _MARGIN, 0, text_width, _TITLE)
    write(header, 0, 0.45, shortened(title, int(text_width / 0.11)), size=12, weight="bold", va="center")
    window = display_window(volume)
    left = (page_width - sum(widths) * scale - gaps) / 2
    for n, pane in enumerate(shown):
        width, height = widths[n] * scale, heights[n] * scale
        axes = axes_inches(figure, left, _TITLE + (panes_height - height) / 2, width, height)
        draw_slice(axes, pane.image, window)
        for label in labelmap.labels:
            draw_mask(axes, pane.labels == label.id, rgb(label.colour), fill=0.35)
        if volume.source.format != "image":  # a picture does not say how it lies in the patient
            draw_letters(axes, pane.image)
        if n == 0 and labelmap.geometry.spacing_known:
            draw_scale_bar(axes, widths[n])
        left += width + _GAP
    at_bottom = axes_inches(figure, _MARGIN, _TITLE + panes_height + _GAP, text_width, legend.height)
    if entries:
        legend.draw(at_bottom)
    else:
        text = "Nothing was segmented: no voxel carries a label."
        write(at_bottom, 0, 0.5, text, color="#ffb454", size=11, va="center")
    return figure
