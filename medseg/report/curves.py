"""The curves of a training run. Its cases are in `overlays`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from medseg.report.drawing import FAINT, INK, PAGE, new_figure, save_png, write
from medseg.report.legend import shortened

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Row = Mapping[str, float | None]
_Points = tuple[NDArray[np.float64], NDArray[np.float64]]
_MOST_ROWS = 14
_COLOURS = ("#e69f00", "#56b4e9", "#009e73", "#f0e442", "#0072b2", "#d55e00", "#cc79a7")


def curves_png(history: Sequence[Row], path: str | Path) -> Path:
    """Draw loss and learning rate over steps, and Dice over steps where there was validation.

    Of one validation there is no curve: each label's Dice is a row, the lowest first, of more than 14 the
    lowest 14.

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
    _draw_loss(_over_steps(figure, 0.06, "loss", rows), rows)
    means = _series(rows, "mean_dice")
    labels = {name: points for name, points in _label_series(rows).items() if len(points[0])}
    steps = np.unique(np.concatenate([at for at, _ in (means, *labels.values())]))
    if len(steps) == 1:
        text = f"Dice on validation cases at step {steps[0]:.0f}"
        last = {name: float(dice[-1]) for name, (_, dice) in labels.items()}
        _draw_one_validation(figure, text, last, means[1])
    elif len(steps):
        axes = _over_steps(figure, 0.565, "Dice on validation cases", rows)
        _draw_dice(axes, labels, means)
    else:
        axes = _plot(figure, 0.565, 0.39, "Dice on validation cases")
        axes.set(xticks=(), yticks=())
        write(axes, 0.5, 0.5, "this run has no validation", color=FAINT, ha="center")
    return save_png(figure, path)


def _over_steps(figure: Figure, left: float, title: str, rows: Sequence[Row]) -> Axes:
    """Axes over all steps of the run, so that loss and Dice stand above the same ones."""
    axes = _plot(figure, left, 0.39, title)
    axes.set_xlabel("step", color=FAINT, fontsize=9)
    last = max((row["step"] or 0 for row in rows), default=0)
    axes.set_xlim(-0.04 * max(last, 1), 1.04 * max(last, 1))
    axes.locator_params(axis="x", integer=True)  # there is no half step
    return axes


def _plot(figure: Figure, left: float, width: float, title: str) -> Axes:
    axes = figure.add_axes((left, 0.12, width, 0.79), facecolor=PAGE)
    axes.set_title(title, color=INK, fontsize=11, loc="left")
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


def _draw_dice(axes: Axes, labels: Mapping[str, _Points], means: _Points) -> None:
    text = "mean"
    if len(labels) == 1 and len(means[0]):  # its curve is that of the mean
        text, labels = next(iter(labels)), {}
    many = len(labels) > 8  # a legend of every structure would hide the curves
    few_points = max(len(at) for at, _ in (means, *labels.values())) <= 10
    for (name, (at, dice)), colour in zip(labels.items(), cycle(_COLOURS), strict=False):
        axes.plot(
            at,
            dice,
            color=colour,
            linewidth=1.0 if many else 1.4,
            marker="o",
            markersize=5 if few_points else 2.5,
            label=None if many else name,
        )
    steps, mean = means
    if len(steps):
        best = int(mean.argmax())
        text = f"mean of {len(labels)} labels" if many else text
        axes.plot(
            steps,
            mean,
            color=INK,
            linewidth=2.0,
            marker="o" if few_points else None,
            markersize=5,
            label=f"{text}, best {mean[best]:.3f} at {steps[best]:.0f}",
        )
        axes.plot(steps[best], mean[best], color=INK, marker="*", markersize=10)
    low = min((float(dice.min()) for _, dice in (means, *labels.values()) if len(dice)), default=0.0)
    axes.set_ylim(max(low - 0.08 * max(1 - low, 0.05), -0.03), 1.0)  # with room for the lowest marker
    legend = axes.legend(
        loc="best", fontsize=8, facecolor=PAGE, edgecolor=FAINT, labelcolor=INK, framealpha=0.8
    )
    for text_artist in legend.get_texts():
        text_artist.set_parse_math(False)


def _draw_one_validation(
    figure: Figure, title: str, dice: Mapping[str, float], mean: NDArray[np.float64]
) -> None:
    lowest = sorted(dice.items(), key=lambda one: one[1])
    shown = lowest[:_MOST_ROWS]
    if len(shown) < len(lowest):
        title += f", lowest {len(shown)} of {len(lowest)}"
    rows = [("mean", float(mean[-1]), INK)] if len(mean) else []
    colours = dict(zip(dice, cycle(_COLOURS), strict=False))
    rows += [(shortened(name, 20), value, colours[name]) for name, value in shown]
    axes = _plot(figure, 0.7, 0.255, "")
    axes.set_title(title, color=INK, fontsize=11, loc="left", x=(0.565 - 0.7) / 0.255)  # above the names
    axes.set_xlim(0.0, 1.0)
    axes.set_ylim(max(len(rows), 4) - 0.5, -0.5)  # a few rows stand at the top, not far apart
    axes.grid(visible=False, axis="y")
    axes.set_yticks(range(len(rows)), [name for name, _, _ in rows], color=INK, size=9, parse_math=False)
    for number, (_, value, colour) in enumerate(rows):
        axes.hlines(number, 0.0, value, color=colour, linewidth=1.5, alpha=0.5)
        axes.plot(value, number, "o", color=colour, markersize=7, clip_on=False)
        beside, side = (value + 0.04, "left") if value < 0.8 else (value - 0.04, "right")
        axes.text(beside, number, f"{value:.3f}", color=INK, size=9, ha=side, va="center_baseline")


def _label_series(rows: Sequence[Row]) -> dict[str, _Points]:
    """Of each label its steps and its Dice."""
    keys = dict.fromkeys(key for row in rows for key in row if key.startswith("dice "))
    return {key.removeprefix("dice "): _series(rows, key) for key in keys}


def _series(rows: Sequence[Row], key: str) -> _Points:
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
