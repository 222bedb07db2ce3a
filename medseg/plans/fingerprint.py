"""Fingerprint: what a dataset looks like."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from medseg.plans.strict import Strict


class ChannelStatistics(Strict):
    """Intensities of one channel inside the labelled foreground, over all cases."""

    name: str = Field(description="the channel")
    modality: str | None = Field(description="CT, MR ... where the dataset says it")
    mean: float = Field(description="mean of the labelled voxels")
    std: float = Field(description="their standard deviation")
    percentile_00_5: float = Field(description="their 0.5th percentile")
    percentile_99_5: float = Field(description="their 99.5th percentile")


class Fingerprint(Strict):
    """What a dataset looks like. Lengths in mm, axes after reorientation to the plan's orientation."""

    cases: int = Field(description="how many cases were looked at")
    dimensions: Literal[2, 3] = Field(description="2 for pictures, 3 for volumes")
    spacing_known: bool = Field(description="whether the files tell the size of a voxel")
    spacing_median: tuple[float, float, float] = Field(description="per axis, mm")
    spacing_min: tuple[float, float, float] = Field(description="per axis, mm")
    spacing_max: tuple[float, float, float] = Field(description="per axis, mm")
    shape_median: tuple[int, int, int] = Field(description="per axis, voxels")
    shape_min: tuple[int, int, int] = Field(description="per axis, voxels")
    shape_max: tuple[int, int, int] = Field(description="per axis, voxels")
    channels: tuple[ChannelStatistics, ...] = Field(description="intensities of each channel")
    voxel_fraction: dict[int, float] = Field(description="label id (0 included) to share of all voxels")
    cases_with_label: dict[int, int] = Field(description="label id to number of cases that have it")
