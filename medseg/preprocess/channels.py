"""Channels of one scan that lie on grids of their own, brought onto the first one's by world coordinates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import reduce
from operator import add

import numpy as np
from numpy.typing import NDArray

from medseg.errors import InputRefused
from medseg.geometry import Geometry
from medseg.verdict import OK, Verdict
from medseg.volume import Volume

# A channel that shows less of the first one's field of view than this is another part of the body, or
# belongs behind a smaller one.
LEAST_COVERED = 0.75


def stack_channels(volumes: Sequence[Volume], names: Sequence[str]) -> Volume:
    """Volumes of one scan as the channels of one, on the first one's grid.

    A volume on that grid is taken as it is. Another is resampled to it by world coordinates, rotated grids
    included (linear), which its verdict says: ``channel-resampled``, ``repaired``, or a ``warning`` where
    parts of the first one's field of view lie outside of the channel's. There it gets its lowest value, as if
    it showed air. Nothing is registered: who moved between two channels is not moved back.

    Parameters
    ----------
    volumes
        At least one. Each brings as many channels as it has.
    names
        What each is called in messages.

    Returns
    -------
    Volume
        On the first one's grid, from the files of all.

    Raises
    ------
    InputRefused
        ``channel-field-of-view`` if a volume covers less than three quarters of the first one's voxels;
        ``grid-differs`` if grids differ and one is a picture, or its spacing is unknown.
    """
    first = volumes[0]
    if len(volumes) == 1:
        return first
    arrays, verdict = [first.data], first.verdict
    for name, volume in zip(names[1:], volumes[1:], strict=True):
        data, moved = volume.data, OK
        if not volume.geometry.same_grid(first.geometry):
            data, moved = _brought(volume, first.geometry, name, names[0])
        arrays.append(data)
        verdict = reduce(add, (verdict, volume.verdict, moved))
    paths = tuple(path for volume in volumes for path in volume.source.paths)
    return Volume(np.concatenate(arrays), first.geometry, replace(first.source, paths=paths), verdict)


def _brought(volume: Volume, target: Geometry, name: str, first: str) -> tuple[NDArray[np.float32], Verdict]:
    source = volume.geometry
    grids = f"channel {name!r} has {_words(source)}, channel {first!r} {_words(target)}"
    if any(grid.is_2d or not grid.spacing_known for grid in (source, target)):
        raise InputRefused(
            f"{grids}: without a place in space they cannot be aligned; give channels of one size",
            code="grid-differs",
        )
    inside = _inside(source, target)
    covered = float(inside.mean())
    if covered < LEAST_COVERED:
        shows = f"shows {covered:.0%} of" if covered else "does not overlap"
        raise InputRefused(
            f"channel {name!r} {shows} the field of view of channel {first!r}, expected at least "
            f"{LEAST_COVERED:.0%} ({grids}): name the channel with the smallest field of view first, leave "
            f"{name!r} out, or give the scan of the same body part",
            code="channel-field-of-view",
        )
    text = f"{grids}: {name!r} was resampled onto the grid of {first!r}"
    if inside.all():
        verdict = Verdict.of("repaired", "channel-resampled", text)
    else:
        text += f", of which {1 - covered:.1%} lies outside of {name!r} and got its lowest value"
        verdict = Verdict.of("warning", "channel-resampled", text)
    return _resampled(volume, target, inside), verdict


def _inside(source: Geometry, target: Geometry) -> NDArray[np.bool_]:
    """Which voxels (I, J, K) of ``target`` have their centre within the voxels of ``source``."""
    matrix = np.linalg.inv(source.affine) @ target.affine
    across = np.indices(target.shape[:2]).reshape(2, -1)
    inside = np.empty(target.shape, bool)
    for k in range(target.shape[2]):  # a plane at a time: coordinates of all voxels would be 24 bytes each
        index = matrix[:3, :2] @ across + (matrix[:3, 2] * k + matrix[:3, 3])[:, None]
        last = np.array(source.shape)[:, None] - 0.5
        inside[..., k] = ((index >= -0.5) & (index <= last)).all(axis=0).reshape(target.shape[:2])
    return inside


def _resampled(volume: Volume, target: Geometry, inside: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Linear interpolation at the target's voxel centres; the lowest value outside of the scan."""
    from scipy.ndimage import affine_transform  # a tenth of a second that inference of one grid need not wait

    matrix = np.linalg.inv(volume.geometry.affine) @ target.affine
    moved = np.empty((len(volume.data), *target.shape), np.float32)
    for channel, values in zip(volume.data, moved, strict=True):
        affine_transform(channel, matrix[:3, :3], matrix[:3, 3], output=values, order=1, mode="nearest")
        values[~inside] = channel.min()
    return moved


def _words(geometry: Geometry) -> str:
    shape = "x".join(map(str, geometry.shape))
    return f"{shape} voxels of {'x'.join(f'{s:.3g}' for s in geometry.spacing)} mm ({geometry.orientation})"
