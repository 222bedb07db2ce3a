"""Which windows a model need not look at: a rule learnt from the training scans, and held against each.

Air holds no structure, so a window of nothing but air need not be looked at. That is checked: over every
training scan and every place where a window that holds a labelled voxel can stand, its brightest voxel must
lie clearly above the threshold. A label may well be of air, as that of a lung is: what counts is that no
window with a part of it is without a vessel, a wall, or other tissue.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import floor, inf
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import maximum_filter1d

from medseg.datasets import Case
from medseg.errors import PlanInvalid
from medseg.inference.empty import intensity_range
from medseg.inference.windows import window_starts
from medseg.plans import EmptyRule, Plan
from medseg.preprocess import network_geometry, resample
from medseg.training.fingerprint import read_case
from medseg.volume import LabelMap, Volume

Progress = Callable[[str, int, int], None]

# Per unit: the highest threshold (in HU that is between lung and fat), the margin, and decimals kept.
_HIGHEST = {"intensity": -300.0, "range": 0.1}
_MARGIN = {"intensity": 150.0, "range": 0.05}
_DECIMALS = {"intensity": 0, "range": 3}


@dataclass(frozen=True, slots=True, eq=False)
class _Seen:
    """What the windows of one scan hold, in the rule's unit.

    ``dimmest`` is the lowest maximum of any window, wherever it stands, that holds a labelled voxel;
    ``maxima`` are those of the windows that inference looks at.
    """

    dimmest: float
    maxima: NDArray[np.float64]


def propose_empty_rule(
    plan: Plan, cases: Sequence[Case], progress: Progress | None = None
) -> EmptyRule | None:
    """The rule for a plan's ``inference.empty``, or None where none is safe or none would skip anything.

    The channel is the first CT one, in its own units; without CT the first one, as a share of the range of
    each scan. The threshold is -300 HU (or a tenth of the range), or 150 HU (0.05) below the dimmest window
    with a labelled voxel where that is lower.

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
    dimmest = min((one.dimmest for one in seen), default=inf)
    factor = 10.0 ** _DECIMALS[rule.unit]
    below = floor(min(_HIGHEST[rule.unit], dimmest - _MARGIN[rule.unit]) * factor) / factor
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
        seen = _look_at(plan, rule, *read_case(case, plan.training_labels))
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
    inside = (label_map.data > 0) & (label_map.data != (plan.ignore_label or 0))
    # Any share of a labelled voxel counts.
    labelled = resample(inside[None].astype(np.float32), volume.geometry, grid)[0] > 0
    maxima = _window_maxima(scan, patch)
    holds = _window_maxima(labelled.astype(np.uint8), patch) > 0
    starts = window_starts(grid.shape, patch, plan.inference.overlap)
    return _Seen(
        dimmest=(float(maxima[holds].min()) - low) / (high - low) if holds.any() else inf,
        maxima=(maxima[tuple(np.transpose(starts))].astype(np.float64) - low) / (high - low),
    )


def _window_maxima(values: NDArray[Any], patch: Sequence[int]) -> NDArray[Any]:
    """The largest voxel of the window that starts at each voxel, as far as windows fit."""
    for axis, edge in enumerate(patch):
        # The filter's window is centred; shifted so that it starts at its voxel.
        values = maximum_filter1d(values, edge, axis=axis, origin=-(edge // 2), mode="nearest")
        values = values[(slice(None),) * axis + (slice(0, values.shape[axis] - edge + 1),)]
    return values
