"""From the positions of DICOM slices to one affine, or to the names of what forbids it.

Slices are ordered by their position along the normal, never by their number; spacing comes from the
positions, never from ``SliceThickness``. The affine returned puts every slice where its own header
puts it, within 0.01 mm.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medseg.io.dicom.headers import Slice
from medseg.verdict import OK, Reason, Verdict

POSITION_TOLERANCE_MM = 0.01
_DIRECTION_TOLERANCE = 1e-4
_LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


@dataclass(frozen=True, slots=True, eq=False)
class Stack:
    """Slices in order, their common affine (index (column, row, slice) to RAS+ mm), and findings.

    Where ``faults`` is not empty the stack is refused, and ``affine`` may be None.
    """

    slices: tuple[Slice, ...]
    affine: NDArray[np.float64] | None
    verdict: Verdict = OK
    faults: tuple[Reason, ...] = ()
    is_2d: bool = False
    spacing_known: bool = True


def stack(slices: Sequence[Slice]) -> Stack:
    """Order the slices of one series and place them, or name why that cannot be done exactly."""
    found = tuple(slices)
    faults = _content_faults(found)
    if faults:
        return Stack(found, None, faults=faults)
    if found[0].position is None or found[0].row is None or found[0].column is None:
        return _flat_image(found)
    faults = _plane_faults(found)
    if faults:
        return Stack(found, None, faults=faults)
    return _one_slice(found) if len(found) == 1 else _several_slices(found)


def _content_faults(slices: tuple[Slice, ...]) -> tuple[Reason, ...]:
    """What makes a series no stack of grey slices."""
    first = slices[0]
    if any(s.frames > 1 for s in slices):
        return (
            Reason("multi-frame", f"{first.frames} frames in one object; medseg reads one slice per file"),
        )
    if any(s.samples > 1 or s.photometric == "PALETTE COLOR" for s in slices):
        return (Reason("colour", "colour images, expected grey values of a scan"),)
    if any(s.has_lookup_table for s in slices):
        return (
            Reason("lookup-table", "a modality lookup table maps its values; medseg applies only slopes"),
        )
    if any("LOCALIZER" in s.image_type for s in slices):
        return (Reason("localizer", "a localizer (scout), not a scan to segment"),)
    if len({(s.rows, s.columns) for s in slices}) > 1:
        sizes = sorted({f"{s.columns}x{s.rows}" for s in slices})
        return (Reason("several-matrices", f"slices of different size in one series: {', '.join(sizes)}"),)
    if not np.isfinite([[s.slope, s.intercept] for s in slices]).all():
        return (Reason("bad-header", "a rescale slope of 0 or not a number"),)
    return ()


def _plane_faults(slices: tuple[Slice, ...]) -> tuple[Reason, ...]:
    """What forbids one in-plane grid for all slices."""
    if any(
        s.position is None or s.row is None or s.column is None or s.pixel_spacing is None for s in slices
    ):
        return (Reason("no-position", "slices without position, orientation or pixel spacing in one series"),)
    if len({s.frame_of_reference for s in slices}) > 1:
        return (
            Reason("several-frames-of-reference", "slices with different frames of reference in one series"),
        )
    planes = np.array([[*s.row, *s.column] for s in slices])  # type: ignore[misc]
    if np.abs(planes - planes[0]).max() > _DIRECTION_TOLERANCE:
        return (Reason("several-orientations", "slices of different orientation in one series"),)
    lengths = np.linalg.norm(planes[0].reshape(2, 3), axis=1)
    if np.abs(lengths - 1).max() > 1e-3 or abs(planes[0, :3] @ planes[0, 3:]) > 1e-3:
        return (Reason("bad-header", "the row and column directions are not at right angles"),)
    spacings = np.array([s.pixel_spacing for s in slices])
    if not (spacings > 0).all():
        return (Reason("bad-header", "a pixel spacing of 0 or less"),)
    if np.abs(spacings / spacings[0] - 1).max() > 1e-5:
        return (Reason("several-spacings", "slices of different pixel spacing in one series"),)
    return ()


def _in_plane(first: Slice) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Unit vectors along a row (column index grows) and along a column, LPS."""
    assert first.row is not None
    assert first.column is not None
    return first.row / np.linalg.norm(first.row), first.column / np.linalg.norm(first.column)


