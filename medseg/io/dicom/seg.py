"""DICOM segmentations (binary, fractional, label map) to label maps; ids are the segments' numbers.

Source of the format: DICOM PS3.3, sections A.51 and C.8.20.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medseg.io.dicom import pixels, tags
from medseg.io.dicom.elements import BadHeader, DataSet, Parsed
from medseg.io.dicom.grids import (
    Grid,
    References,
    ScanChoice,
    check_planes,
    grid_of_frames,
    grid_of_scan,
    places,
)
from medseg.io.dicom.layers import Layers, Patch, check_size
from medseg.io.dicom.objects import Frame
from medseg.io.naming import Structure, label_set, rgb_of_cielab, snomed_code
from medseg.io.raster import Raster
from medseg.io.refusals import refused
from medseg.labels import LabelSet
from medseg.verdict import Verdict

# Types, and the bits that each allocates for a pixel.
_TYPES = {"BINARY": (1,), "FRACTIONAL": (8,), "LABELMAP": (8, 16)}
_LARGEST_ID = 65535
# Pixels that are held at once.
_BLOCK = 1 << 26


@dataclass(frozen=True, slots=True, eq=False)
class Segmentation:
    """What a segmentation's header says besides its frames.

    Parameters
    ----------
    kind
        ``"BINARY"``, ``"FRACTIONAL"`` or ``"LABELMAP"``.
    structures
        The segments, in the order of the file, background left out.
    background
        The name of the background (segment 0 of a label map), "" where it has none.
    full
        The value of a fractional segmentation that stands for the whole voxel.
    padding
        The value of a label map that stands for no segment besides 0, if any.
    references
        Its frame of reference and the images it was made from.
    """

    kind: str
    structures: tuple[Structure, ...]
    background: str
    full: int
    padding: int | None
    references: References


def read(path: Path, parsed: Parsed, frames: Sequence[Frame], scan: ScanChoice) -> Raster:
    """Read a segmentation onto the grid of a scan that was named, else the smallest that holds its frames.

    Raises
    ------
    BadHeader
        As `parse`.
    InputRefused
        ``no-segments``, ``repeated-positions`` (one segment twice at one place: time),
        ``grid-differs``, ``uneven-spacing`` and what else forbids one grid, ``too-large``, ``undecodable``,
        ``truncated``.
    """
    found = parse(parsed.dataset, frames)
    if not frames:
        raise refused(path, "no-segments", f"{len(found.structures)} segments without a single frame")
    pixels.check_frames(frames)
    check_planes(path, frames)
    grid, verdict = grid_of_scan(path, scan, found.references) if scan.named else grid_of_frames(path, frames)
    where = places(path, frames, grid)
    _check_repeats(path, frames, where)
    labels, naming = label_set(found.structures)
    labels = replace(labels, background=found.background or labels.background)
    sets: tuple[LabelSet, ...]
    if found.kind == "LABELMAP":
        data, sets = _label_map(path, found, frames, where, grid)[None], (labels,)
    else:
        layers = Layers(path, grid.shape, max(labels.ids, default=1))
        soft = _fill(layers, found, frames, where)
        data, sets = layers.finish(labels)
        if soft:
            text = (
                f"shares of voxels; a voxel belongs to a segment from {found.full / 2:g} of {found.full} on"
            )
            verdict += Verdict.of("warning", "fractional", text)
    return Raster(
        data=data,
        affine=grid.affine,
        path=path,
        paths=(path,),
        format="dicom",
        modality="SEG",
        verdict=verdict + naming,
        is_2d=grid.is_2d,
        spacing_known=grid.spacing_known,
        labels=sets[0] if len(sets) == 1 else None,
        layers=sets if len(sets) > 1 else (),
    )


def parse(dataset: DataSet, frames: Sequence[Frame]) -> Segmentation:
    """Take a segmentation's header apart.

    Raises
    ------
    BadHeader
        If it is of no known type, or numbers of segments are malformed, repeated, or not described.
    """
    kind = dataset.text(tags.SegmentationType) or ""
    if kind not in _TYPES:
        raise BadHeader(f"its type of segmentation is none of {', '.join(_TYPES)}")
    if any(frame.image.bits[0] not in _TYPES[kind] for frame in frames):
        raise BadHeader(f"{frames[0].image.bits[0]} bits for a pixel, expected {_TYPES[kind]} where {kind}")
    listed = [_segment(item) for item in dataset.items(tags.SegmentSequence)]
    numbers = [segment.id for segment in listed]
    lowest = 0 if kind == "LABELMAP" else 1
    if len(set(numbers)) < len(numbers) or not all(lowest <= n <= _LARGEST_ID for n in numbers):
        raise BadHeader(f"segment numbers are repeated, or not from {lowest} to {_LARGEST_ID}")
    if kind != "LABELMAP" and {frame.segment for frame in frames} - set(numbers):
        raise BadHeader("frames of segments that it does not describe")
    background = next((segment.name for segment in listed if segment.id == 0), "")
    padding = dataset.integer(tags.PixelPaddingValue) if kind == "LABELMAP" else None
    return Segmentation(
        kind=kind,
        structures=tuple(segment for segment in listed if segment.id),
        background=background,
        full=_full(dataset) if kind == "FRACTIONAL" else 1,
        padding=None if padding in numbers else padding,
        references=_references(dataset),
    )


def _full(dataset: DataSet) -> int:
    full = dataset.integer(tags.MaximumFractionalValue)
    if full is None or not 1 <= full <= 255:
        raise BadHeader(f"a largest share of {full}, expected 1 to 255")
    return full


def _segment(item: DataSet) -> Structure:
    number = item.integer(tags.SegmentNumber)
    if number is None:
        raise BadHeader("a segment has no number")
    coded = item.items(tags.SegmentedPropertyTypeCodeSequence)
    code = (
        snomed_code(coded[0].text(tags.CodingSchemeDesignator), coded[0].text(tags.CodeValue))
        if coded
        else None
    )
    lab = item.numbers(tags.RecommendedDisplayCIELabValue)
    colour = None if lab is None else rgb_of_cielab([int(n) for n in lab])
    return Structure(number, item.name(tags.SegmentLabel) or "", colour, code)


def _references(dataset: DataSet) -> References:
    series = [item.uid(tags.SeriesInstanceUID) for item in dataset.items(tags.ReferencedSeriesSequence)]
    return References(frozenset(series) - {""}, frozenset(), dataset.uid(tags.FrameOfReferenceUID))


def _check_repeats(path: Path, frames: Sequence[Frame], where: NDArray[np.int64]) -> None:
    places_of = [(frame.segment, *place) for frame, place in zip(frames, where.tolist(), strict=True)]
    repeated = len(places_of) - len(set(places_of))
    if repeated:
        text = f"{repeated} frames at places where their segment has one already (volumes in time?)"
        raise refused(path, "repeated-positions", f"{text}; export one segmentation for each volume")


def _fill(layers: Layers, found: Segmentation, frames: Sequence[Frame], where: NDArray[np.int64]) -> bool:
    """Place every segment; whether any voxel held a share other than none and all."""
    patches: dict[int, list[Patch]] = {structure.id: [] for structure in found.structures}
    numbers = [frame.segment or 0 for frame in frames]
    soft = False
    for n, stored in _stored(frames, sorted(range(len(frames)), key=numbers.__getitem__)):
        if found.kind == "FRACTIONAL":
            soft = soft or bool(((stored != 0) & (stored != found.full)).any())
            patch = _patch(2 * stored.astype(np.int64) >= found.full, where[n])
        else:
            patch = _patch(stored != 0, where[n])
        if patch is not None:
            patches[numbers[n]].append(patch)
    for number, parts in patches.items():
        layers.place(number, parts)
    return soft


def _stored(frames: Sequence[Frame], order: Sequence[int]) -> Iterator[tuple[int, NDArray[Any]]]:
    """(number of a frame, its stored values (column, row)), few frames in memory at once."""
    block = max(1, _BLOCK // (frames[0].rows * frames[0].columns))
    for start in range(0, len(order), block):
        chosen = order[start : start + block]
        values = pixels.read_stored([frames[n] for n in chosen])
        for k, n in enumerate(chosen):
            yield n, values[..., k]


def _patch(mask: NDArray[np.bool_], place: NDArray[np.int64]) -> Patch | None:
    """A mask without its empty margins, at its place; None where nothing is set."""
    columns, rows = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not columns.size:
        return None
    i, j = int(columns[0]), int(rows[0])
    inner = mask[i : int(columns[-1]) + 1, j : int(rows[-1]) + 1]
    # A copy: the frame itself need not stay in memory.
    return int(place[2]), int(place[0]) + i, int(place[1]) + j, inner.copy(order="F")


def _label_map(
    path: Path, found: Segmentation, frames: Sequence[Frame], where: NDArray[np.int64], grid: Grid
) -> NDArray[Any]:
    """The voxels of a label map; what is padding becomes 0."""
    deep = frames[0].image.bits[0] > 8
    check_size(path, grid.shape, 2 if deep else 1)
    data = np.zeros(grid.shape, np.uint16 if deep else np.uint8, order="F")
    for n, stored in _stored(frames, range(len(frames))):
        i, j, k = where[n]
        data[i : i + stored.shape[0], j : j + stored.shape[1], k] = stored
    if found.padding:
        data[data == found.padding] = 0
    return data
