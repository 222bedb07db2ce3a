"""fit_scope: learn from training scans what a model is for."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medseg.geometry import Geometry
from medseg.models import Anatomy, FeatureRange, Scope
from medseg.plans import Plan
from medseg.quality.features import channel_features, coarse_layout, in_ras_order, sorted_lengths
from medseg.quality.foreground import FOREGROUND_FEATURES, foreground_features
from medseg.volume import Volume

# How far past the training scans a value may lie. Lengths: a share of the value. Features: a share of
# the range that the training scans span, so that the next scan of their kind is not reported.
_LENGTH_MARGIN = 0.25
_FEATURE_MARGIN = 0.5
# The smallest margins that make sense: few training scans, or very equal ones, span no range.
_SMALLEST_MARGIN = {
    "floor_fraction": 0.1,
    "skewness": 0.5,
    "kurtosis": 1.5,
    "entropy": 0.05,
    "smoothness_low": 0.05,
    "smoothness_high": 0.03,
    "centre_contrast": 0.3,
    "layout": 0.2,
}
# Of the foreground: its size and shape are the same in every contrast, so that half the room is enough.
_FOREGROUND_MARGIN = 0.25
_SMALLEST_FOREGROUND_MARGIN = {
    "foreground_litres": 0.4,
    "foreground_right_mm": 15.0,
    "foreground_anterior_mm": 15.0,
    "foreground_superior_mm": 30.0,
    "foreground_fill": 0.05,
    "cut_side": 0.25,
    "cut_front_or_back": 0.2,
    "cut_top": 0.2,
    "top_area": 0.15,
    "coarse_smoothness_low": 0.05,
    "coarse_smoothness_high": 0.05,
    "mirror_symmetry": 0.05,
}
INTENSITY_FEATURES = tuple(_SMALLEST_MARGIN)

Lengths = tuple[float, ...]


@dataclass(slots=True)
class _Channel:
    """What the scans seen so far look like in one channel, in the features that are wanted."""

    wanted: frozenset[str]
    features: list[dict[str, float]] = field(default_factory=list)
    layouts: list[NDArray[np.float64] | None] = field(default_factory=list)

    def add(self, data: NDArray[Any], geometry: Geometry, flat: bool) -> None:
        turned = in_ras_order(data, geometry)
        found = channel_features(turned, flat=flat)
        if self.wanted.intersection(FOREGROUND_FEATURES) and geometry.spacing_known:
            found |= foreground_features(data, geometry)
        self.features.append({key: value for key, value in found.items() if key in self.wanted})
        self.layouts.append(coarse_layout(turned, flat=flat) if "layout" in self.wanted else None)

    def typical_layout(self) -> tuple[float, ...]:
        """The mean of all layouts; empty where a scan has none."""
        known = [layout for layout in self.layouts if layout is not None]
        total = np.sum(known, axis=0) if len(known) == len(self.layouts) else np.zeros(1)
        norm = float(np.linalg.norm(total))
        return tuple(_rounded(v / norm) for v in total) if norm > 0 else ()

    def values(self) -> dict[str, list[float]]:
        """Per feature that every scan has, its values; ``layout`` compares each scan with all others."""
        names = [key for key in self.features[0] if all(key in one for one in self.features)]
        values = {key: [one[key] for one in self.features] for key in names}
        layouts = [layout for layout in self.layouts if layout is not None]
        if len(layouts) == len(self.layouts) and len(layouts) > 1:
            total = np.sum(layouts, axis=0)
            values["layout"] = [_correlation(layout, total - layout) for layout in layouts]
        return values


def fit_scope(
    volumes: Iterable[Volume],
    plan: Plan,
    description: str,
    modalities: Sequence[str] | None = None,
    *,
    features: Collection[str] = INTENSITY_FEATURES,
    spacing_mm: tuple[Lengths, Lengths] | None = None,
    anatomy: Anatomy | None = None,
) -> Scope:
    """Learn a scope from training scans, one at a time; never give it a held-back scan.

    Parameters
    ----------
    volumes
        Scans as read, before preprocessing. Those of unknown spacing add nothing to the lengths.
    plan
        Says the dimensions; and the modalities, where ``modalities`` is None.
    description
        For people: which scans the model is for.
    modalities
        DICOM modalities to accept; empty accepts any.
    features
        Names of those to learn, of `channel_features` (and ``layout``) and `foreground_features`. A model of
        any contrast knows scans by `FOREGROUND_FEATURES`, and masks by ``entropy``.
    spacing_mm
        Smallest and largest voxels that the model is for, sorted ascending each, where that is known
        better than from these scans.
    anatomy
        What its segmentations look like: `fit_anatomy`.

    Raises
    ------
    ValueError
        If there is no scan, or a feature of that name.
    """
    flat = plan.dimensions == 2
    wanted = frozenset(features)
    known = {*INTENSITY_FEATURES, *(() if flat else FOREGROUND_FEATURES)}
    if not wanted <= known:
        unknown, there = ", ".join(sorted(wanted - known)), ", ".join(sorted(known))
        raise ValueError(f"no features {unknown} in {plan.dimensions}D; there are {there}")
    spacings: list[Lengths] = []
    extents: list[Lengths] = []
    channels = [_Channel(wanted) for _ in plan.channels]
    count = 0
    for volume in volumes:
        count += 1
        if volume.geometry.spacing_known:
            spacing, extent = sorted_lengths(volume.geometry, plan.dimensions)
            spacings.append(spacing)
            extents.append(extent)
        for channel, data in zip(channels, volume.data, strict=True):
            channel.add(data, volume.geometry, flat)
    if count == 0:
        raise ValueError("a scope is learnt from scans, got none")
    if modalities is None:
        modalities = sorted({channel.modality for channel in plan.channels if channel.modality})
    spacing_min, spacing_max = spacing_mm or _limits(spacings)
    extent_min, extent_max = _limits(extents)
    return Scope(
        dimensions=plan.dimensions,
        description=description,
        modalities=tuple(modalities),
        spacing_min_mm=spacing_min,
        spacing_max_mm=spacing_max,
        extent_min_mm=extent_min,
        extent_max_mm=extent_max,
        features=tuple(_ranges(channel.values()) for channel in channels),
        layouts=tuple(channel.typical_layout() for channel in channels),
        anatomy=anatomy,
    )


def _limits(lengths: list[Lengths]) -> tuple[Lengths, Lengths] | tuple[None, None]:
    if not lengths:
        return None, None
    values = np.array(lengths)
    low, high = values.min(axis=0) / (1 + _LENGTH_MARGIN), values.max(axis=0) * (1 + _LENGTH_MARGIN)
    return tuple(map(_rounded, low)), tuple(map(_rounded, high))


def _ranges(values: dict[str, list[float]]) -> dict[str, FeatureRange]:
    """Lowest and highest value of each feature, with a margin."""
    ranges = {}
    for key, found in values.items():
        low, high = min(found), max(found)
        if key in FOREGROUND_FEATURES:
            margin = max(_SMALLEST_FOREGROUND_MARGIN[key], _FOREGROUND_MARGIN * (high - low))
        else:
            margin = max(_SMALLEST_MARGIN[key], _FEATURE_MARGIN * (high - low))
        ranges[key] = FeatureRange(low=_rounded(low - margin), high=_rounded(high + margin))
    return ranges


def _correlation(layout: NDArray[np.float64], others: NDArray[np.float64]) -> float:
    norm = float(np.linalg.norm(others))
    return float(layout @ others) / norm if norm > 0 else 0.0


def _rounded(value: float) -> float:
    """Five digits: more would only make the bundle's YAML hard to read."""
    return float(f"{value:.5g}")
