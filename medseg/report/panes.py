"""Which slices of a segmentation are shown: through its largest structure, close up where that is small."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medseg.report.planes import PlaneView, largest_section, normal_axis, plane_view, planes_worth_showing
from medseg.volume import LabelMap, Volume


@dataclass(frozen=True, slots=True)
class Pane:
    """One slice of the scan and of the labels, and how large it is in the patient."""

    image: PlaneView
    labels: NDArray[np.unsignedinteger]


def panes(volume: Volume, labelmap: LabelMap, largest: int | None) -> list[Pane]:
    """A pane for each plane worth showing: the slice with most of the label ``largest``.

    The first channel is shown. Without a largest label each plane shows the middle.
    """
    geometry = labelmap.geometry
    # One boolean for all voxels where there is nothing to look for: it takes no memory.
    mask = np.broadcast_to(np.False_, geometry.shape) if largest is None else labelmap.data == largest
    found = []
    for plane in planes_worth_showing(geometry):
        index = largest_section(mask, normal_axis(geometry, plane))
        image = plane_view(volume.data[0], geometry, plane, index)
        found.append(_close_up(Pane(image, plane_view(labelmap.data, geometry, plane, index).pixels)))
    return found


def _close_up(pane: Pane) -> Pane:
    """The part round the labels, three times their size, where they would be small in the whole slice."""
    shape = pane.labels.shape
    marked = [np.flatnonzero((pane.labels > 0).any(axis=axis)) for axis in (1, 0)]
    if not marked[0].size or max((m[-1] + 1 - m[0]) / n for m, n in zip(marked, shape, strict=True)) > 1 / 3:
        return pane
    width_mm, height_mm = pane.image.extents_mm
    pixel_mm = (height_mm / shape[0], width_mm / shape[1])
    half_mm = 1.5 * max((m[-1] + 1 - m[0]) * mm for m, mm in zip(marked, pixel_mm, strict=True))
    window = []
    for m, n, mm in zip(marked, shape, pixel_mm, strict=True):
        middle, half = (m[0] + m[-1] + 1) / 2, half_mm / mm
        window.append(slice(max(0, round(middle - half)), min(n, round(middle + half))))
    pixels = pane.image.pixels[tuple(window)]
    extents = (pixels.shape[1] * pixel_mm[1], pixels.shape[0] * pixel_mm[0])
    return Pane(PlaneView(pixels, extents, pane.image.letters), pane.labels[tuple(window)])
