"""Anatomy: where a model's structures lie and how large they are, as it stands in a bundle's scope."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, model_validator

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
PositiveRange = tuple[Positive, Positive]


class Structure(BaseModel):
    """One label of a typical segmentation."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: Annotated[int, Field(ge=1, le=65535)]
    volume_ml: Positive
    centre_mm: tuple[Finite, Finite, Finite] = Field(
        description="right, anterior, superior of the middle of all structures"
    )
    within_mm: Positive = Field(description="how far from there it may lie, once size and pose are matched")
    size: PositiveRange = Field(description="its volume over the typical one, once the size is matched")

    @model_validator(mode="after")
    def _ordered(self) -> Structure:
        if self.size[0] > self.size[1]:
            raise ValueError(f"size: lowest value {self.size[0]} is above the highest, {self.size[1]}")
        return self


class Anatomy(BaseModel):
    """What a segmentation looks like, of a scan that the model is for. Limits count as inside."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    structures: tuple[Structure, ...] = Field(min_length=1)
    volume_ml: PositiveRange = Field(description="of all structures together")
    scale: PositiveRange = Field(description="how large it is beside the typical one, along a line")
    turn_degrees: Annotated[float, Field(gt=0, le=180)] = Field(
        description="how far it may be turned against the typical one"
    )
    left_to_right: PositiveRange | None = Field(
        default=None, description="volume of all left structures over that of all right ones"
    )
    cut: Positive = Field(
        description="area on one side of the field of view, over the two thirds power of the volume"
    )
    complete: Share = Field(description="the smallest share of the expected volume that is found")
    found: Share = Field(description="the smallest share of the structures of 2 mL and more that are found")
    strange: Share = Field(
        description="the largest share of those in view that are missing, out of place or of a wrong size"
    )

    @model_validator(mode="after")
    def _consistent(self) -> Anatomy:
        ids = [structure.id for structure in self.structures]
        if ids != sorted(set(ids)):
            raise ValueError(f"structures: ids {ids} are not ascending, each once")
        for what in ("volume_ml", "scale", "left_to_right"):
            limits = getattr(self, what)
            if limits is not None and limits[0] > limits[1]:
                raise ValueError(f"{what}: lowest value {limits[0]} is above the highest, {limits[1]}")
        return self
