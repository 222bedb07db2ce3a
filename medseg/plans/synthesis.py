"""How training images are made from label maps."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from medseg.plans.strict import Fraction, Strict


class TissueSpec(Strict):
    """One value of the label maps that images are made from.

    Values with one number ``intensity`` look alike in every scan (left and right of a structure);
    ``segment`` is the label that the network learns there, 0 for background.
    """

    value: Annotated[int, Field(ge=0, le=65535)] = Field(description="in the label maps")
    intensity: Annotated[int, Field(ge=0)] = Field(description="its class of intensity")
    segment: Annotated[int, Field(ge=0, le=65535)] = Field(default=0, description="the label learnt there")


class IntensityPrior(Strict):
    """Intensity of one class in one contrast, on a scale of 0 to 255.

    A scan's mean is drawn from N(mean, mean_sd), its spread inside the class from N(std, std_sd).
    """

    mean: float = Field(allow_inf_nan=False, description="the mean's own mean over scans")
    mean_sd: float = Field(default=0.0, ge=0, allow_inf_nan=False, description="its spread over scans")
    std: float = Field(
        default=0.0, ge=0, allow_inf_nan=False, description="spread inside the class, on average"
    )
    std_sd: float = Field(default=0.0, ge=0, allow_inf_nan=False, description="how that spread varies")


class ContrastSpec(Strict):
    """A family of contrasts (T1-like, T2-like ...): priors by intensity class. A class without: any value."""

    weight: float = Field(default=1.0, ge=0, description="how often, relative to the other families")
    priors: dict[int, IntensityPrior] = Field(description="class of intensity to its prior")


class SynthesisPlan(Strict):
    """Training images made from label maps alone (Billot et al., Medical Image Analysis 86, 2023).

    Each step deforms label maps, draws an intensity per class, and acquires the result as a scanner might:
    resolution, slices, bias field, noise. Ranges are drawn uniformly unless said otherwise.
    """

    tissues: tuple[TissueSpec, ...] = Field(min_length=2, description="what each value of the maps is")
    contrasts: dict[str, ContrastSpec] = Field(default={}, description="families of contrast by name")
    random_weight: float = Field(default=1.0, ge=0, description="how often any contrast at all is drawn")
    widen_until: Fraction = Field(
        default=0.0, description="share of the training in which random_weight grows to its value"
    )
    rotation_degrees: float = Field(default=15.0, ge=0, description="largest turn about each axis")
    scale: tuple[float, float] = Field(default=(0.85, 1.18), description="smallest and largest factor")
    shear: float = Field(default=0.02, ge=0, description="largest shear of one axis along another")
    shift_mm: float = Field(default=20.0, ge=0, description="largest shift along each axis")
    flip: bool = Field(default=True, description="mirror left and right, paired labels swapped")
    deformation_mm: float = Field(default=3.0, ge=0, description="largest spread of the velocity field")
    deformation_spacing_mm: tuple[float, float] = Field(
        default=(16.0, 48.0), description="between the velocity field's knots"
    )
    strip_probability: Fraction = Field(default=0.25, description="only the segmented labels are left")
    strip_labels: tuple[int, ...] = Field(
        default=(), description="labels that half of the stripped images lose as well (fluid round a brain)"
    )
    crop_probability: Fraction = Field(default=0.25, description="the field of view ends inside the head")
    split_probability: Fraction = Field(default=0.2, description="of a class, to be of two intensities")
    coarse_probability: Fraction = Field(default=0.25, description="larger voxels in every direction")
    coarse_mm: tuple[float, float] = Field(default=(1.0, 2.5), description="their smallest and largest edge")
    slices_probability: Fraction = Field(default=0.4, description="thick slices along one axis")
    slices_mm: tuple[float, float] = Field(default=(2.0, 8.0), description="thinnest and thickest")
    bias_field: float = Field(default=0.4, ge=0, description="largest spread of the log of the field")
    noise: float = Field(default=0.06, ge=0, description="largest spread, as a share of the image's range")
    gamma: float = Field(default=0.3, ge=0, description="spread of the log of the exponent")
    spike_probability: Fraction = Field(default=0.03, description="a wave across the image (k-space spike)")

    @model_validator(mode="after")
    def _consistent(self) -> SynthesisPlan:
        values = [tissue.value for tissue in self.tissues]
        if len(set(values)) != len(values):
            raise ValueError("tissues: a value occurs twice")
        if len(values) > 256:
            raise ValueError(f"tissues: {len(values)} values, at most 256 are supported")
        if TissueSpec(value=0, intensity=0, segment=0) not in self.tissues:
            raise ValueError("tissues: expected air, which is value 0, intensity 0, segment 0")
        for name in ("scale", "deformation_spacing_mm", "coarse_mm", "slices_mm"):
            low, high = getattr(self, name)
            if not 0 < low <= high:
                raise ValueError(f"{name} {(low, high)}: expected a range of numbers above 0")
        if self.random_weight + sum(contrast.weight for contrast in self.contrasts.values()) <= 0:
            raise ValueError("contrasts: all weights are 0")
        return self
