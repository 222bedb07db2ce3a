"""What a network sees and is: its channels, its grid, its size."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, WithJsonSchema, model_validator
from pydantic_core import PydanticCustomError

from medseg.plans.architectures import grown_features
from medseg.plans.strict import Fraction, Positive, Strict

_FEATURES = {"anyOf": [{"type": "array", "items": {"type": "integer"}}, {"type": "integer", "minimum": 1}]}


class ChannelPlan(Strict):
    """One input channel and how its intensities become the network's.

    ``zscore``: subtract the scan's own mean, divide by its standard deviation (MR, most others).
    ``window``: clip to [low, high], then subtract ``mean``, divide by ``std`` (CT: HU are absolute).
    ``unit``: clip to [low, high] and scale to 0..1 (8- and 16-bit pictures).
    ``range``: clip to the scan's own 0.5th and 99.5th percentile and scale to 0..1, so that what lies
    outside of a scan (0) looks like air. Where [low, high] is given, a scan whose lowest value lies below
    -200, which only Hounsfield units do, is clipped to it before (any contrast, CT included).
    """

    name: str = Field(description="the channel, as a case names it (t1, flair)")
    modality: str | None = Field(default=None, description="CT, MR ... where it is known")
    normalisation: Literal["zscore", "window", "unit", "range"] = Field(
        default="zscore", description="how intensities become the network's"
    )
    low: float | None = Field(default=None, description="lowest intensity kept by window, unit and range")
    high: float | None = Field(default=None, description="highest intensity kept by them")
    mean: float = Field(default=0.0, description="subtracted by window")
    std: Positive = Field(default=1.0, description="divided by in window")

    @model_validator(mode="after")
    def _limits(self) -> ChannelPlan:
        given = self.low is not None or self.high is not None
        if (self.normalisation in ("window", "unit") or (self.normalisation == "range" and given)) and (
            self.low is None or self.high is None or not self.low < self.high
        ):
            raise ValueError(f"normalisation {self.normalisation!r} needs low < high")
        return self


class GridPlan(Strict):
    """The network's grid: orientation code (None: as stored) and spacing in mm (None: as stored).

    A 2D network sees slices of its grid along the third axis. ``slice_axis`` chooses by anatomy which that
    is, and orders the other two: axial (R, A, S), coronal (R, S, A), sagittal (A, S, R).
    ``spacing_mm`` and patches follow that order. Slices stay the scan's own then: of ``spacing_mm`` only the
    two numbers within a slice are resampled to. A picture is taken as it is.
    """

    orientation: Literal["RAS"] | None = Field(default="RAS", description="null: as stored")
    spacing_mm: tuple[Positive, Positive, Positive] | None = Field(
        default=None, description="voxel size that scans are resampled to; null: as stored"
    )
    slice_axis: Literal["axial", "coronal", "sagittal"] | None = Field(
        default=None, description="2D: how volumes are sliced; null: along the third axis of the grid"
    )
    neighbours: int = Field(
        default=0,
        ge=0,
        le=8,
        description="2D: so many slices on each side are channels too (2.5D); at the ends the last repeats",
    )

    @model_validator(mode="after")
    def _sliced_by_anatomy(self) -> GridPlan:
        if self.slice_axis is not None and self.orientation is None:
            raise ValueError(
                f"slice_axis {self.slice_axis}: slices by anatomy need orientation RAS, found none; set it, "
                "or leave slice_axis out"
            )
        return self


NetworkName = Literal["unet", "stem_unet", "segresnet", "swin_unetr", "unet_plus_plus"]
EncoderName = Literal["plain", "resnet18", "resnet34", "resnet50", "vgg11", "vgg16", "googlenet", "lenet5"]


def _listed(value: Any) -> Any:
    """A list, as which one good number has been written out before."""
    if isinstance(value, str | int | float):
        raise PydanticCustomError(
            "features",
            "expected a number of 1 or more, as in 16, or a list of one for each stage, as in [16, 32, 64]",
        )
    return value


class NetworkPlan(Strict):
    """The network, by its name in the registry, and its size. docs/networks.md describes each.

    ``strides[n]`` is the step per axis on entering stage n; the first is all ones. A 2D network has
    two entries per stride. ``kernel_sizes`` likewise; empty means 3 everywhere (thick slices want 1
    across the slices until the in-plane spacing has caught up). ``features`` may be given as one number,
    that of the finest stage: each further stage has twice as many, up to 512 in 2D and 320 in 3D (segresnet
    and swin_unetr: as they want them).
    """

    name: NetworkName = Field(default="unet", description="the network's name in the registry")
    encoder: EncoderName = Field(
        default="plain", description="unet: the kind of blocks that reduce the image stage by stage"
    )
    attention_gates: bool = Field(
        default=False, description="unet: coarser features weigh what skips from the encoder to the decoder"
    )
    features: Annotated[tuple[int, ...], BeforeValidator(_listed), WithJsonSchema(_FEATURES)] = Field(
        default=(16, 32, 64, 128),
        description="channels of each stage, the finest first; one number: doubled from stage to stage",
    )
    strides: tuple[tuple[int, ...], ...] = Field(
        default=((1, 1, 1), (2, 2, 2), (2, 2, 2), (2, 2, 2)),
        description="step per axis on entering each stage; the first is all ones",
    )
    kernel_sizes: tuple[tuple[int, ...], ...] = Field(
        default=(), description="per stage and axis; empty: 3 everywhere"
    )
    residual: bool = Field(default=False, description="residual blocks instead of plain ones")
    paired_sides: bool = Field(
        default=False,
        description="stem_unet: left and right share a channel inside the network, one more tells the side",
    )
    refine_labels: tuple[Annotated[int, Field(ge=0, le=65535)], ...] = Field(
        default=(),
        description="stem_unet: labels (0: background) that full resolution tells apart; empty: it adds",
    )
    deep_supervision: int = Field(default=2, ge=0, description="extra heads at lower resolutions")
    dropout: Fraction = Field(default=0.0, description="share of features left out in training")

    @model_validator(mode="before")
    @classmethod
    def _features_of_each_stage(cls, values: Any) -> Any:
        """One number as a tuple: a recipe for any dataset knows how wide, but not how deep the network is."""
        first = values.get("features") if isinstance(values, Mapping) else None
        if not isinstance(first, int) or isinstance(first, bool) or first < 1:
            return values
        strides = values.get("strides", cls.model_fields["strides"].default)
        if not isinstance(strides, (list, tuple)) or not all(isinstance(s, (list, tuple)) for s in strides):
            return values  # the strides' own fault is told
        dimensions = 2 if all(len(s) == 2 for s in strides) else 3
        name = str(values.get("name", "unet"))
        return {**values, "features": grown_features(name, first, len(strides), dimensions)}
