"""A scan as its network wants to see it, and the way back to the scan's own grid."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medseg.errors import InputRefused
from medseg.geometry import Geometry
from medseg.plans import Plan
from medseg.preprocess.grid import network_geometry
from medseg.preprocess.normalise import normalise
from medseg.preprocess.resample import resample, resample_classes
from medseg.volume import LabelMap, Volume
from medseg.words import counted


@dataclass(frozen=True, slots=True, eq=False)
class Prepared:
    """A scan on the network's grid: ``data`` float32 (C, x, y, z), its grid, and the scan's own grid."""

    data: NDArray[np.float32]
    geometry: Geometry
    native: Geometry


def check_fits(volume: Volume, plan: Plan) -> None:
    """Refuse a scan that the plan's network cannot see.

    Raises
    ------
    InputRefused
        ``channels`` if the number of channels is not the plan's; ``dimensions`` if a 2D image meets a
        3D plan; ``spacing-unknown`` if the plan needs a spacing that the file does not tell.
    """
    found, wanted = volume.data.shape[0], len(plan.channels)
    if found != wanted:
        names = ", ".join(channel.name for channel in plan.channels)
        cure = "give one file per channel with --case, or use another model"
        if wanted == 1:
            cure = "give it alone (a colour picture converted to grey), or use another model"
        raise InputRefused(
            f"the scan has {counted(found, 'channel')}, model {plan.name!r} needs {wanted} ({names}): {cure}",
            code="channels",
        )
    geometry = volume.geometry
    if plan.dimensions == 3 and geometry.is_2d:
        raise InputRefused(
            f"a 2D image of {geometry.shape[0]}x{geometry.shape[1]} pixels, model {plan.name!r} needs 3D: "
            f"give the whole series, or use a 2D model",
            code="dimensions",
        )
    if plan.grid.spacing_mm is not None and not geometry.spacing_known:
        raise InputRefused(
            f"the file does not tell its spacing, model {plan.name!r} works at "
            f"{' x '.join(f'{s:g}' for s in plan.grid.spacing_mm)} mm: convert it to a format with a spacing",
            code="spacing-unknown",
        )


def prepare(volume: Volume, plan: Plan) -> Prepared:
    """Orient, resample (linear), and normalise a whole scan as the plan says.

    Raises
    ------
    InputRefused
        As `check_fits`.
    """
    check_fits(volume, plan)
    geometry = volume.geometry
    target = network_geometry(geometry, plan.grid)
    moved = resample(volume.data, geometry, target)
    data = np.empty(moved.shape, np.float32)
    for index, channel in enumerate(plan.channels):
        data[index] = normalise(moved[index], channel)
    return Prepared(data, target, geometry)


def prepare_labels(labels: LabelMap, plan: Plan) -> NDArray[np.uint8]:
    """Class indices (x, y, z) on the network's grid; index n stands for ``plan.class_ids[n]``.

    Voxels that nobody judged, those of the plan's ``ignore_label``, have its ``ignore_class``.

    Raises
    ------
    InputRefused
        ``unknown-label`` if the map holds an id that the plan does not know.
    """
    ids = plan.class_ids if plan.ignore_label is None else (*plan.class_ids, plan.ignore_label)
    if len(ids) > 256:
        raise InputRefused(f"{len(ids)} classes: at most 256 are supported", code="too-many-labels")
    lookup = np.full(int(max(labels.data.max(initial=0), *ids)) + 1, -1, np.int32)
    lookup[list(ids)] = np.arange(len(ids))
    classes = lookup[labels.data]
    if (classes < 0).any():
        unknown = sorted({int(i) for i in np.unique(labels.data[classes < 0])})
        raise InputRefused(
            f"label ids {unknown[:10]} are not among the plan's {list(ids)}: add them to the "
            f"dataset's labels, or remove them from the map",
            code="unknown-label",
        )
    target = network_geometry(labels.geometry, plan.grid)
    return resample_classes(classes.astype(np.uint8), labels.geometry, target, len(ids))


def restore(array: NDArray[Any], network: Geometry, native: Geometry) -> NDArray[np.float32]:
    """Logits or probabilities (K, x, y, z) from the network's grid to the scan's own (K, I, J, K).

    Linear interpolation; an exact copy where the grids share their voxels.
    """
    return resample(array, network, native).astype(np.float32, copy=False)
