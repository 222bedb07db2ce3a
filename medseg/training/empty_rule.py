"""Which windows a model need not look at: a rule learnt from the training scans, and held against each.

Air holds no structure, so a window of nothing but air need not be looked at. Where air ends is taken from
the intensities inside the labels, and then checked: over every training scan and every place where a
window that holds a labelled voxel can stand, its brightest voxel must lie clearly above the threshold.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import floor, inf
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import maximum_filter1d

from medseg.errors import PlanInvalid
from medseg.inference.empty import intensity_range
from medseg.inference.windows import window_starts
from medseg.plans import EmptyRule, Plan
from medseg.preprocess import network_geometry, resample
from medseg.training.dataset import Case
from medseg.training.fingerprint import read_case
from medseg.volume import LabelMap, Volume

Progress = Callable[[str, int, int], None]

# Per unit: the highest threshold (in HU that is between lung and fat), the least margin, decimals kept.
_HIGHEST = {"intensity": -300.0, "range": 0.1}
_LEAST_MARGIN = {"intensity": 50.0, "range": 0.02}
_DECIMALS = {"intensity": 0, "range": 3}
_MARGIN = 0.1  # of the range of intensities inside the labels
_SAMPLES_PER_CASE = 10_000


@dataclass(frozen=True, slots=True, eq=False)
class _Seen:
    """What the windows of one scan hold, in the rule's unit.

    ``dimmest`` is the lowest maximum of any window, wherever it stands, that holds a labelled voxel;
    ``maxima`` are those of the windows that inference looks at; ``labelled`` samples labelled voxels.
    """

    dimmest: float
    maxima: NDArray[np.float64]
    labelled: NDArray[np.float64]


def propose_empty_rule(
    plan: Plan, cases: Sequence[Case], progress: Progress | None = None
) -> EmptyRule | None:
    """The rule for a plan's ``inference.empty``, or None where none is safe or none would skip anything.

    The channel is the first CT one, in its own units; without CT the first one, as a share of the range of
    each scan. The threshold is the lowest of three: -300 HU (or a tenth of the range); the labelled voxels'
    0.5th percentile less a margin; the dimmest window with a labelled voxel less that margin, a tenth of the
    range that labelled voxels span, 50 HU (or 0.02) at least.

    Parameters
    ----------
    plan
        Its grid, patch and overlap decide the windows.
    cases
        Every case that the model will be trained on or chosen by; all are read, unless no scan can hold a
        whole window.
    """
    if _always_padded(plan):
        return None
    channel = next((n for n, one in enumerate(plan.channels) if one.modality == "CT"), None)
    rule = EmptyRule(channel=channel or 0, unit="range" if channel is None else "intensity", below=0.0)
    seen = _look(plan, rule, cases, progress)
    labelled = np.concatenate([one.labelled for one in seen]) if seen else np.empty(0)
    if labelled.size == 0:
        return None
    low, high = np.percentile(labelled, (0.5, 99.5))
    margin = max(_MARGIN * (high - low), _LEAST_MARGIN[rule.unit])
    dimmest = min(one.dimmest for one in seen)
    factor = 10.0 ** _DECIMALS[rule.unit]
    below = floor(min(_HIGHEST[rule.unit], low - margin, dimmest - margin) * factor) / factor
    skipped = sum(int((one.maxima < below).sum()) for one in seen)
    return rule.model_copy(update={"below": below}) if skipped else None


def check_empty_rule(plan: Plan, cases: Sequence[Case], progress: Progress | None = None) -> None:
    """Refuse a rule that would skip a window with a labelled voxel in it, wherever that window stands.

    Raises
    ------
    PlanInvalid
        With the highest threshold that would not.
    """
    rule = plan.inference.empty
    if rule is None or _always_padded(plan):
        return
    seen = _look(plan, rule, cases, progress)
    dimmest = min((one.dimmest for one in seen), default=inf)
    if dimmest < rule.below:
        unit = "" if rule.unit == "intensity" else " of the range"
        raise PlanInvalid(
            f"inference.empty.below {rule.below:g}: windows that hold labelled voxels would be skipped, "
            f"the dimmest of which reaches {dimmest:.4g}{unit}: lower it, or set inference.empty to null"
        )


def _always_padded(plan: Plan) -> bool:
    """Whether every window of every training scan reaches past the scan, where none is ever empty."""
    fingerprint = plan.fingerprint
    if fingerprint is None:
        return False
    if plan.grid.orientation is None:  # the fingerprint's axes are not the network's
        return plan.grid.spacing_mm is None and max(fingerprint.shape_max) < max(plan.patch)
    for axis, edge in enumerate(plan.patch):
        size: float = fingerprint.shape_max[axis]
        if plan.grid.spacing_mm is not None:
            size *= fingerprint.spacing_max[axis] / plan.grid.spacing_mm[axis]
        if size + 1 < edge:
            return True
    return False


def _look(plan: Plan, rule: EmptyRule, cases: Sequence[Case], progress: Progress | None) -> list[_Seen]:
    """Every scan on which the rule could skip a window."""
    found = []
    for number, case in enumerate(cases):
        seen = _look_at(plan, rule, *read_case(case, plan.label_set))
        if seen is not None:
            found.append(seen)
        if progress is not None:
            progress("empty windows", number + 1, len(cases))
    return found


def _look_at(plan: Plan, rule: EmptyRule, volume: Volume, label_map: LabelMap) -> _Seen | None:
    grid = network_geometry(volume.geometry, plan.grid)
    patch = (*plan.patch, 1) if plan.dimensions == 2 else plan.patch
    low, high = intensity_range(volume.data[rule.channel]) if rule.unit == "range" else (0.0, 1.0)
    if any(n < p for n, p in zip(grid.shape, patch, strict=True)) or not high > low:
        return None
    scan = resample(volume.data[rule.channel : rule.channel + 1], volume.geometry, grid)[0]
    inside = label_map.data > 0
    # Any share of a labelled voxel counts.
    labelled = resample(inside[None].astype(np.float32), volume.geometry, grid)[0] > 0
    maxima = _window_maxima(scan, patch)
    holds = _window_maxima(labelled.astype(np.uint8), patch) > 0
    starts = window_starts(grid.shape, patch, plan.inference.overlap)
    return _Seen(
        dimmest=(float(maxima[holds].min()) - low) / (high - low) if holds.any() else inf,
        maxima=(maxima[tuple(np.transpose(starts))].astype(np.float64) - low) / (high - low),
        labelled=(_sample(volume.data[rule.channel], inside) - low) / (high - low),
    )


def _window_maxima(values: NDArray[Any], patch: Sequence[int]) -> NDArray[Any]:
    """The largest voxel of the window that starts at each voxel, as far as windows fit."""
    for axis, edge in enumerate(patch):
        # The filter's window is centred; shifted so that it starts at its voxel.
        values = maximum_filter1d(values, edge, axis=axis, origin=-(edge // 2), mode="nearest")
        values = values[(slice(None),) * axis + (slice(0, values.shape[axis] - edge + 1),)]
    return values


def _sample(channel: NDArray[Any], inside: NDArray[np.bool_]) -> NDArray[np.float64]:
    where = np.flatnonzero(inside)
    step = max(1, where.size // _SAMPLES_PER_CASE)
    index = np.unravel_index(where[::step], inside.shape)
    values: NDArray[np.float64] = channel[index].astype(np.float64)
    return values
