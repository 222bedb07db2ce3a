"""How a model is used: windows, what it need not look at, what stays of its result; and its card."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from medseg.plans.postprocess import LargestComponentStep, PostprocessStep
from medseg.plans.strict import Fraction, Positive, Strict


class EmptyRule(Strict):
    """When a window holds nothing to segment, so that the network need not look at it.

    A window is empty if every voxel of it is below ``below`` in the channel ``channel``, on the network's
    grid: in the scan's own units (``intensity``, for CT), or as a share of the way from the scan's 1st to
    its 99th percentile (``range``, where intensities mean nothing by themselves). A window that reaches
    past the scan is never empty.
    """

    channel: int = Field(default=0, ge=0, description="index into the plan's channels")
    unit: Literal["intensity", "range"] = Field(
        default="intensity", description="the scan's own units, or a share of its 1st to 99th percentile"
    )
    below: float = Field(allow_inf_nan=False, description="a window whose voxels all lie below is empty")


class CropRule(Strict):
    """What of a scan its network need see: the box of its foreground, so that no window runs on air.

    Foreground is brighter than ``above`` of the way from the scan's own 0.5th to its 99.5th percentile, in
    the mean of blocks of about 4 mm, in any channel (`medseg.preprocess.foreground_box`). The margin must
    cover a block that tissue only touches. A scan's own statistics (``zscore``, ``range``) are then those of
    the box.
    """

    above: Fraction = Field(
        default=0.1,
        description="share of the way from the 0.5th to the 99.5th percentile, above it foreground",
    )
    margin_mm: float = Field(
        default=8.0, ge=0, allow_inf_nan=False, description="kept round the foreground's box"
    )
    top_mm: Positive | None = Field(
        default=None,
        description="of the foreground only so much from its superior end down: a head without its neck",
    )


class InferencePlan(Strict):
    """Defaults that a bundle carries for inference."""

    overlap: float = Field(
        default=0.5, ge=0, lt=1, description="share of a window's edge that its neighbour covers too"
    )
    gaussian_sigma: Positive = Field(
        default=0.125, description="of the window weights, as a share of the patch"
    )
    mirror_axes: tuple[int, ...] = Field(default=(), description="flips that test-time augmentation may use")
    empty: EmptyRule | None = Field(default=None, description="which windows to skip; none without it")
    largest_piece: bool = Field(
        default=False, description="of all that is segmented only the largest connected piece stays"
    )
    postprocess: tuple[PostprocessStep, ...] = Field(
        default=(), description="what cleans up the label map, in this order, after largest_piece"
    )
    choose_postprocess: bool = Field(
        default=False,
        description="after training, steps that improve the validation cases are added to postprocess",
    )
    crop: CropRule | None = Field(default=None, description="which part of a scan to look at; all without it")

    @property
    def steps(self) -> tuple[PostprocessStep, ...]:
        """All that cleans up the label map, ``largest_piece`` among it, in the order in which it is done."""
        first = LargestComponentStep(together=True, connectivity="faces")
        return ((first,) if self.largest_piece else ()) + self.postprocess


class CardPlan(Strict):
    """What the model card says beyond figures, and what the bundle's licence is."""

    description: str = Field(default="", description="what the model segments, on which scans")
    data: str = Field(default="", description="what it was trained on; empty: the dataset's name")
    limits: str = Field(
        default="Research use only; not a medical device, not for diagnosis.",
        description="what it is not for, what was not tested",
    )
    licence: str = Field(
        default="Not stated by whoever trained this model: ask them before sharing it.",
        description="the bundle's LICENSE: weights may carry their data's licence",
    )
