"""How a model is trained: patches, augmentation, loss, optimiser, schedule."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from medseg.plans.strict import Fraction, Positive, Strict

SampledBy = Literal["class", "frequency", "case"]
# What each setting says something to; elsewhere it would be passed over in silence.
_SPEAKS_TO = {"frequency_power": "frequency", "hard_fraction": "case"}


class SamplingPlan(Strict):
    """Which patches a step sees.

    ``class``: cases evenly, then a class evenly among those that the case has.
    ``frequency``: a class by how rare it is, then evenly a case that has it.
    ``case``: as ``class``, but cases whose patches had a high loss are drawn more often.
    """

    batch_size: Annotated[int, Field(ge=1)] = Field(default=2, description="patches in a step")
    foreground_fraction: Fraction = Field(default=0.33, description="share of patches centred on a label")
    by: SampledBy = Field(
        default="class",
        description="patches centred on a label: every class alike, rare classes (frequency), or hard cases "
        "(case; of all patches)",
    )
    frequency_power: Fraction = Field(
        default=1.0,
        description="by frequency: a class weighs its share of the voxels to the minus this; 0: all alike",
    )
    hard_fraction: Fraction = Field(
        default=0.5, description="by case: share of cases drawn by their loss of late; the others evenly"
    )
    minority_fraction: Fraction = Field(
        default=0.0, description="share of patches centred on the rarest label, beside all others"
    )

    @model_validator(mode="after")
    def _settings(self) -> SamplingPlan:
        for name, by in _SPEAKS_TO.items():
            given, usual = getattr(self, name), type(self).model_fields[name].default
            if self.by != by and given != usual:
                raise ValueError(
                    f"sampling.{name} {given:g}: only sampling.by {by} has it, not {self.by}; leave it out"
                )
        return self


def check_sampling(sampling: SamplingPlan, *, counted: bool, made: bool) -> None:
    """Refuse what needs the fingerprint's counts, or patches of real scans, where there are none."""
    weighs = sampling.by == "frequency" or sampling.minority_fraction > 0
    if weighs and not counted:
        raise ValueError(
            "sampling.by frequency and sampling.minority_fraction need the plan's fingerprint, which says "
            "how rare each label is: let `medseg plan` write it, or set sampling.by class"
        )
    if made and (sampling.by != "class" or sampling.minority_fraction > 0):
        raise ValueError(
            "sampling: images that are made show every label; leave sampling.by and minority_fraction out"
        )


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
    compile: bool = Field(
        default=False,
        description="compile the network first: a minute, and a C++ compiler, for somewhat faster steps",
    )
    coarse_until: Fraction = Field(
        default=0.0, description="share of the training that only trains the lower resolutions (stem_unet)"
    )
