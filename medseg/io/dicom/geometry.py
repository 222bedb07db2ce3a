"""From the positions of DICOM frames to one affine, or to the names of what forbids it.

Frames are ordered by their position along the normal, never by their number; spacing comes from the
positions, never from ``SliceThickness``. The affine returned puts all four corners of every frame where the
frame's own header puts them (DICOM PS3.3, C.7.6.2.1.1), within 0.01 mm.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from medseg.io.dicom.objects import Frame, Vector, name_in
from medseg.io.dicom.spacing import POSITION_TOLERANCE_MM, ROUNDING_MM, Spacing, judge_spacing, tilt_faults
from medseg.verdict import OK, Reason, Verdict

# No scanner is larger than ten kilometres; farther out sums lose the digits that tell slices apart.
_FARTHEST_MM = 1e7
# Below this row and column direction span no plane.
_LEAST_AREA = 0.1
_PIXEL_SPACINGS_MM = (1e-6, 1e3)
# Cosine of an angle that may pass for a right one, and length beyond 1 that may pass for rounding.
_DIRECTION_TOLERANCE = 1e-3
_LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


@dataclass(frozen=True, slots=True, eq=False)
class Stack:
    """Frames in order, their common affine (index (column, row, slice) to RAS+ mm), and findings.

    Where ``faults`` is not empty the stack is refused, and ``affine`` may be None. ``planes`` says where on
    the slice axis of the affine each frame lies, where a repair has been allowed: the grid then has
    ``count`` planes, and those between frames have to be interpolated.
    """

    frames: tuple[Frame, ...]
    affine: NDArray[np.float64] | None
    verdict: Verdict = OK
    faults: tuple[Reason, ...] = ()
    is_2d: bool = False
    spacing_known: bool = True
    planes: NDArray[np.float64] | None = None
    count: int = 0

    @property
    def shape(self) -> tuple[int, int, int]:
        """(columns, rows, slices) of the grid."""
        first = self.frames[0]
        return first.columns, first.rows, self.count or len(self.frames)


def stack(frames: Sequence[Frame], allow: frozenset[str] = frozenset(), path: Path | None = None) -> Stack:
    """Order the frames of one series and place them, or name why that cannot be done exactly.

    ``missing-slices`` and ``uneven-spacing`` in ``allow`` turn those faults into a plan of which planes to
    interpolate; a tilt is kept in the affine either way, for `raster` to judge. ``path`` is what the caller
    named, below which messages name files.
    """
    # Senseless numbers are found by what comes out of them.
    with np.errstate(all="ignore"):
        return _stack(tuple(frames), allow, path)


def _stack(found: tuple[Frame, ...], allow: frozenset[str], path: Path | None) -> Stack:
    faults = _content_faults(found)
    if faults:
        return Stack(found, None, faults=faults)
    if all(is_unplaced(f) for f in found):
        return _flat_image(found)
    faults = plane_faults(found)
    if faults:
        return Stack(found, None, faults=faults)
    return _one_slice(found) if len(found) == 1 else _several_slices(found, allow, path)


def is_unplaced(frame: Frame) -> bool:
    """Whether a frame does not say where in the patient its pixels lie."""
    return frame.position is None or frame.row is None or frame.column is None


def has_sound_place(frame: Frame) -> bool:
    """Whether a frame says where it lies in numbers to reckon with; `stack` names the fault of others."""
    if frame.position is None or frame.row is None or frame.column is None:
        return False
    numbers = np.concatenate([frame.position / _FARTHEST_MM, frame.row / 2, frame.column / 2])
    if not (np.abs(numbers) <= 1).all():
        return False
    return bool(np.linalg.norm(np.cross(frame.row, frame.column)) > _LEAST_AREA)


def is_colour(frame: Frame) -> bool:
    """Whether pixels are colours and not measured values."""
    return frame.image.samples > 1 or frame.image.photometric == "PALETTE COLOR"


def normal_of(frame: Frame) -> Vector:
    """Unit vector along which the slices of a soundly placed frame's stack are counted, LPS."""
    row, column = _in_plane(frame)
    normal: Vector = np.cross(row, column)
    return normal / np.linalg.norm(normal)


def _content_faults(frames: tuple[Frame, ...]) -> tuple[Reason, ...]:
    """What makes a series no stack of slices."""
    colours = {is_colour(f) for f in frames}
    if any(f.image.photometric == "PALETTE COLOR" for f in frames):
        return (Reason("colour", "numbers of colours in a palette, expected grey values"),)
    if any("LOCALIZER" in f.image_type for f in frames):
        return (Reason("localizer", "a localizer (scout), not a scan to segment"),)
    if True in colours and (len(colours) > 1 or any(is_unplaced(f) for f in frames)):
        return (Reason("colour", "colour images without a place in the patient, expected grey values"),)
    if any(f.has_lookup_table for f in frames):
        return (
            Reason("lookup-table", "a modality lookup table maps its values; medseg applies only slopes"),
        )
    if len({(f.rows, f.columns) for f in frames}) > 1:
        sizes = sorted({f"{f.columns}x{f.rows}" for f in frames})
        return (Reason("several-matrices", f"slices of different size in one series: {', '.join(sizes)}"),)
    if not np.isfinite([[f.slope, f.intercept] for f in frames]).all():
        return (Reason("bad-header", "a rescale slope of 0 or not a number"),)
    return ()


