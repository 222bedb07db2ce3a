"""How slices follow each other: evenly, with gaps, unevenly; and the even grid that would hold them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medseg.io.dicom.objects import Vector
from medseg.verdict import Reason

POSITION_TOLERANCE_MM = 0.01
# Rounding in the last place of what was computed here must not decide.
ROUNDING_MM = 1e-9
# A repair makes at most so many planes of one slice: more would be mostly invented.
MOST_PLANES_PER_SLICE = 8
_TILT_DEGREES = 0.1
_PLANES_NAMED = 12


@dataclass(frozen=True, slots=True, eq=False)
class Spacing:
    """An even row of planes, and where on it the slices lie.

    Parameters
    ----------
    step
        From plane to plane, LPS mm. The first plane is the first slice's.
    planes, count
        Where on that row each slice lies (whole numbers, unless slices are uneven), and how many planes there
        are from the first slice to the last.
    faults
        Why this is not simply one plane per slice; empty where it is.
    repair
        What interpolating the other planes would mean, or None where it is out of the question.
    """

    step: Vector
    planes: NDArray[np.float64]
    count: int
    faults: tuple[Reason, ...] = ()
    repair: Reason | None = None


def is_even(depths: NDArray[np.float64]) -> bool:
    """Whether sorted depths in mm are evenly apart, within the tolerance."""
    if len(depths) < 3:
        return True
    even = np.linspace(depths[0], depths[-1], len(depths))
    return bool(np.abs(depths - even).max() <= POSITION_TOLERANCE_MM + ROUNDING_MM)


def judge_spacing(positions: NDArray[np.float64], normal: Vector) -> Spacing:
    """The even row of planes that holds slices at ``positions`` (N, 3), sorted along ``normal``, N >= 2.

    The ends are kept where they are, so the row runs through the first slice and the last one.
    """
    depths = (positions - positions[0]) @ normal
    whole = positions[-1] - positions[0]
    count = len(positions)
    even = Spacing(whole / (count - 1), np.arange(count, dtype=np.float64), count)
    if _distance(positions, even) <= POSITION_TOLERANCE_MM + ROUNDING_MM:
        return even
    beside = _beside_line(positions, depths)
    if beside is not None and is_even(depths):
        return Spacing(even.step, even.planes, count, (beside,))
    found = _with_gaps(positions, depths, whole) or _resampled(depths, whole)
    if beside is None:
        return found
    return Spacing(found.step, found.planes, found.count, (*found.faults, beside))


def tilt_faults(normal: Vector, step: Vector) -> tuple[Reason, ...]:
    """The name of a stack that is tilted against its slices, for a refusal that has other reasons too."""
    cosine = abs(float(normal @ step)) / float(np.linalg.norm(step))
    angle = float(np.degrees(np.arccos(min(1.0, cosine))))
    if angle <= _TILT_DEGREES:
        return ()
    text = f"the stack is tilted by {angle:.1f} degrees against its slices; allow=tilt keeps it so, exactly"
    return (Reason("tilt", text),)


def _distance(positions: NDArray[np.float64], row: Spacing) -> float:
    there = positions[0] + row.planes[:, None] * row.step
    return float(np.linalg.norm(positions - there, axis=1).max())


def _beside_line(positions: NDArray[np.float64], depths: NDArray[np.float64]) -> Reason | None:
    """A fault where slices are shifted within their planes, away from the line from first to last."""
    line = positions[0] + (depths / depths[-1])[:, None] * (positions[-1] - positions[0])
    distance = float(np.linalg.norm(positions - line, axis=1).max())
    if distance <= POSITION_TOLERANCE_MM + ROUNDING_MM:
        return None
    text = f"slices lie up to {distance:.3g} mm beside a straight line"
    return Reason("uneven-positions", f"{text}; medseg has no way to place them exactly")


def _with_gaps(positions: NDArray[np.float64], depths: NDArray[np.float64], whole: Vector) -> Spacing | None:
    """Slices at multiples of one distance, some missing; None where that is not what they are."""
    gaps = np.diff(depths)
    unit = float(np.median(gaps[gaps < 1.5 * gaps.min()]))
    multiples = np.rint(gaps / unit)
    missing = int((multiples - 1).sum())
    off = np.abs(gaps - multiples * unit).max()
    if missing == 0 or off > max(2 * POSITION_TOLERANCE_MM, 0.01 * unit):
        return None
    planes = np.concatenate([[0.0], np.cumsum(multiples)])
    count = int(planes[-1]) + 1
    text = (
        f"{missing} of {count} slices {'is' if missing == 1 else 'are'} missing ({unit:.4g} mm apart, "
        f"gaps up to {gaps.max():.4g} mm)"
    )
    row = Spacing(whole / (count - 1), planes, count)
    if missing > len(positions):
        text = f"{text}: more than are there, so filling them in would make up a scan"
        return Spacing(row.step, planes, count, (Reason("missing-slices", text),))
    fault = Reason(
        "missing-slices",
        f"{text}; export the whole series, or allow=missing-slices fills them in by linear interpolation",
    )
    if _distance(positions, row) > POSITION_TOLERANCE_MM + ROUNDING_MM:
        # What is there is not quite even either, so filling alone would move slices.
        resampled = _resampled(depths, whole)
        return Spacing(
            resampled.step, resampled.planes, resampled.count, (fault, *resampled.faults), resampled.repair
        )
    absent = sorted(set(range(count)) - set(planes.astype(int).tolist()))
    named = ", ".join(str(k + 1) for k in absent[:_PLANES_NAMED])
    named += ", ..." if len(absent) > _PLANES_NAMED else ""
    repair = Reason(
        "missing-slices",
        f"{missing} of {count} slices missing: filled in by linear interpolation between their neighbours "
        f"(plane{'s' if missing > 1 else ''} {named}, counted from 1)",
    )
    return Spacing(row.step, planes, count, (fault,), repair)


def _resampled(depths: NDArray[np.float64], whole: Vector) -> Spacing:
    """Planes as far apart as the smallest gap, a trifle closer, so that first and last slice stay."""
    gaps = np.diff(depths)
    intervals = int(np.ceil(depths[-1] / gaps.min() - 1e-6))
    planes = depths / depths[-1] * intervals
    if intervals + 1 > MOST_PLANES_PER_SLICE * len(depths):
        text = f"{_apart(gaps)}: too uneven to resample"
        return Spacing(whole / intervals, planes, intervals + 1, (Reason("uneven-spacing", text),))
    spacing = depths[-1] / intervals
    repair = Reason(
        "uneven-spacing",
        f"slices {gaps.min():.4g} to {gaps.max():.4g} mm apart: resampled linearly along the stack to "
        f"{intervals + 1} planes, {spacing:.4g} mm apart",
    )
    return Spacing(whole / intervals, planes, intervals + 1, (_uneven(depths),), repair)


def _uneven(depths: NDArray[np.float64]) -> Reason:
    gaps = np.diff(depths)
    cure = "allow=uneven-spacing resamples them linearly along the stack to the smallest distance"
    return Reason("uneven-spacing", f"{_apart(gaps)}, expected one distance; {cure}")


def _apart(gaps: NDArray[np.float64]) -> str:
    return f"slices are {gaps.min():.4g} to {gaps.max():.4g} mm apart"
