"""confusion_png: which labels are taken for which, as a matrix and in words."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from medseg.evaluation.confusion import Confusion, MixUp
from medseg.report.drawing import FAINT, INK, PAGE, axes_inches, new_figure, save_png, write
from medseg.report.legend import shortened

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_WIDTH, _TOP, _EDGE = 10.0, 0.62, 0.15  # inches
_NAMES_LEFT, _NAMES_ABOVE, _LINE = 1.75, 1.3, 0.21
_LARGEST_CELL, _WORDS_WIDTH = 0.75, 3.5
_MOST_BESIDE = 10  # rows up to which the words fit beside the matrix
_MOST_NUMBERED = 45  # rows beyond which a number no longer fits into its cell
_MOST_WORDS = 10


def confusion_png(confusion: Confusion, path: str | Path, *, title: str = "") -> Path:
    """Draw the matrix by rows: where the voxels of each structure went, in per cent of them.

    Colours run from dark blue over grey to yellow, which all readers tell apart; small shares are drawn
    apart by the colours of their square roots. A row without any voxel in the reference is left empty.

    Parameters
    ----------
    confusion
        Over any number of cases.
    path
        A PNG; its folder must exist. Written atomically.
    title
        Stands above; what was counted is said below it.
    """
    n = len(confusion.names)
    beside = n <= _MOST_BESIDE
    room = _WIDTH - _NAMES_LEFT - _EDGE - (_WORDS_WIDTH if beside else 0)
    cell = min(_LARGEST_CELL, room / n)
    columns = (
        _lines("Taken for each other", confusion.between_labels(), 50 if beside else 72),
        _lines("Missed or found wrongly", confusion.with_background(), 50 if beside else 72),
    )
    matrix_height = _TOP + _NAMES_ABOVE + n * cell
    # Words stand in a column beside a small matrix, in two below a large one.
    if beside:
        left = _WIDTH - _WORDS_WIDTH + _EDGE
        places = ((left, _TOP), (left, _TOP + _LINE * (len(columns[0]) + 1)))
        bottom = max(matrix_height, places[1][1] + _LINE * len(columns[1]))
    else:
        places = ((_EDGE, matrix_height + _EDGE), (_WIDTH / 2, matrix_height + _EDGE))
        bottom = matrix_height + _EDGE + _LINE * max(map(len, columns))
    figure = new_figure(_WIDTH, bottom + _EDGE)
    header = axes_inches(figure, _EDGE, 0, _WIDTH - 2 * _EDGE, _TOP)
    write(header, 0, 0.68, title or "Confusion of labels", size=12, va="center")
    text = "Row: what it is. Column: what it was taken for. Per cent of the row's voxels, over all cases."
    write(header, 0, 0.25, text, color=FAINT, va="center")
    _draw_matrix(axes_inches(figure, _NAMES_LEFT, _TOP + _NAMES_ABOVE, n * cell, n * cell), confusion, cell)
    for lines, (left, top) in zip(columns, places, strict=True):
        axes = axes_inches(figure, left, top, _WORDS_WIDTH, _LINE * len(lines))
        for number, (line, colour) in enumerate(lines):
            write(axes, 0, 1 - (number + 0.5) / len(lines), line, color=colour, size=8.5, va="center")
    return save_png(figure, path)


def _lines(head: str, mix_ups: Sequence[MixUp], longest: int) -> list[tuple[str, str]]:
    words = [shortened(one.words, longest) for one in mix_ups]
    lines = [(line, INK) for line in words[:_MOST_WORDS]] or [("nothing above 0.5 %", INK)]
    if len(words) > _MOST_WORDS:
        lines.append((f"and {len(words) - _MOST_WORDS} more in report.json", FAINT))
    return [(head, FAINT), *lines]


def _draw_matrix(axes: Axes, confusion: Confusion, cell: float) -> None:
    from matplotlib import colormaps
    from matplotlib.colors import PowerNorm

    shares, n = confusion.shares, len(confusion.names)
    colours = colormaps["cividis"].with_extremes(bad=PAGE)
    norm = PowerNorm(0.5, 0.0, 1.0)
    axes.imshow(np.ma.masked_invalid(shares), cmap=colours, norm=norm, aspect="auto")
    axes.set_axis_on()
    axes.tick_params(length=0, labeltop=True, labelbottom=False, top=False, bottom=False)
    size = min(9.0, 60 * cell)
    names = [shortened(name, 22) for name in confusion.names]
    axes.set_yticks(range(n), names, size=size, color=INK, parse_math=False)
    turned = 40 if n <= _MOST_BESIDE else 90
    axes.set_xticks(
        range(n),
        [shortened(name, 22 if turned < 90 else 18) for name in confusion.names],
        size=size,
        color=INK,
        rotation=turned,
        ha="left",
        va="bottom" if turned < 90 else "center",
        rotation_mode="anchor",
        parse_math=False,
    )
    axes.set_xticks(np.arange(n - 1) + 0.5, minor=True)
    axes.set_yticks(np.arange(n - 1) + 0.5, minor=True)
    axes.grid(which="minor", color=PAGE, linewidth=min(2.0, 12 * cell / n + 0.3))
    axes.tick_params(which="minor", length=0)
    for spine in axes.spines.values():
        spine.set_color(FAINT)
        spine.set_alpha(0.4)
    for row in range(n):
        if np.isnan(shares[row, 0]):
            axes.text(
                (n - 1) / 2,
                row,
                "not in the reference",
                color=FAINT,
                size=0.8 * size,
                ha="center",
                va="center",
            )
            continue
        for column in range(n) if n <= _MOST_NUMBERED else ():
            text = _number(float(shares[row, column]), coarse=n > _MOST_BESIDE)
            dark = norm(shares[row, column]) < 0.55
            axes.text(
                column,
                row,
                text,
                color=INK if dark else PAGE,
                size=min(9.5, 29 * cell),
                ha="center",
                va="center",
            )


def _number(share: float, *, coarse: bool) -> str:
    """Per cent in a cell: nothing where there is no voxel, one digit after the point below ten."""
    value = 100 * share
    if value == 0 or (coarse and value < 0.5):
        return ""
    if value < 0.05:
        return "<0.1"
    return f"{value:.0f}" if coarse or value >= 99.95 or value == round(value) else f"{value:.1f}"
