"""overlays_png: the best, the middling and the worst validation case, prediction against reference."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING

import numpy as np

from medseg.evaluation.metrics import dice_per_label
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
from medseg.report.legend import Legend
from medseg.report.planes import Plane, largest_section, normal_axis, plane_view, planes_worth_showing
from medseg.volume import LabelMap, Volume

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Case = tuple[str, Volume, LabelMap, LabelMap]

_MARGIN, _GAP, _TITLE, _HEAD = 0.15, 0.08, 0.45, 0.34  # inches
_PAGE_WIDTH, _CASE_HEIGHT = 10.0, 3.2


@dataclass(frozen=True, slots=True)
class ScoredCase:
    """A case with its Dice: of each label by name where there is one, and their mean."""

    name: str
    image: Volume
    reference: LabelMap
    prediction: LabelMap
    dice: dict[str, float]

    @property
    def mean(self) -> float:
        return fmean(self.dice.values())

    def caption(self, rank: str) -> str:
        each = ", ".join(f"{name} {score:.3f}" for name, score in list(self.dice.items())[:4])
        return f"{rank}: {self.name}, Dice {self.mean:.3f}" + (
            f" ({each})" if 1 < len(self.dice) <= 4 else ""
        )


def overlays_png(cases: Sequence[Case], path: str | Path) -> Path:
    """Draw the best, the middling and the worst of the cases by mean Dice over labels.

    The prediction is filled and outlined in its labels' colours, the reference outlined in white. Specks of
    the prediction are filled alone: a poor model has hundreds.
    Planes go through the largest structure of the reference.

    Parameters
    ----------
    cases
        ``(name, image, reference, prediction)``, each on one grid. A case without any label in
        either has no Dice and is left out.
    path
        A PNG; its folder must exist. Written atomically.

    Raises
    ------
    ValueError
        If no case has a Dice.
    """
    chosen = choose_cases(cases)
    if not chosen:
        raise ValueError(
            f"none of {len(cases)} cases has a label in its reference or prediction: nothing to draw"
        )
    return save_png(_draw(chosen), path)


def choose_cases(cases: Sequence[Case]) -> list[tuple[str, ScoredCase]]:
    """The best, median and worst case by mean Dice, with these words; fewer where there are fewer cases."""
    scored = (_score(case) for case in cases)
    ranked = sorted((case for case in scored if case.dice), key=lambda case: (-case.mean, case.name))
    if len(ranked) < 3:
        return list(zip(("best", "worst") if len(ranked) == 2 else ("the one case",), ranked, strict=False))
    return [("best", ranked[0]), ("median", ranked[len(ranked) // 2]), ("worst", ranked[-1])]


def _score(case: Case) -> ScoredCase:
    name, image, reference, prediction = case
    found = dice_per_label(prediction.data, reference.data, reference.labels.ids)
    dice = {reference.labels[n].name: score for n, score in found.items() if score is not None}
    return ScoredCase(name, image, reference, prediction, dice)


def _draw(chosen: Sequence[tuple[str, ScoredCase]]) -> Figure:
    flat = all(len(planes_worth_showing(case.image.geometry)) == 1 for _, case in chosen)
    block_width = _PAGE_WIDTH - 2 * _MARGIN
    if flat:  # pictures go side by side, volumes below each other
        block_width = (block_width - _GAP * (len(chosen) - 1)) / len(chosen)
    blocks = [(rank, case, *_layout(case, block_width)) for rank, case in chosen]
    heights = [_HEAD + height for *_, height in blocks]
    legend = Legend([(label, "") for label in chosen[0][1].reference.labels], _PAGE_WIDTH - 2 * _MARGIN)
    top = _TITLE + legend.height
    figure = new_figure(_PAGE_WIDTH, top + (max(heights) if flat else sum(heights)) + _MARGIN)
    header = axes_inches(figure, _MARGIN, 0, legend.width, _TITLE)
    write(header, 0, 0.45, "Prediction: filled. Reference: white outline.", size=10, color=FAINT, va="center")
    legend.draw(axes_inches(figure, _MARGIN, _TITLE, legend.width, legend.height))
    left = _MARGIN
    for (rank, case, scale, _), height in zip(blocks, heights, strict=True):
        _draw_case(figure, case, case.caption(rank), (left, top, block_width), scale)
        left, top = (left + block_width + _GAP, top) if flat else (left, top + height)
    return figure


def _layout(case: ScoredCase, block_width: float) -> tuple[float, float]:
    """Inches per mm, and the height of the panes in inches."""
    planes = planes_worth_showing(case.image.geometry)
    widths, heights = zip(
        *(plane_view(case.reference.data, case.image.geometry, plane, 0).extents_mm for plane in planes),
        strict=True,
    )
    scale = min((block_width - _GAP * (len(planes) - 1)) / sum(widths), _CASE_HEIGHT / max(heights))
    return scale, max(heights) * scale


def _draw_case(
    figure: Figure, case: ScoredCase, caption: str, place: tuple[float, float, float], scale: float
) -> None:
    left, top, width = place
    write(axes_inches(figure, left, top, width, _HEAD), 0, 0.35, caption, size=10, va="center")
    window = display_window(case.image)
    for plane in planes_worth_showing(case.image.geometry):
        index = _index(case, plane)
        image, reference, prediction = (
            plane_view(data, case.image.geometry, plane, index)
            for data in (case.image.data[0], case.reference.data, case.prediction.data)
        )
        pane_width, pane_height = (mm * scale for mm in image.extents_mm)
        axes = axes_inches(figure, left, top + _HEAD, pane_width, pane_height)
        draw_slice(axes, image, window)
        for label in case.reference.labels:
            draw_mask(
                axes, prediction.pixels == label.id, rgb(label.colour), fill=0.35, width=0.9, specks=False
            )
        for label in case.reference.labels:
            draw_mask(axes, reference.pixels == label.id, INK, width=1.1)
        if case.image.source.format != "image":
            draw_letters(axes, image)
        left += pane_width + _GAP


def _index(case: ScoredCase, plane: Plane) -> int:
    """The slice with most of the reference's largest structure, or the prediction's if there is none."""
    shown = case.reference if case.reference.data.any() else case.prediction
    counts = np.bincount(shown.data.ravel())
    counts[0] = 0
    return largest_section(shown.data == counts.argmax(), normal_axis(case.image.geometry, plane))
