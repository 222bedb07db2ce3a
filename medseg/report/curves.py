"""The curves of a training run. Its cases are in `overlays`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from medseg.report.drawing import FAINT, INK, PAGE, new_figure, save_png, write

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Row = Mapping[str, float | None]
_COLOURS = ("#e69f00", "#56b4e9", "#009e73", "#f0e442", "#0072b2", "#d55e00", "#cc79a7")


def curves_png(history: Sequence[Row], path: str | Path) -> Path:
    """Draw loss and learning rate over steps, and Dice over steps where there was validation.

    Parameters
    ----------
    history
        Rows with ``step`` and any of ``loss``, ``learning_rate`` (or ``lr``), ``mean_dice`` and one
        ``dice <label>`` for each label. Rows of steps and of validations may be mixed, in any order;
        a number that is absent, None or not finite is a gap.
    path
        A PNG; its folder must exist. Written atomically.
    """
    rows = sorted(history, key=lambda row: row["step"] or 0)
    figure = new_figure(10.0, 4.2)
    _draw_loss(_plot(figure, 0.06, "loss"), rows)
    _draw_dice(_plot(figure, 0.565, "Dice on validation cases"), rows)
    return save_png(figure, path)


def _plot(figure: Figure, left: float, title: str) -> Axes:
    axes = figure.add_axes((left, 0.12, 0.39, 0.79), facecolor=PAGE)
    axes.set_title(title, color=INK, fontsize=11, loc="left")
    axes.set_xlabel("step", color=FAINT, fontsize=9)
    axes.locator_params(axis="x", integer=True)  # there is no half step
    axes.tick_params(colors=FAINT, labelsize=8)
    axes.grid(color=FAINT, alpha=0.2, linewidth=0.6)
    for spine in axes.spines.values():
        spine.set_color(FAINT)
        spine.set_alpha(0.4)
    return axes


def _draw_loss(axes: Axes, rows: Sequence[Row]) -> None:
    steps, losses = _series(rows, "loss")
    if not len(steps):
        write(axes, 0.5, 0.5, "no step has been logged yet", color=FAINT, ha="center")
        return
    axes.plot(steps, losses, color=_COLOURS[1], linewidth=0.7, alpha=0.35)
    width = max(1, len(losses) // 50)
    axes.plot(
        steps,
        _running_mean(losses, width),
        color=_COLOURS[1],
        linewidth=1.8,
        marker="o" if len(steps) < 3 else None,
    )
    if len(losses) > 20:  # the first steps are so high that the rest would lie flat on the axis
        low, high = losses.min(), np.percentile(losses, 99)
        axes.set_ylim(low - 0.05 * (high - low), high + 0.1 * (high - low) + 1e-9)
    key = "learning_rate" if any("learning_rate" in row for row in rows) else "lr"
    steps, rates = _series(rows, key)
    if len(steps):
        twin = axes.twinx()
        twin.plot(steps, rates, color=FAINT, linewidth=1.0, linestyle="dotted")
        twin.set_ylabel("learning rate (dotted)", color=FAINT, fontsize=8)
        twin.tick_params(colors=FAINT, labelsize=7)
        twin.set_ylim(0, 1.05 * rates.max() + 1e-12)
        twin.ticklabel_format(axis="y", style="sci", scilimits=(0, 0))
        twin.yaxis.get_offset_text().set(color=FAINT, size=7)
        for spine in twin.spines.values():
            spine.set_visible(False)


def _draw_dice(axes: Axes, rows: Sequence[Row]) -> None:
    names = dict.fromkeys(key for row in rows for key in row if key.startswith("dice "))
    curves = [(name.removeprefix("dice "), *_series(rows, name)) for name in names]
    curves = [curve for curve in curves if len(curve[1])]
    steps, mean = _series(rows, "mean_dice")
    if not curves and not len(steps):
        write(axes, 0.5, 0.5, "no validation", color=FAINT, ha="center")
        return
    many = len(curves) > 8  # a legend of every structure would hide the curves
    for (name, at, dice), colour in zip(curves, cycle(_COLOURS), strict=False):
        label = None if many else name
        axes.plot(
            at, dice, color=colour, linewidth=1.0 if many else 1.4, marker="o", markersize=2.5, label=label
        )
    if len(steps):
        best = int(mean.argmax())
        text = f"mean of {len(curves)} labels" if many else "mean"
        axes.plot(
            steps, mean, color=INK, linewidth=2.0, label=f"{text}, best {mean[best]:.3f} at {steps[best]:.0f}"
        )
        axes.plot(steps[best], mean[best], color=INK, marker="*", markersize=10)
    axes.set_ylim(None, 1.0)
    legend = axes.legend(
        loc="best", fontsize=8, facecolor=PAGE, edgecolor=FAINT, labelcolor=INK, framealpha=0.8
    )
    for text_artist in legend.get_texts():
        text_artist.set_parse_math(False)


def _series(rows: Sequence[Row], key: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    found = [(row["step"], row[key]) for row in rows if row.get(key) is not None]
    points = np.array(found, dtype=np.float64).reshape(-1, 2)
    points = points[np.isfinite(points).all(axis=1)]
    return points[:, 0], points[:, 1]


def _running_mean(values: NDArray[np.float64], width: int) -> NDArray[np.float64]:
    """Mean over ``width`` neighbours each way, fewer at the ends."""
    sums = np.concatenate(((0.0,), np.cumsum(values)))
    n = np.arange(len(values))
    first, last = np.maximum(n - width, 0), np.minimum(n + width + 1, len(values))
    mean: NDArray[np.float64] = (sums[last] - sums[first]) / (last - first)
    return mean
