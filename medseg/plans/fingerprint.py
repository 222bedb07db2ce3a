"""Fingerprint: what a dataset looks like."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from medseg.plans.strict import Strict


class ChannelStatistics(Strict):
    """Intensities of one channel inside the labelled foreground, over all cases."""

    name: str
    modality: str | None
    mean: float
    std: float
    percentile_00_5: float
    percentile_99_5: float


class Fingerprint(Strict):
    """What a dataset looks like. Lengths in mm, axes after reorientation to the plan's orientation."""

    cases: int
    dimensions: Literal[2, 3]
    spacing_known: bool
    spacing_median: tuple[float, float, float]
    spacing_min: tuple[float, float, float]
    spacing_max: tuple[float, float, float]
    shape_median: tuple[int, int, int]
    shape_min: tuple[int, int, int]
    shape_max: tuple[int, int, int]
    channels: tuple[ChannelStatistics, ...]
    voxel_fraction: dict[int, float] = Field(description="label id (0 included) to share of all voxels")
    cases_with_label: dict[int, int] = Field(description="label id to number of cases that have it")