def plane_faults(frames: tuple[Frame, ...]) -> tuple[Reason, ...]:
    """What forbids to place all frames, each by itself."""
    without = sum(is_unplaced(f) or f.pixel_spacing is None for f in frames)
    if without:
        text = f"{without} of {len(frames)} slices have no position, orientation or pixel spacing"
        return (Reason("no-position", text),)
    if len({f.image.frame_of_reference for f in frames}) > 1:
        text = "slices with different frames of reference in one series"
        return (Reason("several-frames-of-reference", text),)
    spacings = np.array([f.pixel_spacing for f in frames])
    low, high = _PIXEL_SPACINGS_MM
    if not ((spacings >= low) & (spacings <= high)).all():
        text = f"pixel spacings from {spacings.min():.4g} to {spacings.max():.4g} mm"
        return (Reason("bad-header", f"{text}, expected numbers above 0 and up to {high:.0f}"),)
    if not (np.abs([f.position for f in frames]) <= _FARTHEST_MM).all():  # type: ignore[arg-type]
        text = f"positions more than {_FARTHEST_MM / 1e6:.0f} km away, or not a number"
        return (Reason("bad-header", text),)
    return _direction_faults(frames, spacings)


def _direction_faults(frames: tuple[Frame, ...], spacings: NDArray[np.float64]) -> tuple[Reason, ...]:
    """Directions that are no unit vectors at right angles, or not the same in all frames."""
    planes = np.array([[f.row, f.column] for f in frames])
    stretch = np.abs(np.linalg.norm(planes, axis=2) - 1)
    cosines = np.abs((planes[:, 0] * planes[:, 1]).sum(axis=1))
    if not ((stretch <= _DIRECTION_TOLERANCE).all() and (cosines <= _DIRECTION_TOLERANCE).all()):
        text = "the row and column directions are not at right angles, or no unit vectors"
        return (Reason("bad-header", text),)
    spans = spacings[:, ::-1] * (frames[0].columns - 1, frames[0].rows - 1)  # along a row, down a column
    doubt = float((stretch * spans).max())
    if doubt > POSITION_TOLERANCE_MM:
        text = f"direction cosines so coarsely rounded that a corner's place is uncertain by {doubt:.2g} mm"
        return (Reason("bad-header", text),)
    corners = _corners(frames) - np.array([f.position for f in frames])[:, None]
    apart = float(np.linalg.norm(corners - corners[0], axis=2).max())
    if apart <= POSITION_TOLERANCE_MM + ROUNDING_MM:
        return ()
    if np.abs(spacings / spacings[0] - 1).max() > 1e-5:
        return (Reason("several-spacings", "slices of different pixel spacing in one series"),)
    text = f"slices of different orientation in one series: their corners differ by up to {apart:.2g} mm"
    return (Reason("several-orientations", text),)


def _corners(frames: Sequence[Frame]) -> NDArray[np.float64]:
    """The centres of the four corner pixels of every frame (N, 4, 3) by its own header, LPS mm."""
    last = np.array([frames[0].columns - 1, frames[0].rows - 1])
    ends = np.array([f.pixel_spacing for f in frames])[:, ::-1] * last
    along = np.array([f.row for f in frames]) * ends[:, :1]
    down = np.array([f.column for f in frames]) * ends[:, 1:]
    start = np.array([f.position for f in frames])
    return np.stack([start, start + along, start + down, start + along + down], axis=1)


def _several_slices(frames: tuple[Frame, ...], allow: frozenset[str], path: Path | None) -> Stack:
    normal = normal_of(frames[0])
    depths = np.array([float(normal @ f.position) for f in frames])  # type: ignore[operator]
    order = np.argsort(depths, kind="stable")
    ordered = tuple(frames[n] for n in order)
    faults = _repeats(ordered, depths[order], path)
    if faults:
        return Stack(ordered, None, faults=faults)
    found = judge_spacing(np.array([f.position for f in ordered]), normal)
    affine = _affine(ordered[0], found.step)
    repaired = found.repair is not None and {fault.code for fault in found.faults} <= allow
    if found.faults and not repaired:
        tilted = () if allow & {"tilt", "shear"} else tilt_faults(normal, found.step)
        return Stack(ordered, affine, faults=found.faults + tilted)
    away = _distance(ordered, affine, found)
    if away > POSITION_TOLERANCE_MM + ROUNDING_MM:
        text = f"slices so turned or shifted that corners lie up to {away:.2g} mm off any even stack"
        return Stack(ordered, affine, faults=(Reason("uneven-positions", text),))
    if found.repair is None:
        return Stack(ordered, affine)
    verdict = Verdict("repaired", (found.repair,))
    return Stack(ordered, affine, verdict, planes=found.planes, count=found.count)


