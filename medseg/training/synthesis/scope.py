"""What a model that learnt from made images is for: learnt from scans as scanners would store them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

import numpy as np
from scipy import ndimage

from medseg.errors import UsageError
from medseg.geometry import Geometry
from medseg.models import Scope
from medseg.plans import Plan, SynthesisPlan
from medseg.preprocess import network_geometry
from medseg.quality import FOREGROUND_FEATURES, fit_anatomy, fit_scope
from medseg.training.synthesis.generator import tissue_map
from medseg.training.synthesis.scans import synthetic_scan
from medseg.volume import LabelMap, Volume

# mm, sorted: the finest voxels that scanners make, and slices as thick as training knows, with some room.
SPACING_MM = ((0.3, 0.3, 0.3), (4.5, 5.5, 9.0))
_GRID_MM = 2.0
_VOXELS_MM = ((2, 2, 2), (2, 2, 5), (2, 7.5, 2), (5, 2, 2), (3, 3, 3), (2, 2, 8), (2.5, 2.5, 4), (4, 4, 4))
# Where the field of view ends, outside of what is segmented.
_NEAREST_MM, _FARTHEST_MM, _FARTHEST_BELOW_MM = 4.0, 60.0, 90.0
_INSIDE_MM = -8.0  # above and below, slices may be too few
_CLOSE_MM = (0.0, 10.0)  # round every second stripped scan
_STRIPPED_EVERY = 5


def fit_synthetic_scope(
    label_maps: Iterable[LabelMap], plan: Plan, description: str, *, count: int = 156, first: int = 10_000
) -> Scope:
    """Learn a scope from label maps: of the scans made from them, and of the anatomy that they hold.

    What a scan looks like depends on no contrast: `FOREGROUND_FEATURES`, and ``entropy``, which a mask lacks.

    Parameters
    ----------
    label_maps
        Those that were trained with, read one at a time; never held-back ones. They hold the values of
        ``plan.synthesis.tissues``.
    plan
        With a section ``synthesis``.
    description
        For people: which scans the model is for.
    count
        Scans to make, on a grid of 2 mm: about half a second each.
    first
        Number of the first scan, see `usual_scans`.
    """
    coarse = [coarser(one) for one in label_maps]
    return fit_scope(
        (volume for _, volume, _ in usual_scans(coarse, plan, count, first)),
        plan,
        description,
        (),
        features=(*FOREGROUND_FEATURES, "entropy"),
        spacing_mm=SPACING_MM,
        anatomy=fit_anatomy(segmented(one, plan) for one in coarse),
    )


def usual_scans(
    label_maps: Sequence[LabelMap], plan: Plan, count: int, first: int
) -> Iterator[tuple[str, Volume, LabelMap]]:
    """Scans as scanners might make and store them, on a grid of 2 mm, each with a few words and its truth.

    Every contrast of the plan and any at all in turn, thick slices in each direction, arrays in any order,
    every fifth stripped of what is not segmented. The field of view ends up to 60 mm outside of what is
    segmented (90 mm below), or where the label map does; above and below it may end 8 mm inside. A scan's
    number, from ``first`` on, decides it.
    """
    contrasts = (*_synthesis(plan).contrasts, "random")
    plan = _coarse(plan)
    for n in range(first, first + count):
        random = np.random.default_rng(n)
        contrast = contrasts[n % len(contrasts)]
        strip = n % _STRIPPED_EVERY == 0
        voxel = _VOXELS_MM[random.integers(len(_VOXELS_MM))]
        whole = label_maps[n // len(contrasts) % len(label_maps)]
        volume, truth = synthetic_scan(whole, plan, seed=n, contrast=contrast, voxel_mm=voxel, strip=strip)
        close = strip and random.random() < 0.5
        window = _field_of_view(truth, plan, random, close=close)
        i, j, k = random.permutation(3).tolist()
        flips = tuple(bool(flip) for flip in random.integers(0, 2, 3))
        turn = tuple(slice(None, None, -1 if flip else 1) for flip in flips)
        starts, sizes = [one.start for one in window], [one.stop - one.start for one in window]
        cropped = truth.geometry.cropped((starts[0], starts[1], starts[2]), (sizes[0], sizes[1], sizes[2]))
        geometry = cropped.permuted((i, j, k), (flips[0], flips[1], flips[2]))
        ids = truth.data[window].transpose(i, j, k)[turn]
        data = volume.data[0][window].transpose(i, j, k)[turn]
        words = f"{contrast}{' stripped' if strip else ''} {'x'.join(map(str, voxel))} mm, {n}"
        yield words, Volume(data[None], geometry), LabelMap(ids, geometry, truth.labels)


def coarser(label_map: LabelMap) -> LabelMap:
    """Every second voxel of a map of 1 mm: enough to make scans of 2 mm."""
    steps = [max(1, round(_GRID_MM / mm)) for mm in label_map.geometry.spacing]
    data = label_map.data[tuple(slice(None, None, step) for step in steps)]
    geometry = Geometry(data.shape, label_map.geometry.affine @ np.diag([*steps, 1.0]))
    return replace(label_map, data=np.ascontiguousarray(data), geometry=geometry)


def segmented(label_map: LabelMap, plan: Plan) -> LabelMap:
    """A label map of tissues as the segmentation that the model should find, on a grid of 2 mm."""
    plan = _coarse(plan)
    ids = np.array([tissue.segment for tissue in _synthesis(plan).tissues], np.uint16)
    geometry = network_geometry(label_map.geometry, plan.grid)
    return LabelMap(ids[tissue_map(label_map, plan)], geometry, plan.label_set)


def _synthesis(plan: Plan) -> SynthesisPlan:
    if plan.synthesis is None:
        raise UsageError(f"plan {plan.name!r} has no section `synthesis`: scans are made by one")
    return plan.synthesis


def _coarse(plan: Plan) -> Plan:
    grid = plan.grid.model_copy(update={"spacing_mm": (_GRID_MM,) * 3})
    return plan.model_copy(update={"grid": grid})


def _field_of_view(
    truth: LabelMap, plan: Plan, random: np.random.Generator, *, close: bool
) -> tuple[slice, ...]:
    """Voxels that the scan holds along right, anterior, superior."""
    inner = np.isin(truth.data, [0, *_synthesis(plan).strip_labels], invert=True)
    boxes = ndimage.find_objects(inner.astype(np.int8)) or [tuple(slice(0, n) for n in inner.shape)]
    window = []
    for axis, box in enumerate(boxes[0]):
        n, mm = inner.shape[axis], truth.geometry.spacing[axis]
        nearest = _INSIDE_MM if axis == 2 else _NEAREST_MM
        below = random.uniform(nearest, _FARTHEST_BELOW_MM if axis == 2 else _FARTHEST_MM) / mm
        above = random.uniform(nearest, _FARTHEST_MM) / mm
        if close:
            below, above = random.uniform(*_CLOSE_MM, 2) / mm
        start = max(0, int(box.start - below))
        window.append(slice(start, min(n, max(int(box.stop + above), start + 2))))
    return tuple(window)
