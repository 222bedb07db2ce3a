"""What all pictures share: the dark page, a slice on it, outlines, letters, the scale bar.

Drawn with matplotlib's objects, never pyplot, whose global state would leak between threads and into
people's notebooks. matplotlib is imported inside functions: it takes half a second, and only
pictures need it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from medseg.io.files import atomic_output
from medseg.labels import Colour
from medseg.report.planes import PlaneView
from medseg.volume import Volume

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PAGE, INK, FAINT = "#101214", "#f2f2f2", "#8b9299"
DPI = 120
_SOFT_TISSUE_HU = (-160.0, 240.0)
_SPECK_PIXELS, _SPECK_SHARE = 20, 0.05
_BARS_MM = (1, 2, 5, 10, 20, 50, 100, 200)


def new_figure(width_in: float, height_in: float) -> Figure:
    """An empty dark page, drawn by Agg: no display is needed."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width_in, height_in), dpi=DPI, facecolor=PAGE)
    FigureCanvasAgg(figure)
    return figure


def save_png(figure: Figure, path: str | Path) -> Path:
    """Write the page atomically. The file says nothing about when, where or with what it was made."""
    with atomic_output(path) as temporary:
        figure.savefig(temporary, format="png", dpi=DPI, facecolor=PAGE, metadata={"Software": None})
    return Path(path)


def axes_inches(figure: Figure, left: float, top: float, width: float, height: float) -> Axes:
    """Bare axes at a place given in inches from the page's top left corner."""
    page_width, page_height = figure.get_size_inches()
    bottom = page_height - top - height
    axes = figure.add_axes(
        (left / page_width, bottom / page_height, width / page_width, height / page_height), facecolor=PAGE
    )
    axes.set_axis_off()
    return axes


def display_window(volume: Volume) -> tuple[float, float]:
    """Intensities shown as black and white: soft tissue for CT, else percentiles 0.5 and 99.5."""
    data = volume.data[0]
    sample = data.ravel(order="K")[:: max(1, data.size // 500_000)]
    sample = sample[np.isfinite(sample)]
    if sample.size == 0:
        return 0.0, 1.0
    # NIfTI does not say CT, but only CT has air at -1000.
    if volume.source.modality == "CT" or (volume.source.modality is None and -3100 < sample.min() < -800):
        return _SOFT_TISSUE_HU
    low, high = (float(x) for x in np.percentile(sample, (0.5, 99.5)))
    return (low, high) if high > low else (low - 0.5, low + 0.5)


def draw_slice(axes: Axes, view: PlaneView, window: tuple[float, float]) -> None:
    """A grey slice that fills its axes; coordinates of the axes are pixels. NaN is black."""
    rows, columns = view.pixels.shape[:2]
    box = axes.get_window_extent()
    enlarged = min(box.width / columns, box.height / rows) > 1.2
    axes.imshow(
        np.nan_to_num(view.pixels.astype(np.float32), nan=window[0], posinf=window[1], neginf=window[0]),
        cmap="gray",
        vmin=window[0],
        vmax=window[1],
        interpolation="bicubic" if enlarged else "hanning",
        aspect="auto",
    )
    axes.set_xlim(-0.5, columns - 0.5)
    axes.set_ylim(rows - 0.5, -0.5)


def draw_mask(
    axes: Axes,
    mask: NDArray[np.bool_],
    colour: Any,
    *,
    fill: float = 0.0,
    width: float = 1.2,
    dashed: bool = False,
    specks: bool = True,
) -> None:
    """The outline of a mask, half way between the pixels inside and outside, and a fill of some opacity.

    Without ``specks`` what `without_specks` leaves out is filled, but not outlined.
    """
    if not specks:
        draw_mask(axes, mask, colour, fill=fill, width=0)
        draw_mask(axes, without_specks(mask), colour, width=width, dashed=dashed)
        return
    if not mask.any():
        return
    rows, columns = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
    # Padded by one, so that an outline closes at the border of the picture too.
    crop = np.pad(mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1], 1).astype(np.float32)
    x, y = np.arange(columns[0] - 1, columns[-1] + 2), np.arange(rows[0] - 1, rows[-1] + 2)
    if fill:
        axes.contourf(x, y, crop, levels=[0.5, 1.5], colors=[colour], alpha=fill, antialiased=True)
    if width:
        style = "dashed" if dashed else "solid"
        axes.contour(x, y, crop, levels=[0.5], colors=[colour], linewidths=width, linestyles=style)


def without_specks(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """A mask (rows, columns) without its small parts, and with its small holes filled.

    Small is below 20 pixels and below a twentieth of the largest part: outlines of those would hide the
    scan and what they surround. Parts and holes touch by edges.
    """
    from scipy import ndimage  # not before it is needed: the plugin starts without

    padded = np.pad(mask, 1)  # so that all that is outside is one
    parts, _ = ndimage.label(padded)
    sizes = np.bincount(parts.ravel())
    sizes[0] = 0
    least = min(_SPECK_PIXELS, _SPECK_SHARE * sizes.max())
    kept = (sizes >= max(least, 1))[parts]
    holes, _ = ndimage.label(~kept)
    filled: NDArray[np.bool_] = kept | (np.bincount(holes.ravel()) < least)[holes]
    return filled[1:-1, 1:-1]


def draw_letters(axes: Axes, view: PlaneView) -> None:
    """R, L, A, P, S, I at the borders of a slice."""
    places = (
        (0.02, 0.5, "left", "center"),
        (0.98, 0.5, "right", "center"),
        (0.5, 0.98, "center", "top"),
        (0.5, 0.02, "center", "bottom"),
    )
    for letter, (x, y, horizontal, vertical) in zip(view.letters, places, strict=True):
        write(axes, x, y, letter, size=11, weight="bold", ha=horizontal, va=vertical)


def draw_scale_bar(axes: Axes, width_mm: float) -> None:
    """A bar of a round length, 10 mm where that is between a twentieth and a third of the width."""
    fitting = [bar for bar in _BARS_MM if bar <= width_mm / 3]
    if not fitting:
        return
    bar = 10 if 10 in fitting and width_mm <= 200 else fitting[-1]
    length = bar / width_mm
    axes.plot(
        (0.04, 0.04 + length), (0.05, 0.05), transform=axes.transAxes, color=INK, linewidth=2.5,
        solid_capstyle="butt", path_effects=_halo(2.0),
    )  # fmt: skip
    write(axes, 0.04 + length / 2, 0.065, f"{bar} mm", size=8, ha="center", va="bottom")


def write(axes: Axes, x: float, y: float, text: str, **style: Any) -> None:
    """Text at a place given as a share of the axes, with a dark rim so that it reads on any grey."""
    options = {"color": INK, "size": 9, "transform": axes.transAxes, "path_effects": _halo(2.0), **style}
    axes.text(x, y, text, parse_math=False, **options)  # a name may hold a dollar sign


def rgb(colour: Colour) -> tuple[float, float, float]:
    """A label's colour as matplotlib takes it."""
    r, g, b = (c / 255 for c in colour)
    return r, g, b


def _halo(width: float) -> Sequence[Any]:
    from matplotlib.patheffects import Normal, Stroke

    return (Stroke(linewidth=width, foreground=PAGE), Normal())