def _distance(ordered: tuple[Frame, ...], affine: NDArray[np.float64], found: Spacing) -> float:
    """How far in mm any corner of any frame lies from where the common affine puts it."""
    columns, rows = ordered[0].columns - 1, ordered[0].rows - 1
    index = np.array([[0, 0], [columns, 0], [0, rows], [columns, rows]], dtype=np.float64)
    there = (index @ affine[:3, :2].T)[None] + found.planes[:, None, None] * affine[:3, 2] + affine[:3, 3]
    own = _corners(ordered) @ _LPS_TO_RAS[:3, :3].T
    return float(np.linalg.norm(there - own, axis=2).max())


def _repeats(
    ordered: tuple[Frame, ...], depths: NDArray[np.float64], path: Path | None
) -> tuple[Reason, ...]:
    if np.diff(depths).min() > POSITION_TOLERANCE_MM:
        return ()
    copies = _first_copies(ordered)
    if copies is not None:
        text = f"the same slice is there more than once: {_pair(*copies, path)}"
        return (Reason("duplicate-slices", f"{text}, and perhaps others; remove the copies"),)
    groups = np.split(depths, np.flatnonzero(np.diff(depths) > POSITION_TOLERANCE_MM) + 1)
    times = {len(group) for group in groups}
    if len(groups) > 1 and len(times) == 1:
        text = f"{len(groups)} positions, each {times.pop()} times: several volumes (time, echo, contrast)"
        return (Reason("four-dimensional", f"{text}; export one of them"),)
    text = f"{len(ordered)} slices at {len(groups)} position{'s' if len(groups) > 1 else ''}"
    near = np.diff(depths) <= POSITION_TOLERANCE_MM
    one, other = next(pair for pair, alike in zip(pairwise(ordered), near, strict=True) if alike)
    text += f", expected one slice per position; at the same one are {_pair(one, other, path)}"
    return (Reason("repeated-positions", f"{text}: remove what is too much, or export one scan alone"),)


def has_copies(frames: Sequence[Frame]) -> bool:
    """Whether one frame of one object is there twice, as files copied under another name are."""
    return _first_copies(frames) is not None


def _first_copies(frames: Sequence[Frame]) -> tuple[Frame, Frame] | None:
    known: dict[tuple[object, ...], Frame] = {}
    for frame in frames:
        key = frame.image.sop_uid, frame.number, frame.tile
        if frame.image.sop_uid and known.setdefault(key, frame) is not frame:
            return known[key], frame
    return None


def _pair(one: Frame, other: Frame, path: Path | None) -> str:
    """Two slices by the names of their files, in the order of those."""
    names = [(name_in(f.image.source, path), f.number + 1) for f in (one, other)]
    several = one.image.frames > 1 or other.image.frames > 1
    return " and ".join(f"{name}, frame {number}" if several else name for name, number in sorted(names))


def _one_slice(frames: tuple[Frame, ...]) -> Stack:
    first = frames[0]
    low, high = _PIXEL_SPACINGS_MM
    told = [mm for mm in (first.thickness, first.step) if mm is not None and low <= mm <= high]
    text = "its thickness is that of the header" if told else "its thickness is not known"
    verdict = Verdict.of("warning", "one-slice", f"a series of one slice; {text}")
    affine = _affine(first, normal_of(first) * (told[0] if told else 1.0))
    return Stack(frames, affine, verdict, spacing_known=bool(told))


def _flat_image(frames: tuple[Frame, ...]) -> Stack:
    """A radiograph or a photograph: a plane that nobody placed in the patient."""
    if len(frames) > 1:
        text = f"{len(frames)} images without position in the patient; read them one by one"
        return Stack(frames, None, faults=(Reason("no-position", text),))
    first = frames[0]
    down, along = first.pixel_spacing or (1.0, 1.0)
    low, high = _PIXEL_SPACINGS_MM
    if not (low <= down <= high and low <= along <= high):
        text = f"a pixel spacing of {down:.4g} x {along:.4g} mm, expected numbers above 0"
        return Stack(frames, None, faults=(Reason("bad-header", text),))
    verdict = Verdict.of("warning", "orientation-unknown", "a plane without position in the patient")
    affine = np.diag([-along, -down, 1.0, 1.0])
    known = first.pixel_spacing is not None and first.spacing_measured
    return Stack(frames, affine, verdict, is_2d=True, spacing_known=known)


def _in_plane(first: Frame) -> tuple[Vector, Vector]:
    """Unit vectors along a row (column index grows) and along a column, LPS."""
    assert first.row is not None
    assert first.column is not None
    return first.row / np.linalg.norm(first.row), first.column / np.linalg.norm(first.column)


def _affine(first: Frame, step: Vector) -> NDArray[np.float64]:
    assert first.pixel_spacing is not None
    row, column = _in_plane(first)
    down, along = first.pixel_spacing
    matrix = np.eye(4)
    matrix[:3, 0] = row * along
    matrix[:3, 1] = column * down
    matrix[:3, 2] = step
    matrix[:3, 3] = first.position
    return np.asarray(_LPS_TO_RAS @ matrix)