def _several_slices(slices: tuple[Slice, ...]) -> Stack:
    row, column = _in_plane(slices[0])
    normal = np.cross(row, column)
    ordered = tuple(sorted(slices, key=lambda s: float(normal @ s.position)))  # type: ignore[operator]
    positions = np.array([s.position for s in ordered])
    depths = positions @ normal
    faults = _repeats(ordered, depths)
    if faults:
        return Stack(ordered, None, faults=faults)
    count = len(ordered)
    step = (positions[-1] - positions[0]) / (count - 1)
    line = positions[0] + np.arange(count)[:, None] * step
    faults = _spacing_faults(depths)
    distance = float(np.linalg.norm(positions - line, axis=1).max())
    if not faults and distance > POSITION_TOLERANCE_MM:
        text = f"slices lie up to {distance:.3g} mm beside a straight line"
        faults = (Reason("uneven-positions", f"{text}; medseg has no way to place them exactly"),)
    angle = float(np.degrees(np.arccos(min(1.0, abs(normal @ step) / float(np.linalg.norm(step))))))
    if faults and angle > 0.1:
        faults += (Reason("tilt", f"the stack is tilted by {angle:.1f} degrees against its slices"),)
    return Stack(ordered, _affine(ordered[0], row, column, step), faults=faults)


def _repeats(ordered: tuple[Slice, ...], depths: NDArray[np.float64]) -> tuple[Reason, ...]:
    if np.diff(depths).min() > POSITION_TOLERANCE_MM:
        return ()
    uids = [s.sop_uid for s in ordered if s.sop_uid]
    if len(set(uids)) < len(uids):
        return (Reason("duplicate-slices", "the same slice is there more than once; remove the copies"),)
    groups = np.split(depths, np.flatnonzero(np.diff(depths) > POSITION_TOLERANCE_MM) + 1)
    times = {len(group) for group in groups}
    if len(groups) > 1 and len(times) == 1:
        text = f"{len(groups)} positions, each {times.pop()} times: several volumes (time, echo, contrast)"
        return (Reason("four-dimensional", f"{text}; export one of them"),)
    text = f"{len(ordered)} slices at {len(groups)} position{'s' if len(groups) > 1 else ''}"
    return (Reason("repeated-positions", f"{text}, expected one slice per position"),)


def _spacing_faults(depths: NDArray[np.float64]) -> tuple[Reason, ...]:
    """``missing-slices`` where gaps are multiples of the smallest, else ``uneven-spacing``; or nothing."""
    gaps = np.diff(depths)
    even = depths[0] + np.arange(len(depths)) * (depths[-1] - depths[0]) / (len(depths) - 1)
    if np.abs(depths - even).max() <= POSITION_TOLERANCE_MM:
        return ()
    unit = np.median(gaps[gaps < 1.5 * gaps.min()])
    multiples = np.rint(gaps / unit)
    refusal = "medseg does not fill such gaps, not even with allow; export the whole series or resample it"
    if np.abs(gaps - multiples * unit).max() <= max(2 * POSITION_TOLERANCE_MM, 0.01 * unit):
        missing = int((multiples - 1).sum())
        text = f"{missing} of {len(depths) + missing} slices {'is' if missing == 1 else 'are'} missing"
        if missing:
            return (
                Reason(
                    "missing-slices",
                    f"{text} ({unit:.4g} mm apart, gaps up to {gaps.max():.4g} mm): {refusal}",
                ),
            )
    text = f"slices are {gaps.min():.4g} to {gaps.max():.4g} mm apart"
    return (Reason("uneven-spacing", f"{text}, expected one distance: {refusal}"),)


def _one_slice(slices: tuple[Slice, ...]) -> Stack:
    first = slices[0]
    row, column = _in_plane(first)
    thickness = first.thickness if first.thickness is not None and first.thickness > 0 else None
    step = np.cross(row, column) * (thickness or 1.0)
    told = "its thickness is that of the header" if thickness else "its thickness is not known"
    verdict = Verdict.of("warning", "one-slice", f"a series of one slice; {told}")
    affine = _affine(first, row, column, step)
    return Stack(slices, affine, verdict, spacing_known=thickness is not None)


def _flat_image(slices: tuple[Slice, ...]) -> Stack:
    """A radiograph or a photograph: a plane that nobody placed in the patient."""
    if len(slices) > 1:
        text = f"{len(slices)} images without position in the patient; read them one by one"
        return Stack(slices, None, faults=(Reason("no-position", text),))
    first = slices[0]
    down, along = first.pixel_spacing or (1.0, 1.0)
    if not (down > 0 and along > 0):
        return Stack(slices, None, faults=(Reason("bad-header", "a pixel spacing of 0 or less"),))
    verdict = Verdict.of("warning", "orientation-unknown", "a plane without position in the patient")
    affine = np.diag([-along, -down, 1.0, 1.0])
    return Stack(slices, affine, verdict, is_2d=True, spacing_known=first.spacing_measured)


def _affine(
    first: Slice, row: NDArray[np.float64], column: NDArray[np.float64], step: NDArray[np.float64]
) -> NDArray[np.float64]:
    assert first.pixel_spacing is not None
    down, along = first.pixel_spacing
    matrix = np.eye(4)
    matrix[:3, 0] = row * along
    matrix[:3, 1] = column * down
    matrix[:3, 2] = step
    matrix[:3, 3] = first.position
    return np.asarray(_LPS_TO_RAS @ matrix)
