"""Scope: what a model was made for, as it stands in a bundle."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)

from medseg.models.anatomy import Anatomy

Millimetres = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Lengths = Annotated[tuple[Millimetres, ...], Field(min_length=2, max_length=3)]


class FeatureRange(BaseModel):
    """Lowest and highest value of a feature that counts as inside."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    low: Annotated[float, Field(allow_inf_nan=False)]
    high: Annotated[float, Field(allow_inf_nan=False)]

    @model_validator(mode="after")
    def _ordered(self) -> FeatureRange:
        if self.low > self.high:
            raise ValueError(f"low {self.low} is above high {self.high}")
        return self


class Scope(BaseModel):
    """What a model was made for. A scan outside gets a warning, or is refused where asked.

    Spacing and field of view have one value per dimension and are compared without regard to axis
    order: a scan's values are sorted ascending first, as are the limits. None means that the training
    data did not say (spacing unknown), so nothing is compared.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    dimensions: Literal[2, 3]
    description: str = Field(description="for people: the scans it is for, and those it is not for")
    modalities: tuple[str, ...] = Field(
        default=(), description="accepted DICOM modalities; compared only where a file states one"
    )
    spacing_min_mm: Lengths | None = None
    spacing_max_mm: Lengths | None = None
    extent_min_mm: Lengths | None = None
    extent_max_mm: Lengths | None = None
    features: tuple[dict[str, FeatureRange], ...] = Field(
        default=(), description="per input channel: name of a feature (medseg.quality) to its range"
    )
    layouts: tuple[tuple[Annotated[float, Field(ge=-1, le=1)], ...], ...] = Field(
        default=(), description="per input channel: mean coarse layout of the training scans, for `layout`"
    )
    anatomy: Anatomy | None = Field(
        default=None, description="what a segmentation looks like; not checked if None"
    )

    @model_validator(mode="after")
    def _pairs(self) -> Scope:
        for what in ("spacing", "extent"):
            low = getattr(self, f"{what}_min_mm")
            high = getattr(self, f"{what}_max_mm")
            if (low is None) != (high is None):
                raise ValueError(f"{what}: a lowest value needs a highest, and the other way round")
            if low is None:
                continue
            if {len(low), len(high)} != {self.dimensions}:
                raise ValueError(f"{what}: a {self.dimensions}D scope has {self.dimensions} values each")
            if any(a > b for a, b in zip(low, high, strict=True)):
                raise ValueError(f"{what}: {low} is not below {high}")
            if list(low) != sorted(low) or list(high) != sorted(high):
                raise ValueError(f"{what}: limits are sorted ascending, got {low} and {high}")
        return self

    @model_serializer(mode="wrap")
    def _without_what_is_not_there(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """A scope without an anatomy does not name it, as before there was any."""
        values: dict[str, Any] = handler(self)
        if self.anatomy is None:
            values.pop("anatomy", None)
        return values
