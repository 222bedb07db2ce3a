"""A sheet of pictures: findings that have something to show, the worst first, each with its message."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from medseg.datasets.checking.findings import Finding, Place
from medseg.datasets.dataset import Case, Dataset
from medseg.errors import InputRefused
from medseg.geometry import Geometry
from medseg.io import read, read_labels
from medseg.labels import LabelSet
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
from medseg.report.planes import acquisition_plane, largest_section, normal_axis, plane_of_axis, plane_view
from medseg.volume import LabelMap, Volume
from medseg.words import counted

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_RINGED = ("slices-unlabelled", "tiny-islands")
_OF_SIDES = ("sides-mirrored", "sides-swapped")
_COLUMNS, _MOST = 4, 12
_TILE, _TITLE, _GAP, _HEAD = 2.6, 0.72, 0.14, 0.5  # inches
_WRAP, _LINES = 44, 3  # letters of a title's line, and lines


def draw_sheet(path: Path, dataset: Dataset, findings: Sequence[Finding]) -> Path | None:
    """Draw up to twelve findings, each of another code as long as there are such; None without any.

    A case that cannot be read is a tile of words. Of several channels the first is shown. A slice is one as
    it was acquired, unless that would not show what was found: see `_shown_from`.
    """
    chosen = choose(findings)
    if not chosen:
        return None
    columns = min(_COLUMNS, len(chosen))
    rows = -(-len(chosen) // columns)
    width = max(_GAP + columns * (_TILE + _GAP), 5.5)
    figure = new_figure(width, _HEAD + rows * (_TITLE + _TILE + _GAP))
    faults = sum(finding.severity == "fault" for finding in findings)
    head = axes_inches(figure, _GAP, 0.08, width - 2 * _GAP, _HEAD - 0.1)
    counts = ((faults, "fault"), (len(findings) - faults, "note"), (len(dataset.cases), "case"))
    text = f"{dataset.name}: {', '.join(counted(*count) for count in counts)}"
    write(head, 0.0, 0.5, text, size=12, weight="bold", va="center")
    cases = {case.id: case for case in dataset.cases}
    for number, finding in enumerate(chosen):
        row, column = divmod(number, columns)
        left = _GAP + column * (_TILE + _GAP)
        top = _HEAD + row * (_TITLE + _TILE + _GAP)
        _title(figure, finding, left, top)
        _tile(figure, finding, cases[finding.case], dataset.labels, left, top + _TITLE)
    return save_png(figure, path)


def choose(findings: Sequence[Finding], most: int = _MOST) -> list[Finding]:
    """The findings to show, in their order: by turns one of each code, so that none crowds out the others."""
    queues: dict[str, list[Finding]] = {}
    for finding in findings:
        if finding.case and finding.code not in ("missing-file", "repeated-case", "image-without-label"):
            queues.setdefault(finding.code, []).append(finding)
    taken: list[Finding] = []
    while queues and len(taken) < most:
        for code in list(queues):
            if len(taken) < most:
                taken.append(queues[code].pop(0))
            if not queues[code]:
                del queues[code]
    places = {id(finding): n for n, finding in enumerate(findings)}
    return sorted(taken, key=lambda finding: places[id(finding)])


def _title(figure: Figure, finding: Finding, left: float, top: float) -> None:
    axes = axes_inches(figure, left, top, _TILE, _TITLE)
    colour = "#ff8a80" if finding.severity == "fault" else "#ffd180"
    write(
        axes,
        0.0,
        0.97,
        f"{finding.code}  {_shortened(finding.case)}",
        size=8,
        weight="bold",
        color=colour,
        va="top",
    )
    lines = textwrap.wrap(finding.message, _WRAP)
    text = "\n".join(
        [*lines[:2], lines[2][: _WRAP - 3] + " ..." if len(lines) > 3 else "\n".join(lines[2:3])]
    )
    write(axes, 0.0, 0.74, text.rstrip(), size=7, va="top", linespacing=1.15)


def _shortened(name: str, most: int = 24) -> str:
    return name if len(name) <= most else f"{name[: most - 3]}..."


def _tile(
    figure: Figure,
    finding: Finding,
    case: Case,
    labels: LabelSet | None,
    left: float,
    top: float,
) -> None:
    try:
        image, label_map = for_picture(case)
    except InputRefused as refusal:
        axes = axes_inches(figure, left, top, _TILE, _TILE)
        text = "\n".join(textwrap.wrap(f"no picture: {refusal}", _WRAP)[:10])
        write(axes, 0.0, 0.98, text, size=7, va="top", color=FAINT)
        return
    grid = label_map.geometry
    place = _shown_from(finding, label_map)
    plane = plane_of_axis(grid, place.axis)
    index = place.index[place.axis]
    view = plane_view(image.data[0], grid, plane, index)
    marked = plane_view(label_map.data, grid, plane, index).pixels
    width_mm, height_mm = view.extents_mm
    scale = _TILE / max(width_mm, height_mm)
    width, height = width_mm * scale, height_mm * scale
    axes = axes_inches(figure, left + (_TILE - width) / 2, top + (_TILE - height) / 2, width, height)
    draw_slice(axes, view, display_window(image))
    ids = [i for i in np.unique(marked).tolist() if i]
    colours = labels or label_map.labels
    for label_id in ids:
        colour = rgb(colours[label_id].colour) if label_id in colours.ids else (1.0, 1.0, 1.0)
        draw_mask(axes, marked == label_id, colour, fill=0.25, width=1.0)
    if image.source.format != "image":  # a picture does not say how it lies in the patient
        draw_letters(axes, view)
    if finding.place is not None and finding.code in _RINGED:
        row, column = _pixel(grid, place)
        axes.plot(column, row, "o", markersize=16, markerfacecolor="none", markeredgecolor=INK)


def for_picture(case: Case) -> tuple[Volume, LabelMap]:
    """The first image of a case and its labels on that grid, also where a check has refused them.

    Voxels that are not finite are black; labels of another grid are looked up where they lie in space.
    """
    label_map = read_labels(case.label)
    if not case.images:
        return Volume(label_map.data[None], label_map.geometry), label_map
    image = read(case.images[0], allow=["non-finite"])
    if image.geometry.same_grid(label_map.geometry):
        return image, label_map
    to_labels = np.linalg.inv(label_map.geometry.affine) @ image.geometry.affine
    data = ndimage.affine_transform(
        label_map.data, to_labels[:3, :3], to_labels[:3, 3], image.geometry.shape, order=0, prefilter=False
    )
    return image, LabelMap(data, image.geometry, label_map.labels)


def _pixel(grid: Geometry, place: Place) -> tuple[int, int]:
    """Row and column of a voxel in the picture of its slice."""
    mark = np.zeros(grid.shape, np.bool_)
    mark[place.index] = True
    view = plane_view(mark, grid, plane_of_axis(grid, place.axis), place.index[place.axis])
    row, column = np.argwhere(view.pixels)[0].tolist()
    return row, column


def _shown_from(finding: Finding, label_map: LabelMap) -> Place:
    """Where the picture of a finding is taken: in the acquisition's plane, where that shows it.

    It does not show sides where it is sagittal, nor left out slices where those are its own: then it is
    the finding's own axis. Without a place it is the slice with most labels.
    """
    grid = label_map.geometry
    axis = normal_axis(grid, acquisition_plane(grid))
    if finding.place is None:
        index = [n // 2 for n in grid.shape]
        index[axis] = largest_section(label_map.data > 0, axis)
        return Place((index[0], index[1], index[2]), axis)
    place = finding.place
    if finding.code in _OF_SIDES and plane_of_axis(grid, axis) == "sagittal":
        return place
    section = np.moveaxis(label_map.data, axis, 0)[place.index[axis]]
    if finding.code == "slices-unlabelled" and not (section == finding.label).any():
        return place
    return Place(place.index, axis)
