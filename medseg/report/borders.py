"""borders_png: how well the border of each label was met, case by case."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from medseg.evaluation.cases import CaseScores
from medseg.report.drawing import FAINT, INK, PAGE, axes_inches, new_figure, save_png, write
from medseg.report.legend import shortened

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_WIDTH, _TOP, _ROW, _BOTTOM, _EDGE = 10.0, 0.95, 0.3, 0.45, 0.15  # inches
_NAMES, _GAP = 2.0, 0.25
_MOST_LABELS = 40
_DOT = "#56b4e9"


def borders_png(
    cases: Sequence[CaseScores], path: str | Path, *, unit: str = "mm", tolerance: float = 1.0
) -> Path:
    """Draw surface Dice, the 95 % Hausdorff and the mean surface distance of each label, a dot per case.

    A white stroke is the median. Labels stand in the order of their median surface Dice, the worst first; of
    more than 40 the worst 40 are drawn. A number that is missing in a case has no dot; a label that some
    cases lack altogether has the count of the others behind its name.

    Parameters
    ----------
    cases
        With the metrics ``surface_dice``, ``hd95`` and ``mean_surface_distance``.
    path
        A PNG; its folder must exist. Written atomically.
    unit
        Of the distances.
    tolerance
        Of surface Dice, in that unit.
    """
    rows = _rows(cases)
    shown = rows[:_MOST_LABELS]
    height = _TOP + _ROW * max(1, len(shown)) + _BOTTOM
    figure = new_figure(_WIDTH, height)
    header = axes_inches(figure, _EDGE, 0, _WIDTH - 2 * _EDGE, 0.6)
    write(
        header,
        0,
        0.66,
        f"Borders of each label, {len(cases)} case{'s' if len(cases) > 1 else ''}",
        size=12,
        va="center",
    )
    note = "A dot is a case, the white stroke the median; the worst labels stand first."
    if any(len(values["surface_dice"]) < len(cases) for _, values in shown):
        note += " In brackets: how many cases have the label at all."
    if len(rows) > len(shown):
        note += f" All {len(rows)} are in cases.csv."
    write(header, 0, 0.2, note, color=FAINT, va="center")
    width = (_WIDTH - _NAMES - _EDGE - 2 * _GAP) / 3
    heads = (
        ("surface_dice", f"surface Dice within {tolerance:g} {unit.removesuffix('s')}"),
        ("hd95_mm", f"95 % Hausdorff distance, {unit}"),
        ("mean_surface_distance_mm", f"mean surface distance, {unit}"),
    )
    for number, (key, head) in enumerate(heads):
        left = _NAMES + number * (width + _GAP)
        axes = axes_inches(figure, left, _TOP, width, _ROW * max(1, len(shown)))
        _draw(axes, [row[1][key] for row in shown], head, from_0_to_1=key == "surface_dice")
        if number == 0:
            names = [_name(name, len(values[key]), len(cases)) for name, values in shown]
            axes.set_yticks(range(len(shown)), names, color=INK, size=9, parse_math=False)
    return save_png(figure, path)


def _name(label: str, found: int, cases: int) -> str:
    return shortened(label, 22) if found == cases else f"{shortened(label, 14)} ({found} of {cases})"


def _rows(cases: Sequence[CaseScores]) -> list[tuple[str, dict[str, list[float]]]]:
    """Of each label its name and its numbers over the cases that have them, the worst label first."""
    found: dict[str, dict[str, list[float]]] = {}
    for case in cases:
        for label in case.labels:
            keys = ("surface_dice", "hd95_mm", "mean_surface_distance_mm")
            numbers = found.setdefault(label.name, {key: [] for key in keys})
            for key, values in numbers.items():
                if (value := getattr(label, key)) is not None:
                    values.append(value)
    return sorted(found.items(), key=lambda row: median(row[1]["surface_dice"] or [2.0]))


def _draw(axes: Axes, rows: Sequence[Sequence[float]], head: str, *, from_0_to_1: bool) -> None:
    axes.set_axis_on()
    axes.set_facecolor(PAGE)
    axes.set_title(head, color=INK, fontsize=9, loc="left", parse_math=False)
    axes.set_yticks(range(len(rows)), [""] * len(rows))
    axes.tick_params(colors=FAINT, labelsize=8, length=0)
    axes.grid(axis="x", color=FAINT, alpha=0.25, linewidth=0.6)
    axes.set_ylim(max(1, len(rows)) - 0.5, -0.5)
    for spine in axes.spines.values():
        spine.set_color(FAINT)
        spine.set_alpha(0.4)
    for row, values in enumerate(rows):
        axes.plot(values, [row] * len(values), "o", color=_DOT, markersize=4, alpha=0.6, markeredgewidth=0)
        if values:
            axes.vlines(median(values), row - 0.36, row + 0.36, color=INK, linewidth=2)
    largest = max((value for values in rows for value in values), default=0.0)
    if not any(len(values) for values in rows):
        write(axes, 0.5, 0.5, "no case has it", color=FAINT, ha="center", va="center")
        axes.set_xticks([])
        return
    axes.set_xlim(-0.03, 1.03) if from_0_to_1 else axes.set_xlim(-0.03 * largest, 1.06 * largest or 1.0)
