"""How one set of points is placed, turned and scaled against another."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

_KEPT = 0.75  # of the points decide in the second fit: those that the first one matches best


@dataclass(frozen=True, slots=True, eq=False)
class Pose:
    """``found = scale * rotation @ expected + shift``: world mm, right, anterior, superior."""

    rotation: Floats
    scale: float
    shift: Floats

    def place(self, points: Floats) -> Floats:
        """Where points (N, 3) of the typical anatomy lie in the scan."""
        placed: Floats = self.scale * points @ self.rotation.T + self.shift
        return placed

    @property
    def degrees(self) -> float:
        """How far it is turned, about whichever axis: 0 to 180."""
        return float(np.degrees(np.arccos(np.clip((np.trace(self.rotation) - 1) / 2, -1, 1))))


def fit_pose(expected: Floats, found: Floats) -> Pose | None:
    """The similarity that brings points closest to others (Umeyama, IEEE PAMI 13(4), 1991), twice.

    Least squares over all points, then over the three quarters that lie closest, so that a few points
    that are somewhere else entirely do not decide.

    Parameters
    ----------
    expected, found
        (N, 3) each, row by row the same structures.

    Returns
    -------
    Pose or None
        None for fewer than four points, or points that span less than a plane: the turn is then not known.
    """
    pose = _fit(expected, found)
    if pose is None:
        return None
    apart = np.linalg.norm(pose.place(expected) - found, axis=1)
    kept = np.argsort(apart, kind="stable")[: max(4, round(_KEPT * len(apart)))]
    return _fit(expected[kept], found[kept]) or pose


def _fit(expected: Floats, found: Floats) -> Pose | None:
    if len(expected) < 4:
        return None
    middle, target = expected.mean(axis=0), found.mean(axis=0)
    a, b = expected - middle, found - target
    u, strengths, v = np.linalg.svd(b.T @ a)
    if strengths[1] <= 1e-6 * strengths[0] or strengths[0] == 0:
        return None
    signs = np.array([1.0, 1.0, np.sign(np.linalg.det(u) * np.linalg.det(v))])
    rotation = (u * signs) @ v
    scale = float((strengths * signs).sum() / (a * a).sum())
    return Pose(rotation, scale, target - scale * rotation @ middle)
