"""How a model is trained: patches, augmentation, loss, optimiser, schedule."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from medseg.plans.strict import Fraction, Positive, Strict


class SamplingPlan(Strict):
    """Which patches a step sees."""

    batch_size: Annotated[int, Field(ge=1)] = 2
    foreground_fraction: Fraction = Field(default=0.33, description="share of patches centred on a label")


class AugmentationPlan(Strict):
    """Random changes of the training patches. A range is drawn uniformly unless said otherwise."""

    spatial_probability: Fraction = 0.5
    rotation_degrees: tuple[float, ...] = (15.0, 15.0, 15.0)
    scale: tuple[float, float] = (0.85, 1.18)
    translation_voxels: float = 0.0
    elastic_voxels: float = Field(default=0.0, ge=0, description="standard deviation of the displacement")
    elastic_spacing_voxels: Positive = 8.0
    flip_axes: tuple[int, ...] = Field(
        default=(), description="array axes of the network's grid that may be flipped"
    )
    noise: float = Field(default=0.1, ge=0, description="largest standard deviation of added noise")
    blur_voxels: float = Field(default=1.0, ge=0)
    brightness: float = Field(default=0.2, ge=0)
    contrast: tuple[float, float] = (0.75, 1.3)
    gamma: tuple[float, float] = (0.7, 1.5)
    low_resolution: tuple[float, float] = Field(
        default=(1.0, 2.0), description="down- and up-sampling factor"
    )
    bias_field: float = Field(
        default=0.0, ge=0, description="largest log amplitude of a smooth multiplicative field"
    )
    intensity_probability: Fraction = 0.15


class LossPlan(Strict):
    """The loss. ``dice_ce`` is soft Dice (over foreground) plus cross-entropy."""

    name: Literal["dice_ce"] = "dice_ce"
    dice_weight: float = 1.0
    ce_weight: float = 1.0
    label_smoothing: Fraction = 0.0


class OptimiserPlan(Strict):
    """Optimiser, peak learning rate, and the schedule (linear warm-up, cosine to zero)."""

    name: Literal["adamw", "sgd"] = "adamw"
    learning_rate: Positive = 1e-3
    weight_decay: float = Field(default=1e-2, ge=0)
    warmup_steps: int = Field(default=100, ge=0)
    gradient_clip: Positive = 12.0


class SchedulePlan(Strict):
    """How long, how often validated, and the average of the weights that is kept."""

    steps: Annotated[int, Field(ge=1)] = 3000
    validate_every: Annotated[int, Field(ge=1)] = 250
    checkpoint_every: Annotated[int, Field(ge=1)] = 100
    ema_decay: Fraction = Field(default=0.999, description="0 turns weight averaging off")
    seed: int = 0
    coarse_until: Fraction = Field(
        default=0.0, description="share of the training that only trains the lower resolutions (stem_unet)"
    )
