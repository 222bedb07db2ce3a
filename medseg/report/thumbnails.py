"""case_picture: one small picture of a case, made in milliseconds. numpy and Pillow only."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from medseg.labels import LabelSet
from medseg.report.drawing import INK, PAGE, display_window
from medseg.report.panes import Pane, panes
from medseg.volume import LabelMap, Volume, count_ids

ASPECT = 2.5  # width to height at most, as the frames of the page of a study have it
_GAP = 4
_OPACITY = 0.4
_GREYS = 24
_COLOURS = 128
_LETTER_PX = 12


def case_picture(volume: Volume, labelmap: LabelMap, *, size: int = 400) -> bytes:
    """Draw a segmentation over its scan as a small PNG: three planes side by side, true to millimetres.

    Each plane shows the slice with most of the largest label, in radiological convention, close up
    where labels are small; the middle where nothing was segmented. Labels are filled to 40 % and
    outlined in their colours. The borders are marked R and L, in a sagittal plane A and P; a 2D
    picture, which does not say how it lies in the patient, bears no letters.

    Parameters
    ----------
    volume, labelmap
        On one grid. Of several channels the first is shown.
    size
        Width in pixels at most; the height is at most two fifths of it.

    Returns
    -------
    bytes
        A PNG of up to 128 colours without any text in the file, most often of 10 to 25 kB.

    Raises
    ------
    ValueError
        If the two shapes differ, or ``size`` is below 48.
    """
    if volume.geometry.shape != labelmap.geometry.shape:
        raise ValueError(
            f"scan of shape {volume.geometry.shape}, labels of {labelmap.geometry.shape}: expected one grid"
        )
    if size < 48:
        raise ValueError(f"a picture {size} pixels wide shows nothing, expected 48 or more")
    shown = panes(volume, labelmap, _largest(labelmap))
    places = _places([pane.image.extents_mm for pane in shown], size)
    window = display_window(volume)
    picture = Image.new(
        "RGB", (places[-1].left + places[-1].width, max(place.height for place in places)), PAGE
    )
    draw = ImageDraw.Draw(picture)
    for pane, place in zip(shown, places, strict=True):
        top = (picture.height - place.height) // 2
        drawn = _drawn(pane, window, labelmap.labels, (place.width, place.height))
        picture.paste(drawn, (place.left, top))
        if volume.source.format != "image":
            _mark_sides(draw, pane, place, picture.height // 2)
    buffer = io.BytesIO()
    # Without dithering, which would put noise where there is none and make the file larger.
    few = picture.quantize(_COLOURS, Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE)
    few.save(buffer, "PNG")
    return buffer.getvalue()


def _largest(labelmap: LabelMap) -> int | None:
    """The id with most voxels, the lower one on a tie; None where there is none."""
    counts = {label: count for label, count in count_ids(labelmap.data).items() if label}
    return max(counts, key=lambda label: counts[label], default=None)


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a pane stands in the picture, in pixels."""

    left: int
    width: int
    height: int


def _places(extents_mm: Sequence[tuple[float, float]], size: int) -> list[_Place]:
    """All panes to one scale, as large as the width and the height allow."""
    widths, heights = zip(*extents_mm, strict=True)
    room = size - _GAP * (len(extents_mm) - 1)
    scale = min(room / sum(widths), size / ASPECT / max(heights))
    places: list[_Place] = []
    for width, height in extents_mm:
        left = places[-1].left + places[-1].width + _GAP if places else 0
        places.append(_Place(left, max(1, int(width * scale)), max(1, int(height * scale))))
    return places


def _drawn(pane: Pane, window: tuple[float, float], labels: LabelSet, size: tuple[int, int]) -> Image.Image:
    grey = np.asarray(_grey(pane.image.pixels, window).resize(size, Image.Resampling.BICUBIC))
    # Fewer greys than the eye could tell apart, but than it misses in a small picture; it halves the file.
    grey = (grey.astype(np.uint16) * (_GREYS - 1) + 127) // 255 * (255 / (_GREYS - 1))
    ids, marked = _resized_labels(pane.labels, size)
    colours = np.array([(0, 0, 0), *(labels[i].colour for i in ids[1:])], np.float32)[marked]
    opacity = np.where(marked > 0, _OPACITY, 0.0)
    opacity[_outline(marked)] = 1.0
    mixed = grey[..., None] * (1 - opacity[..., None]) + colours * opacity[..., None]
    return Image.fromarray(mixed.round().astype(np.uint8))


def _grey(pixels: NDArray[np.generic], window: tuple[float, float]) -> Image.Image:
    low, high = window
    numbers = np.nan_to_num(pixels.astype(np.float32), nan=low, posinf=high, neginf=low)
    return Image.fromarray((((numbers - low) / (high - low)).clip(0, 1) * 255).round().astype(np.uint8))


def _resized_labels(
    pixels: NDArray[np.unsignedinteger], size: tuple[int, int]
) -> tuple[list[int], NDArray[np.intp]]:
    """The ids of a slice, 0 first, and for each pixel of the picture the place of the nearest one's id."""
    width, height = size
    rows = ((np.arange(height) + 0.5) * pixels.shape[0] / height).astype(int)
    columns = ((np.arange(width) + 0.5) * pixels.shape[1] / width).astype(int)
    nearest = pixels[np.ix_(rows, columns)]
    ids, places = np.unique(np.append(nearest.ravel(), np.zeros(1, nearest.dtype)), return_inverse=True)
    return ids.tolist(), places[:-1].reshape(nearest.shape)


def _outline(marked: NDArray[np.intp]) -> NDArray[np.bool_]:
    """Pixels of a label with a neighbour, up, down, left or right, of none or another one."""
    padded = np.pad(marked, 1, mode="edge")
    inner = padded[1:-1, 1:-1]
    neighbours = (padded[:-2, 1:-1], padded[2:, 1:-1], padded[1:-1, :-2], padded[1:-1, 2:])
    edge: NDArray[np.bool_] = (inner > 0) & np.any([inner != other for other in neighbours], axis=0)
    return edge


def _mark_sides(draw: ImageDraw.ImageDraw, pane: Pane, place: _Place, middle: int) -> None:
    right = place.left + place.width - 3
    for letter, x, anchor in (
        (pane.image.letters.left, place.left + 3, "lm"),
        (pane.image.letters.right, right, "rm"),
    ):
        draw.text(
            (x, middle), letter, fill=INK, font=_font(), anchor=anchor, stroke_width=1, stroke_fill=PAGE
        )


@cache
def _font() -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(_LETTER_PX)
