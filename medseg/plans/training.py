"""How a model is trained: patches, augmentation, loss, optimiser, schedule."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from medseg.plans.strict import Fraction, Positive, Strict


class SamplingPlan(Strict):
    """Which patches a step sees."""

    batch_size: Annotated[int, Field(ge=1)] = Field(default=2, description="patches in a step")
    foreground_fraction: Fraction = Field(default=0.33, description="share of patches centred on a label")


class AugmentationPlan(Strict):
    """Random changes of the training patches. A range is drawn uniformly unless said otherwise."""

    spatial_probability: Fraction = Field(
        default=0.5, description="how often a patch is turned, scaled, shifted and deformed"
    )
    rotation_degrees: tuple[float, ...] = Field(
        default=(15.0, 15.0, 15.0), description="largest turn about each axis; one angle in 2D"
    )
    scale: tuple[float, float] = Field(default=(0.85, 1.18), description="smallest and largest factor")
    translation_voxels: float = Field(default=0.0, description="largest shift along each axis")
    elastic_voxels: float = Field(default=0.0, ge=0, description="standard deviation of the displacement")
    elastic_spacing_voxels: Positive = Field(default=8.0, description="between the knots of the displacement")
    flip_axes: tuple[int, ...] = Field(
        default=(), description="array axes of the network's grid that may be flipped"
    )
    noise: float = Field(default=0.1, ge=0, description="largest standard deviation of added noise")
    blur_voxels: float = Field(default=1.0, ge=0, description="largest standard deviation of a Gaussian blur")
    brightness: float = Field(
        default=0.2, ge=0, description="largest offset, in standard deviations of a normalised scan"
    )
    contrast: tuple[float, float] = Field(
        default=(0.75, 1.3), description="smallest and largest factor about the patch's mean"
    )
    gamma: tuple[float, float] = Field(default=(0.7, 1.5), description="smallest and largest exponent")
    low_resolution: tuple[float, float] = Field(
        default=(1.0, 2.0), description="down- and up-sampling factor"
    )
    bias_field: float = Field(
        default=0.0, ge=0, description="largest log amplitude of a smooth multiplicative field"
    )
    intensity_probability: Fraction = Field(
        default=0.15, description="of each change of intensities, to happen to a patch"
    )


class OptimiserPlan(Strict):
    """Optimiser, peak learning rate, and the schedule (linear warm-up, cosine to zero)."""

    name: Literal["adamw", "sgd"] = Field(default="adamw", description="sgd: with Nesterov momentum")
    learning_rate: Positive = Field(default=1e-3, description="at its peak, after the warm-up")
    weight_decay: float = Field(default=1e-2, ge=0, description="pull of the weights towards 0")
    warmup_steps: int = Field(default=100, ge=0, description="steps in which the rate grows to its peak")
    gradient_clip: Positive = Field(default=12.0, description="largest norm of a step's gradient")


class SchedulePlan(Strict):
    """How long, how often validated, and the average of the weights that is kept."""

    steps: Annotated[int, Field(ge=1)] = Field(default=3000, description="steps of the whole training")
    validate_every: Annotated[int, Field(ge=1)] = Field(default=250, description="steps between validations")
    checkpoint_every: Annotated[int, Field(ge=1)] = Field(
        default=100, description="steps between checkpoints to resume from"
    )
    ema_decay: Fraction = Field(default=0.999, description="0 turns weight averaging off")
    seed: int = Field(default=0, description="of patches, augmentation and the first weights")
    coarse_until: Fraction = Field(
        default=0.0, description="share of the training that only trains the lower resolutions (stem_unet)"
    )
