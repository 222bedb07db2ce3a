"""The steps that clean up a label map after the network: what they are called and what decides them.

`medseg.postprocess.apply_steps` carries them out; docs/postprocess.md tells what each does.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from medseg.plans.strict import LabelId, Strict

Millimetres = Annotated[float, Field(gt=0, allow_inf_nan=False)]
_Becomes = Annotated[int, Field(ge=0, le=65535)]


class _Step(Strict):
    labels: tuple[LabelId, ...] = Field(
        default=(), description="ids in the label map that the step is for; empty: all of them"
    )

    @model_validator(mode="after")
    def _named_once(self) -> _Step:
        if len(set(self.labels)) != len(self.labels):
            raise ValueError(f"labels {list(self.labels)}: a label occurs twice, name each once")
        return self

    @property
    def needs_mm(self) -> bool:
        """Whether a size in mm or mm3 belongs to the step, which means nothing where spacing is unknown."""
        return True

    @property
    def needs_image(self) -> bool:
        """Whether the step looks at the scan."""
        return False


class _Grouped(_Step):
    together: bool = Field(
        default=False,
        description="the labels are one structure (a region, an organ with its tumour), not one each",
    )


class _Removal(_Grouped):
    becomes: _Becomes = Field(
        default=0, description="id that removed voxels get: 0 is background, or the structure round it"
    )
    connectivity: Literal["faces", "corners"] = Field(
        default="corners", description="voxels are connected through faces alone, or also edges and corners"
    )


class LargestComponentStep(_Removal):
    """Of each structure only the largest connected component stays."""

    step: Literal["largest_component"] = "largest_component"

    @property
    def needs_mm(self) -> bool:
        """Components are compared by voxels of one grid."""
        return False


class RemoveSmallStep(_Removal):
    """Connected components below a size go."""

    step: Literal["remove_small"] = "remove_small"
    smallest_mm3: Millimetres = Field(description="a component just that large stays")


class FillHolesStep(_Grouped):
    """Background that a structure encloses becomes that structure."""

    step: Literal["fill_holes"] = "fill_holes"
    largest_mm3: Millimetres | None = Field(
        default=None, description="larger holes stay; null: all are filled"
    )

    @property
    def needs_mm(self) -> bool:
        """Only where a size is given."""
        return self.largest_mm3 is not None


class OpeningStep(_Step):
    """Parts of a label that no ball of this radius fits into go."""

    step: Literal["opening"] = "opening"
    radius_mm: Millimetres = Field(description="radius of the ball")


class ClosingStep(_Step):
    """Background between parts of a label that no ball of this radius fits into becomes that label."""

    step: Literal["closing"] = "closing"
    radius_mm: Millimetres = Field(description="radius of the ball")


class GaussianStep(_Step):
    """Borders are smoothed: each voxel gets the label whose Gaussian-weighted share round it is largest."""

    step: Literal["gaussian"] = "gaussian"
    sigma_mm: Millimetres = Field(description="standard deviation of the Gaussian")


class MedianStep(_Step):
    """Borders are smoothed: each voxel gets the label that most voxels of a ball round it have."""

    step: Literal["median"] = "median"
    radius_mm: Millimetres = Field(description="radius of the ball")


class RefineStep(_Step):
    """Borders move to edges of the scan (guided filter)."""

    step: Literal["refine"] = "refine"
    radius_mm: Millimetres = Field(description="half the width of the filter's windows")
    edge: float = Field(
        default=0.05,
        gt=0,
        le=1,
        description="a contrast that counts as an edge, as a share of the scan's range from its 1st to 99th "
        "percentile in the box round all labels",
    )
    channel: int = Field(default=0, ge=0, description="index into the plan's channels")

    @property
    def needs_image(self) -> bool:
        """It does."""
        return True


PostprocessStep = Annotated[
    LargestComponentStep
    | RemoveSmallStep
    | FillHolesStep
    | OpeningStep
    | ClosingStep
    | GaussianStep
    | MedianStep
    | RefineStep,
    Field(discriminator="step"),
]


def check_steps(
    steps: tuple[PostprocessStep, ...], ids: tuple[int, ...], channels: int, *, spacing_known: bool
) -> None:
    """See that the steps fit a plan with these labels and so many channels, and a dataset of its spacing.

    Raises
    ------
    ValueError
        Naming the step, what it names that is not there, and what is.
    """
    for number, step in enumerate(steps):
        where = f"inference.postprocess[{number}] ({step.step})"
        named = {*step.labels, *((step.becomes,) if isinstance(step, _Removal) else ())} - {0}
        if unknown := sorted(named - set(ids)):
            raise ValueError(f"{where}: labels {unknown} are not among {sorted(ids)}")
        if isinstance(step, _Removal) and step.becomes in (step.labels or ids):
            raise ValueError(
                f"{where}: what is removed cannot become {step.becomes}, which the step is for: name other "
                "labels, or another id in becomes"
            )
        if step.needs_mm and not spacing_known:
            raise ValueError(f"{where}: needs voxel sizes in mm, the dataset's files tell none: leave it out")
        if isinstance(step, RefineStep) and step.channel >= channels:
            raise ValueError(
                f"{where}: channel {step.channel}: there are {channels} channels, numbered from 0"
            )


def steps_as_plain(steps: tuple[PostprocessStep, ...]) -> list[dict[str, Any]]:
    """Steps as plain JSON values, the step's name first, defaults left out."""
    return [{"step": step.step, **step.model_dump(mode="json", exclude_defaults=True)} for step in steps]
