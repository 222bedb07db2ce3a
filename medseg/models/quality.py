"""Quality: how a model's own confidence in a structure translates into Dice, as it stands in a bundle."""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, model_validator

Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Correlation = Annotated[float, Field(ge=-1, le=1, allow_inf_nan=False)]


class LabelQuality(BaseModel):
    """One label: the curve from its confidence to its expected Dice, and how good that is."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: Annotated[int, Field(ge=1, le=65535)]
    cases: Annotated[int, Field(ge=1)] = Field(description="scans with this label that it was learnt from")
    knots: tuple[tuple[Share, Share], ...] = Field(
        min_length=1, description="confidence and expected Dice; straight lines between, constant outside"
    )
    typical: Share = Field(description="median Dice of scans of the kind that the model is for")
    low_below: Share = Field(description="an estimate below this is called low")
    spearman: Correlation | None = Field(default=None, description="of confidence and Dice; None: constant")
    pearson: Correlation | None = Field(default=None, description="of confidence and Dice; None: constant")
    mean_absolute_error: Share = Field(description="of the estimated Dice of a scan that was left out")
    guess_error: Share = Field(description="the same where the other scans' mean Dice is the estimate")

    @model_validator(mode="after")
    def _rising(self) -> LabelQuality:
        for (raw, dice), (next_raw, next_dice) in pairwise(self.knots):
            if next_raw <= raw or next_dice < dice:
                raise ValueError(f"label {self.id}: knots {self.knots} do not rise")
        return self


class Quality(BaseModel):
    """How a network's confidence in each structure (`medseg.inference.confidence`) translates into Dice.

    Learnt by `medseg.quality.fit_quality` from scans whose Dice is known. The figures over all labels are of
    each scan's mean over its labels, of estimates made without that scan.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    data: str = Field(default="", description="for people: the scans that it was learnt from")
    cases: Annotated[int, Field(ge=1)]
    low_drop: Share = Field(
        description="a scan's mean estimate is called low where it lies further below the mean typical Dice"
    )
    spearman: Correlation | None = None
    pearson: Correlation | None = None
    mean_absolute_error: Share
    guess_error: Share
    labels: tuple[LabelQuality, ...] = Field(min_length=1, description="labels of too few scans are left out")

    @model_validator(mode="after")
    def _once(self) -> Quality:
        ids = [label.id for label in self.labels]
        if ids != sorted(set(ids)):
            raise ValueError(f"labels {ids}: expected each once, ascending")
        return self
